// Chromium, and what the tests keep of what it shows.

import { join } from 'node:path'
import { chromium } from 'playwright-core'

// A page that never finishes loading would never have all its fonts, and Playwright wait for them in vain.
process.env.PW_TEST_SCREENSHOT_NO_FONTS_READY = '1'

/** With a profile of its own in `directory`, empty: nothing that a browser remembers may make a page faster or slower. */
export function launch(directory) {
  return chromium.launchPersistentContext(join(directory, 'profile'), {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
      '--disable-background-networking', '--disable-component-update', '--disable-sync',
    ],
    viewport: { width: 900, height: 760 },
    // Its own way with signals is to exit at once, and with that to leave the others running.
    handleSIGINT: false,
    handleSIGTERM: false,
  })
}

/** One in light, one in dark. */
export async function photographs(page, screenshots, name) {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme })
    await page.screenshot({ path: join(screenshots, `${name}-${colorScheme}.png`), fullPage: true })
  }
}
