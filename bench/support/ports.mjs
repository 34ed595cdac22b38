/** Ports for servers that are told theirs before they start. */
import { createServer } from 'node:net'

const HOST = '127.0.0.1'
/**
 * Below what systems give to outgoing connections: a load has thousands of them, and one would take a port in the moment
 * before its server does. `test/support/free-port.ts` is above.
 */
const FIRST_PORT = 10_240
const PORT_COUNT = 9760

/** @returns a port of loopback, for TCP or UDP, that no server has now */
export async function freePort() {
  for (;;) {
    const port = FIRST_PORT + Math.floor(Math.random() * PORT_COUNT)
    if (await isFree(port)) return port
  }
}

function isFree(port) {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, HOST, () => server.close(() => resolve(true)))
  })
}
