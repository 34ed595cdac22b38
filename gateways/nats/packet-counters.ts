import type { Counter, Counters } from '../counters.ts'
import type { NatsOp } from './frame.ts'

/** `packets.pub.received` and so on, looked up once for all connections. */
export type PacketCounters = Readonly<Record<NatsOp, Counter>>

export function packetCounters(counters: Counters): PacketCounters {
  const received = (name: string) => counters.counter(`packets.${name}.received`)
  return {
    PUB: received('pub'),
    HPUB: received('hpub'),
    SUB: received('sub'),
    UNSUB: received('unsub'),
    CONNECT: received('connect'),
    PING: received('ping'),
    PONG: received('pong'),
    IGNORED: received('ignored'),
  }
}
