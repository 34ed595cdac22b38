import type { CliContext } from './context.ts'

const WIDTH = 30
/** Often enough for the eye. */
const PAUSE_MS = 100

/** A bar on the terminal, `label [######      ] 12345`. Where nobody looks at it, nothing is written. */
export class Progress {
  readonly #context: Pick<CliContext, 'note' | 'isTerminal'>
  readonly #label: string
  #nextMs = 0

  constructor(context: Pick<CliContext, 'note' | 'isTerminal'>, label: string) {
    this.#context = context
    this.#label = label
  }

  /** @param fraction - from 0 to 1 @param count - how many records */
  show(fraction: number, count: number): void {
    const nowMs = performance.now()
    if (!this.#context.isTerminal || nowMs < this.#nextMs) return
    this.#nextMs = nowMs + PAUSE_MS
    const filled = Math.round(WIDTH * Math.min(1, fraction))
    const bar = '#'.repeat(filled).padEnd(WIDTH)
    this.#context.note(`\r${this.#label} [${bar}] ${count}`)
  }

  /** Takes the bar away. */
  clear(): void {
    if (this.#context.isTerminal && this.#nextMs > 0) this.#context.note('\r\u001b[K')
  }
}
