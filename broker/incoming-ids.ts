import { IdTimes } from '../model/id-times.ts'
import type { SessionMirror } from './session-mirror.ts'

/** Packet ids of a client's QoS 2 messages that were published and wait for its PUBREL (MQTT 5.0 §4.3.3). */
export class IncomingIds {
  readonly #mirror: SessionMirror | undefined
  /** With the Unix time in ms they came at. */
  readonly #since = new IdTimes()

  constructor(mirror: SessionMirror | undefined) {
    this.#mirror = mirror
  }

  get size(): number {
    return this.#since.size
  }

  since(packetId: number): number | undefined {
    return this.#since.get(packetId)
  }

  /**
   * @param isPublished - its message is in all sessions it is for. If not, `published` has to follow when it is: were the
   *   id stored before the message, a crash in between would make a copy of the client's next attempt
   */
  add(packetId: number, nowMs: number, isPublished = true): void {
    this.#since.set(packetId, nowMs)
    if (isPublished) this.#mirror?.received(packetId, nowMs)
  }

  /** Its message has got where it had to. */
  published(packetId: number): void {
    const since = this.#since.get(packetId)
    if (since !== undefined) this.#mirror?.received(packetId, since)
  }

  /** @returns false if it was not waited for */
  delete(packetId: number): boolean {
    const isKnown = this.#since.delete(packetId)
    if (isKnown) this.#mirror?.released(packetId)
    return isKnown
  }

  /** Gives up those that came at `beforeMs` or earlier. @returns how many */
  forget(beforeMs: number): number {
    let count = 0
    for (const [packetId, since] of this.#since.entries()) {
      if (since <= beforeMs && this.delete(packetId)) count++
    }
    return count
  }

  /** What was stored before a restart. */
  restore(ids: Iterable<readonly [packetId: number, sinceMs: number]>): void {
    for (const [packetId, sinceMs] of ids) this.#since.set(packetId, sinceMs)
  }

  clear(): void {
    for (const [packetId] of this.#since.entries()) this.delete(packetId)
  }
}
