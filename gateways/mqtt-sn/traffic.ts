import type { Traffic } from '../../broker/broker.ts'

/** Bytes of a client through all the addresses that it has had. */
export class MovingTraffic implements Traffic {
  #now: Traffic
  #receivedBefore = 0
  #sentBefore = 0

  constructor(first: Traffic) {
    this.#now = first
  }

  get bytesReceived(): number {
    return this.#receivedBefore + this.#now.bytesReceived
  }

  get bytesSent(): number {
    return this.#sentBefore + this.#now.bytesSent
  }

  moveTo(next: Traffic): void {
    if (next === this.#now) return
    this.#receivedBefore = this.bytesReceived
    this.#sentBefore = this.bytesSent
    this.#now = next
  }
}
