// The promise, seen by a visitor: in a real browser, the page is there in time whether or not the server closes.
//
//   UNHANG_BIN          the built unhang (default: target/debug/unhang)
//   UNHANG_SCREENSHOTS  the directory for the screenshots (default: a new one in the system's temporary directory)
//   CHROMIUM            the browser (default: /usr/bin/chromium)

import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { after, before, beforeEach, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { launch, photographs } from './browser.mjs'
import { beforeEnding, endAll, start } from './processes.mjs'

const IN_TIME = 3_000 // ms for the load event: the page's own 2 s, and a second for PHP and the browser.
const HOSTILE = `<script>alert(1)</script>"'&<b>`

const demo = fileURLToPath(new URL('..', import.meta.url))
const unhang = resolve(process.env.UNHANG_BIN ?? join(demo, '../target/debug/unhang'))

let directory, screenshots, echo, browser, page, site

/** A page server for these two sockets, on a port that the system picks; resolves with the page's address. */
async function pageFor(service, forgetful) {
  const [, origin] = await start('php', ['-S', '127.0.0.1:0', '-t', demo], {
    ready: /Development Server \((http:\S+)\) started/,
    env: { UNHANG_SOCKET: service, UNHANG_FORGETFUL_SOCKET: forgetful },
  })
  return `${origin}/page.php`
}

/** A server that says what it heard, as soon as the client's end is closed, or a line is. */
async function startEcho(path) {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    let heard = ''
    const answer = () => socket.writable && socket.end(heard)
    socket.setEncoding('utf8')
    socket.on('data', (chunk) => {
      heard += chunk
      if (heard.endsWith('\n')) answer()
    })
    socket.on('end', answer)
    socket.on('error', () => {})
  })
  await new Promise((resolve, reject) => server.once('error', reject).listen(path, resolve))
  return server
}

async function inTime(t, what, action) {
  const begin = performance.now()
  await action()
  const took = performance.now() - begin
  t.diagnostic(`${what} took ${took.toFixed()} ms`)
  assert.ok(took < IN_TIME, `${what} took ${took.toFixed()} ms`)
}

const open = (t, address) => inTime(t, 'loading', () => page.goto(address, { waitUntil: 'load', timeout: IN_TIME }))
const outcome = () => page.locator('main').getAttribute('data-outcome')
const shown = (id) => page.locator(`#${id}`).innerText()

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'unhang-page-'))
  screenshots = process.env.UNHANG_SCREENSHOTS ?? await mkdtemp(join(tmpdir(), 'unhang-screenshots-'))
  await mkdir(screenshots, { recursive: true })

  const service = join(directory, 'service.sock')
  const forgetful = join(directory, 'forgetful.sock')
  const echoing = join(directory, 'echo.sock')

  await start(unhang, ['serve', service], { ready: /listening on/ })
  await start('php', [join(demo, 'forgetful.php'), forgetful], { ready: /listening on/ })
  echo = await startEcho(echoing)
  site = {
    demo: await pageFor(service, forgetful),
    echo: await pageFor(echoing, forgetful),
    deserted: await pageFor(join(directory, 'nobody.sock'), forgetful),
  }

  browser = launch(directory)
  await browser
})

async function cleanUp() {
  // A browser that is still starting counts, too; one that could not start has nothing to close.
  await (await browser?.catch(() => null))?.close()
  echo?.close()
  await endAll()
  if (directory) await rm(directory, { recursive: true, force: true, maxRetries: 5 })
}

after(cleanUp)
beforeEnding(cleanUp)

beforeEach(async () => {
  const old = page
  page = await (await browser).newPage()
  await old?.close()
})

test('a server that closes: the reply is there at once', async (t) => {
  t.diagnostic(`screenshots: ${screenshots}`)
  await open(t, site.demo)

  assert.equal(await outcome(), 'answered')
  assert.match(await shown('reply'), /^OK\+ at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(Z|[+-]\d\d:\d\d)$/)
  assert.equal(await shown('sent'), 'Hello from PHP')
  assert.equal(await page.locator('#advice').count(), 0)
  await photographs(page, screenshots, 'closes')
})

test('a server that forgets to close: the reply, what is wrong and the cure, in time', async (t) => {
  await open(t, site.demo)
  await inTime(t, 'following the link', async () => {
    await page.getByRole('link', { name: 'A server that forgets to close' }).click({ timeout: IN_TIME })
    await page.waitForURL(/server=forgets/, { waitUntil: 'load', timeout: IN_TIME })
  })

  assert.equal(await outcome(), 'not-closed')
  assert.match(await shown('reply'), /^OK\+ at /)
  assert.match(await page.getByRole('heading').innerText(), /did not close/)
  assert.match(await shown('advice'), /clos/)
  await photographs(page, screenshots, 'forgets')
})

test('no server: the page says so instead of waiting', async (t) => {
  await open(t, site.deserted)

  assert.equal(await outcome(), 'failed')
  assert.match(await shown('advice'), /nobody\.sock/)
  await photographs(page, screenshots, 'deserted')
})

test('what a visitor types and what a server replies are shown, never run', async (t) => {
  const dialogs = []
  page.on('dialog', (dialog) => {
    dialogs.push(dialog.message())
    return dialog.dismiss()
  })

  await open(t, site.echo)
  await page.getByLabel('Your message').fill(HOSTILE)
  await inTime(t, 'sending', async () => {
    await page.getByRole('button', { name: 'Send' }).click({ timeout: IN_TIME })
    await page.waitForURL(/message=%3C/, { waitUntil: 'load', timeout: IN_TIME })
  })

  assert.equal(await shown('sent'), HOSTILE)
  assert.equal(await shown('reply'), HOSTILE)
  assert.equal(await page.getByLabel('Your message').inputValue(), HOSTILE)
  assert.equal(await page.locator('script, main b').count(), 0)
  assert.deepEqual(dialogs, [])
  await photographs(page, screenshots, 'hostile')
})

test('the page asks nobody but its own server', async (t) => {
  const asked = []
  page.on('request', (request) => asked.push(request.url()))
  await open(t, site.demo)

  assert.ok(asked.length > 1, 'the page and its style sheet')
  assert.deepEqual(asked.filter((url) => !url.startsWith('data:') && !url.startsWith(new URL(site.demo).origin)), [])
})

test('one long word on a narrow screen does not push the page sideways', async (t) => {
  await page.setViewportSize({ width: 320, height: 700 })
  await open(t, `${site.echo}?message=${'long'.repeat(100)}`)

  assert.equal(await shown('reply'), 'long'.repeat(100))
  assert.equal(await page.evaluate('document.documentElement.scrollWidth'), 320)
  await photographs(page, screenshots, 'narrow')
})
