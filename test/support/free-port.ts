/** Ports for servers that cannot say which one the system gave them, or that come back on the one they had. */
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'

/**
 * Below what systems give to outgoing connections and to servers on port 0: there are thousands of both while the tests
 * run, and one of them would take a port in the moment before its server does. `bench/support/ports.mjs` is below.
 */
const FIRST_PORT = 20_000
/** For each of the processes that run test files at the same time. */
const PORTS_EACH = 1000
const PROCESSES = 12

const first = FIRST_PORT + (Number(process.env.VITEST_POOL_ID ?? 0) % PROCESSES) * PORTS_EACH
/** Another run of the tests on this machine begins elsewhere. */
let taken = randomInt(PORTS_EACH)

/** @returns a port of loopback that nobody has, and that nobody else here is given */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < PORTS_EACH; attempt++) {
    const port = first + (taken++ % PORTS_EACH)
    if (await isFree(port)) return port
  }
  throw new Error(`every port from ${first} to ${first + PORTS_EACH - 1} is in use`)
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer()
  try {
    await once(server.listen(port, '127.0.0.1'), 'listening')
  } catch {
    return false
  }
  await new Promise((resolve) => server.close(resolve))
  return true
}
