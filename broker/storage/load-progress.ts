import type { Logger } from '../../model/log.ts'

const EVERY_MS = 5000

/** Says now and then how far a start has come that takes long, so that nobody takes it for hanging. */
export class LoadProgress {
  readonly #log: Logger
  readonly #place: string
  #saidAtMs: number

  /** @param place - what is read */
  constructor(log: Logger, place: string) {
    this.#log = log
    this.#place = place
    this.#saidAtMs = performance.now()
  }

  /** Something begins: what was before it does not count. */
  begin(): void {
    this.#saidAtMs = performance.now()
  }

  /** To be called often. @param counts - how much there is of what by now */
  at(counts: () => object): void {
    if (performance.now() - this.#saidAtMs < EVERY_MS) return
    this.begin()
    this.#log.info({ store: this.#place, ...counts() }, 'storage is being read')
  }
}
