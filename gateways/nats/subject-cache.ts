import { Subject } from './subject.ts'

/** Longer subjects are read anew each time: keeping them would cost more memory than it saves work. */
const MAX_KEPT_BYTES = 256

/**
 * Turns the bytes of subjects into `Subject`s. One seen before comes back as the same object without an
 * allocation, so that its topic is looked up everywhere by the same string, whose hash is known.
 *
 * Of fixed size, with two places for each subject: inboxes come and go, and cost others a miss, not memory.
 */
export class SubjectCache {
  readonly #mask: number
  readonly #subjects: Subject[]
  readonly #bytes: Uint8Array[]
  #turn = 0
  #last: Subject
  #lastBytes: Uint8Array

  /** @param slots - subjects kept, a power of two from 2 on */
  constructor(slots = 1024) {
    this.#mask = slots - 1
    const none = new Subject('')
    const noBytes = new Uint8Array(0)
    this.#last = none
    this.#lastBytes = noBytes
    this.#subjects = Array.from({ length: slots }, () => none)
    this.#bytes = Array.from({ length: slots }, () => noBytes)
  }

  /** The subject in `bytes[start..end)`, which need not be a valid one. */
  get(bytes: Buffer, start: number, end: number): Subject {
    let hash = 0
    for (let i = start; i < end; i++) hash = (Math.imul(hash, 31) + (bytes[i] as number)) | 0
    return this.find(bytes, start, end, hash)
  }

  /**
   * Where the subject that was found last ends, if it is what is at `start` with a byte of `next` behind it; -1 if not.
   * Messages to a subject come in runs.
   */
  endOfLast(bytes: Buffer, start: number, limit: number, next: number): number {
    const last = this.#lastBytes
    const end = start + last.length
    if (last.length === 0 || end >= limit || bytes[end] !== next) return -1
    for (let i = 0; i < last.length; i++) if (last[i] !== bytes[start + i]) return -1
    return end
  }

  /** The subject that was found last. */
  get last(): Subject {
    return this.#last
  }

  /** @param hash - of the bytes: 31 times the hash so far plus the next byte, from 0 on, as a 32-bit integer */
  find(bytes: Buffer, start: number, end: number, hash: number): Subject {
    const length = end - start
    if (length > MAX_KEPT_BYTES) return new Subject(bytes.toString('utf8', start, end))
    const slot = (hash ^ (hash >>> 15)) & this.#mask
    if (isSame(this.#bytes[slot] as Uint8Array, bytes, start, length)) return this.#found(slot)
    const second = slot ^ 1
    if (isSame(this.#bytes[second] as Uint8Array, bytes, start, length)) return this.#found(second)
    return this.#keep(slot, bytes, start, end)
  }

  #found(slot: number): Subject {
    this.#last = this.#subjects[slot] as Subject
    this.#lastBytes = this.#bytes[slot] as Uint8Array
    return this.#last
  }

  #keep(slot: number, bytes: Buffer, start: number, end: number): Subject {
    const subject = new Subject(bytes.toString('utf8', start, end))
    this.#turn ^= 1
    this.#subjects[slot ^ this.#turn] = subject
    this.#bytes[slot ^ this.#turn] = new Uint8Array(bytes.subarray(start, end))
    return subject
  }
}

function isSame(kept: Uint8Array, bytes: Buffer, start: number, length: number): boolean {
  if (kept.length !== length) return false
  for (let i = 0; i < length; i++) if (kept[i] !== bytes[start + i]) return false
  return true
}
