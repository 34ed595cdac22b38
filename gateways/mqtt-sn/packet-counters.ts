import type { Counter, Counters } from '../counters.ts'
import { Type } from './frame.ts'

/** `packets.publish.received`, `packets.puback.sent`, ...: one look-up per name and process, not per datagram. */
export class PacketCounters {
  readonly #received: (Counter | undefined)[] = []
  readonly #sent: (Counter | undefined)[] = []

  constructor(counters: Counters) {
    for (const [name, type] of Object.entries(Type)) {
      this.#received[type] = counters.counter(`packets.${name.toLowerCase()}.received`)
      this.#sent[type] = counters.counter(`packets.${name.toLowerCase()}.sent`)
    }
  }

  received(type: number): void {
    const counter = this.#received[type]
    if (counter !== undefined) counter.value++
  }

  sent(datagram: Buffer): void {
    const counter = this.#sent[(datagram[0] === 1 ? datagram[3] : datagram[1]) as number]
    if (counter !== undefined) counter.value++
  }
}
