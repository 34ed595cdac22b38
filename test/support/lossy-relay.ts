import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { Random } from './random.ts'

export interface LossyRelay {
  /** Clients send here; each has a socket of its own towards the server, so the server can tell them apart. */
  port: number
  dropped: number
  passed: number
  duplicated: number
  reordered: number
  close(): void
}

const HOST = '127.0.0.1'

/** What else may happen to datagrams, in percent of them. */
export interface Mishaps {
  /** Sent twice, one right behind the other. */
  duplicated?: number
  /** Overtaken by the next one of the same direction, or late if there is none. */
  reordered?: number
}

/** How long a datagram waits to be overtaken. */
const MAX_HOLD_MS = 20

/**
 * Carries datagrams between clients and a server on this machine, and loses `percent` of them each way, the same ones each
 * time; it may also send some twice and others in another order.
 */
export async function lossyRelay(
  serverPort: number,
  percent: number,
  seed: number,
  { duplicated = 0, reordered = 0 }: Mishaps = {},
): Promise<LossyRelay> {
  const random = new Random(seed)
  const front = await bind()
  const backs = new Map<number, Socket>()
  /** By direction. */
  const held = new Map<string, { send(): void; timer: NodeJS.Timeout }>()
  let isClosed = false
  const relay: LossyRelay = {
    port: front.address().port,
    dropped: 0,
    passed: 0,
    duplicated: 0,
    reordered: 0,
    close() {
      isClosed = true
      for (const { timer } of held.values()) clearTimeout(timer)
      for (const socket of [front, ...backs.values()]) socket.close()
    },
  }
  const carry = (socket: Socket, datagram: Buffer, port: number, direction: string) => {
    if (random.int(100) < percent) return void relay.dropped++
    relay.passed++
    const isTwice = random.int(100) < duplicated
    const send = () => {
      if (isClosed) return
      socket.send(datagram, port, HOST)
      if (!isTwice) return
      relay.duplicated++
      socket.send(datagram, port, HOST)
    }
    const earlier = held.get(direction)
    if (earlier === undefined && random.int(100) < reordered) {
      const release = () => {
        held.delete(direction)
        send()
      }
      return void held.set(direction, { send, timer: setTimeout(release, MAX_HOLD_MS) })
    }
    send()
    if (earlier === undefined) return
    relay.reordered++
    clearTimeout(earlier.timer)
    held.delete(direction)
    earlier.send()
  }
  const backFor = (clientPort: number): Socket => {
    const known = backs.get(clientPort)
    if (known !== undefined) return known
    const back = createSocket('udp4')
    back.on('message', (datagram) => carry(front, datagram, clientPort, `to ${clientPort}`))
    backs.set(clientPort, back)
    return back
  }
  front.on('message', (datagram, { port }) => carry(backFor(port), datagram, serverPort, `from ${port}`))
  return relay
}

async function bind(): Promise<Socket> {
  const socket = createSocket('udp4')
  socket.bind(0, HOST)
  await once(socket, 'listening')
  return socket
}
