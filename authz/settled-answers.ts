import type { Action, Permission } from '../model/access.ts'
import type { ClientInfo } from '../model/client-info.ts'

type Publish = Extract<Action, { kind: 'publish' }>

/** 0 = not asked yet. */
const ANSWERS = [undefined, 'allow', 'deny', undefined] as const
const CODES = { allow: 1, deny: 2 } as const
const DEPENDS = 3

/**
 * What clients may publish whatever the topic: with most rules that is everything, and need not be asked again for each
 * message.
 */
export class SettledAnswers {
  readonly #ask: (client: ClientInfo, action: Publish) => Permission | undefined
  /** Two bits for each of the six ways to publish. */
  #clients = new WeakMap<ClientInfo, number>()
  /** Messages of a client often come in a run. */
  #lastClient: ClientInfo | undefined
  #lastCodes = 0

  /** @param ask - undefined: it depends on the topic, or may change at any time */
  constructor(ask: (client: ClientInfo, action: Publish) => Permission | undefined) {
    this.#ask = ask
  }

  get(client: ClientInfo, action: Publish): Permission | undefined {
    if (client !== this.#lastClient) {
      this.#lastClient = client
      this.#lastCodes = this.#clients.get(client) ?? 0
    }
    const shift = action.qos * 4 + (action.retain ? 2 : 0)
    const code = (this.#lastCodes >> shift) & 3
    return code === 0 ? this.#find(client, action, shift) : ANSWERS[code]
  }

  /** Its rights may be others now. */
  forget(client: ClientInfo): void {
    this.#lastClient = undefined
    this.#clients.delete(client)
  }

  clear(): void {
    this.#lastClient = undefined
    this.#clients = new WeakMap()
  }

  #find(client: ClientInfo, action: Publish, shift: number): Permission | undefined {
    const answer = this.#tryAsking(client, action)
    this.#lastCodes |= (answer === undefined ? DEPENDS : CODES[answer]) << shift
    this.#clients.set(client, this.#lastCodes)
    return answer
  }

  /** What a failure means, the chain decides when it asks about a topic. */
  #tryAsking(client: ClientInfo, action: Publish): Permission | undefined {
    try {
      return this.#ask(client, action)
    } catch {
      return undefined
    }
  }
}
