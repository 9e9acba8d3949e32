// What script/demo shows, in a real browser: the same page three times, and the picture of why the first one hangs.
// Takes the same environment as page.mjs.

import assert from 'node:assert/strict'
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { launch, photographs } from './browser.mjs'
import { beforeEnding, endAll, run, start } from './processes.mjs'

const PATIENCE = 180_000 // ms; a loaded machine takes its time, and none of this is about speed.
const FOLD = 800 // The height of a small laptop's screen.
const WIDTHS = { wide: 1440, desk: 1280, tablet: 900, phone: 390, narrow: 320 }

const demo = fileURLToPath(new URL('..', import.meta.url))
const unhang = resolve(process.env.UNHANG_BIN ?? join(demo, '../target/debug/unhang'))

let directory, screenshots, browser, address

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'unhang-wall-'))
  screenshots = process.env.UNHANG_SCREENSHOTS ?? await mkdtemp(join(tmpdir(), 'unhang-screenshots-'))
  await mkdir(screenshots, { recursive: true })
  const ready = /^page +(http:\S+)/m
  const env = { UNHANG_BIN: unhang, NO_COLOR: '1' }
  ;[, address] = await start(join(demo, '../script/demo'), [], { ready, env, within: PATIENCE })
  browser = launch(directory)
  await browser
})

async function cleanUp() {
  // A browser that is still starting counts, too; one that could not start has nothing to close.
  await (await browser?.catch(() => null))?.close()
  await endAll()
  if (directory) await rm(directory, { recursive: true, force: true, maxRetries: 5 })
}

after(cleanUp)
beforeEnding(cleanUp)

async function fits(page, name, width) {
  await page.setViewportSize({ width, height: 900 })
  assert.equal(await page.evaluate('document.documentElement.scrollWidth'), width, `${name} is wider than the screen`)
}

test('the first page hangs, the picture shows why, and the two cures answer', async (t) => {
  t.diagnostic(`screenshots: ${screenshots}`)
  const asked = new Set()
  // It never is loaded: that is what it shows.
  const page = await (await browser).newPage()
  page.setDefaultTimeout(PATIENCE)
  page.on('request', (request) => asked.add(new URL(request.url()).hostname))
  await page.goto(address, { waitUntil: 'commit', timeout: PATIENCE })
  const pane = (title) => page.frameLocator(`iframe[title="${title}"]`)

  const front = pane('The page behind the front')
  await front.locator('.done[data-outcome="answered"]').waitFor()
  assert.match(await front.locator('#reply').innerText(), /^OK\+ at \d{4}-/)

  const client = pane('The page with the client of unhang')
  await client.locator('main[data-outcome="not-closed"]').waitFor()
  assert.match(await client.locator('#reply').innerText(), /^OK\+ at /)
  assert.match(await client.locator('#advice').innerText(), /ReplyEnds::newline\(\)/)

  const picture = pane('What unhang why sees')
  await picture.locator('.row .wait.bad, .column .wait.bad').first().waitFor({ state: 'attached' })
  // On a loaded machine a look may have no time for the line at which a page hangs; the next one has.
  const at = /HUNG[^]*naive\.php:\d+, stream_get_contents\(\)/
  await picture.locator('article').filter({ hasText: at }).first().waitFor()
  assert.match(await picture.locator('.fix').first().innerText(), /close the connection/)

  // Refreshed: the next look has another time. The frame goes while it is replaced.
  const time = () => picture.locator('time').innerText().catch(() => null)
  const first = await time()
  const deadline = Date.now() + PATIENCE
  for (let now = first; now === null || now === first; now = await time()) {
    assert.ok(Date.now() < deadline, `the picture of ${first} was not replaced`)
    await page.waitForTimeout(200)
  }

  const hanging = pane('The page without unhang')
  assert.match(await hanging.locator('.waiting h1').innerText(), /Still loading/)
  assert.equal(await hanging.locator('.done').count(), 0)
  assert.notEqual(await page.evaluate('document.readyState'), 'complete', 'the tab has finished loading')
  assert.deepEqual([...asked], ['127.0.0.1'])

  for (const [name, width] of Object.entries(WIDTHS)) {
    await fits(page, name, width)
    await photographs(page, screenshots, `wall-${name}`)
  }
  for (const width of [WIDTHS.wide, WIDTHS.desk]) {
    await page.setViewportSize({ width, height: FOLD })
    const fix = await seen(picture.locator('.fix').last())
    assert.ok(fix.y + fix.height <= FOLD, `the cure is below the fold of ${width} × ${FOLD}: ${fix.y} + ${fix.height}`)
  }
  await page.close()
})

/** Where it is in the window; a frame that is being replaced has nothing to measure. */
async function seen(locator) {
  for (const deadline = Date.now() + PATIENCE; Date.now() < deadline;) {
    const box = await locator.boundingBox({ timeout: 2_000 }).catch(() => null)
    if (box) return box
  }
  throw new Error('never to be seen')
}

test('the picture of a server with a hostile name is shown, needs no script and no other file', async () => {
  const server = join(directory, '<script>alert(1)</script>'.replaceAll('/', '\u202e'))
  const socket = join(directory, '<img src=x onerror=alert(2)>')
  const picture = join(directory, 'why.html')
  // The kernel calls a process after the file that was started.
  const source = await readFile(join(demo, 'forgetful.php'), 'utf8')
  await writeFile(server, `#!${(await run('sh', ['-c', 'command -v php'])).trim()}\n${source}`)
  await chmod(server, 0o755)
  await start(server, [socket], { ready: /listening on/ })
  const client = connect(socket, () => client.write('hello\n'))
  await new Promise((resolve, reject) => client.once('data', resolve).once('error', reject))
  // On a loaded machine a look may come before both are asleep.
  for (const deadline = Date.now() + PATIENCE; ;) {
    const said = await run(unhang, ['why', socket, '--html', picture, '--deadline', '30s'])
    if ((await readFile(picture, 'utf8')).includes('<figure')) break
    assert.ok(Date.now() < deadline, said)
  }

  const dialogs = []
  const asked = []
  const page = await (await browser).newPage()
  page.on('dialog', (dialog) => { dialogs.push(dialog.message()); return dialog.dismiss() })
  page.on('request', (request) => asked.push(request.url()))
  await page.goto(pathToFileURL(picture).href, { waitUntil: 'load', timeout: PATIENCE })
  assert.match(await page.locator('.node .name').last().textContent(), /^<script>alert\(1\[\d+\]$/)
  assert.match(await page.locator('.asked').innerText(), /<img src=x onerror=alert\(2\)>/)
  assert.equal(await page.locator('script, img').count(), 0)
  for (const [name, width] of Object.entries(WIDTHS)) {
    await fits(page, name, width)
    await photographs(page, screenshots, `picture-${name}`)
  }
  assert.deepEqual(dialogs, [])
  assert.deepEqual(asked, [pathToFileURL(picture).href])
  client.destroy()
  await page.close()
})
