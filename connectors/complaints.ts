import type { ClientInfo } from '../model/client-info.ts'
import type { Logger } from '../model/log.ts'

const PAUSE_MS = 60_000

/**
 * Says what is wrong with what a backend knows of a client. Each kind of it once a minute at most, as clients choose how
 * often it is met. Names the client id only: user names may hold tokens.
 */
export class Complaints {
  readonly #log: Logger
  readonly #saidAtMs = new Map<string, number>()

  constructor(log: Logger) {
    this.#log = log
  }

  /** @param what - one of a few texts, without anything that a client or a backend has sent */
  say(what: string, { client }: { readonly client: ClientInfo }, detail?: string): void {
    const now = performance.now()
    const saidAtMs = this.#saidAtMs.get(what)
    if (saidAtMs !== undefined && now - saidAtMs < PAUSE_MS) return
    this.#saidAtMs.set(what, now)
    this.#log.warn({ clientId: client.clientId }, detail === undefined ? what : `${what}: ${detail}`)
  }
}
