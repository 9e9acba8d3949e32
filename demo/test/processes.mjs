// Starts programs, waits until they say that they are ready, and ends every one of them whatever happens.

import { spawn } from 'node:child_process'
import { once } from 'node:events'

const READY_WITHIN = 10_000 // ms; far more than any of them needs, so only a program that is stuck meets it.
const END_WITHIN = 5_000

const running = new Set()

/** Resolves with the match of `ready` in what the program prints; if none comes, the error tells what it printed. */
export function start(command, args, { ready, env = {}, within = READY_WITHIN }) {
  const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''

  running.add(child)
  child.once('exit', () => running.delete(child))

  return new Promise((resolve, reject) => {
    const fail = (why) => reject(new Error(`${[command, ...args].join(' ')}: ${why}\n${said}`))
    const timer = setTimeout(() => fail(`not ready within ${within} ms`), within)
    const listen = (chunk) => {
      said += chunk
      const match = said.match(ready)
      if (match) {
        clearTimeout(timer)
        // Keep reading: a program whose pipe is full stops in the middle of its next line.
        child.stdout.off('data', listen).resume()
        child.stderr.off('data', listen).resume()
        resolve(match)
      }
    }

    child.stdout.setEncoding('utf8').on('data', listen)
    child.stderr.setEncoding('utf8').on('data', listen)
    child.once('error', (error) => {
      running.delete(child)
      clearTimeout(timer)
      fail(error.message)
    })
    // Not 'exit': the program's last words may still be in the pipe then.
    child.once('close', (code, signal) => {
      clearTimeout(timer)
      fail(`ended before it was ready (${signal ?? code})`)
    })
  })
}

/** Resolves with what the program prints until it ends, whatever its exit code. */
export async function run(command, args) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  running.add(child)
  child.once('exit', () => running.delete(child))
  let said = ''
  child.stdout.setEncoding('utf8').on('data', (chunk) => { said += chunk })
  await once(child, 'close')
  return said
}

/** Asks all of them to end, and makes those end that do not. */
export async function endAll() {
  await Promise.all([...running].map(async (child) => {
    const ended = once(child, 'exit')
    const timer = setTimeout(() => child.kill('SIGKILL'), END_WITHIN)
    child.kill('SIGTERM')
    await ended
    clearTimeout(timer)
  }))
}

/** Runs `cleanUp` before the test ends because somebody asked it to: nothing that was started may outlive it. */
export function beforeEnding(cleanUp) {
  let ending
  for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143]]) {
    // Not once(): Ctrl-C comes twice, from the terminal and from the runner, and the second would kill this process.
    process.on(signal, () => {
      // The runner that reads our words may be gone already.
      process.stdout.on('error', () => {})
      ending ??= cleanUp().finally(() => process.exit(code))
    })
  }
}

// The last resort, for an error that nobody caught: nothing that waits can run here any more.
process.once('exit', () => running.forEach((child) => child.kill('SIGKILL')))
