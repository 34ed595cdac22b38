const EPOCH_DIGITS = 9
const FIRST = 1_000_000_000
const LAST = 9_999_999_999

/** Ids that ascend as texts, beyond restarts and clocks that were set back: the start in ms in base 36, and a count. */
export class Sequence {
  #epochMs = Date.now()
  #epoch = epochText(this.#epochMs)
  #count = FIRST

  next(): string {
    if (this.#count === LAST) this.#restart(this.#epochMs + 1)
    return this.#epoch + this.#count++
  }

  /** From now on all ids are behind `id`, an earlier one. */
  passed(id: string): void {
    const epoch = id.slice(0, EPOCH_DIGITS)
    if (epoch < this.#epoch) return
    const ms = Number.parseInt(epoch, 36)
    if (Number.isSafeInteger(ms)) this.#restart(ms + 1)
  }

  #restart(epochMs: number): void {
    this.#epochMs = epochMs
    this.#epoch = epochText(epochMs)
    this.#count = FIRST
  }
}

function epochText(ms: number): string {
  return ms.toString(36).padStart(EPOCH_DIGITS, '0')
}
