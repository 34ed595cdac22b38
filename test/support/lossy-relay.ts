import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { Random } from './random.ts'

export interface LossyRelay {
  /** Clients send here; each has a socket of its own towards the server, so the server can tell them apart. */
  port: number
  dropped: number
  passed: number
  close(): void
}

const HOST = '127.0.0.1'

/** Carries datagrams between clients and a server on this machine, and loses `percent` of them each way, the same ones each time. */
export async function lossyRelay(serverPort: number, percent: number, seed: number): Promise<LossyRelay> {
  const random = new Random(seed)
  const front = await bind()
  const backs = new Map<number, Socket>()
  const relay: LossyRelay = {
    port: front.address().port,
    dropped: 0,
    passed: 0,
    close() {
      for (const socket of [front, ...backs.values()]) socket.close()
    },
  }
  const carry = (socket: Socket, datagram: Buffer, port: number) => {
    if (random.int(100) < percent) return void relay.dropped++
    relay.passed++
    socket.send(datagram, port, HOST)
  }
  const backFor = (clientPort: number): Socket => {
    const known = backs.get(clientPort)
    if (known !== undefined) return known
    const back = createSocket('udp4')
    back.on('message', (datagram) => carry(front, datagram, clientPort))
    backs.set(clientPort, back)
    return back
  }
  front.on('message', (datagram, { port }) => carry(backFor(port), datagram, serverPort))
  return relay
}

async function bind(): Promise<Socket> {
  const socket = createSocket('udp4')
  socket.bind(0, HOST)
  await once(socket, 'listening')
  return socket
}
