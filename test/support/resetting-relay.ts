import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

const HOST = '127.0.0.1'

export interface ResettingRelay {
  port: number
  /** Once it has reset a connection it only carries. */
  hasReset: boolean
  close(): void
}

/**
 * Carries connections to a server on this machine, and resets (RST) the one that sends the piece after `pieces` others,
 * counted over all connections, in place of carrying it.
 */
export async function resettingRelay(serverPort: number, pieces: number): Promise<ResettingRelay> {
  const sockets = new Set<Socket>()
  let left = pieces
  const server = createServer({ noDelay: true }, (client) => {
    const backend = connect({ port: serverPort, host: HOST, noDelay: true })
    for (const [one, other] of [
      [client, backend],
      [backend, client],
    ] as const) {
      sockets.add(one)
      one.on('error', () => {}) // 'close' follows
      one.on('close', () => {
        sockets.delete(one)
        other.destroy()
      })
    }
    backend.on('data', (bytes) => void client.write(bytes))
    client.on('data', (bytes) => {
      if (left-- !== 0) return void backend.write(bytes)
      relay.hasReset = true
      client.resetAndDestroy()
    })
  })
  server.listen(0, HOST)
  await once(server, 'listening')
  const relay: ResettingRelay = {
    port: (server.address() as AddressInfo).port,
    hasReset: false,
    close: () => {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
  return relay
}
