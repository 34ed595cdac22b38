/** What must hold besides deliveries: retained values, wills, subscriptions. */
import type { Random } from '../random.ts'
import type { StrictClient } from './strict-client.ts'

/** Every value that was ever sent to be retained, by topic; '' takes it away. */
export class RetainedBook {
  readonly #topics = new Map<string, { sent: string[]; acked: number }>()

  /** @returns the next value, and what to call when the broker has it */
  next(topic: string, clears: boolean): { payload: Buffer; acked: () => void } {
    const values = this.#topics.get(topic) ?? { sent: [], acked: -1 }
    this.#topics.set(topic, values)
    const number = values.sent.push(clears ? '' : `value ${values.sent.length}`) - 1
    const acked = () => {
      values.acked = Math.max(values.acked, number)
    }
    return { payload: Buffer.from(values.sent[number] as string), acked }
  }

  /** What the broker has promised up to now, by topic. */
  promised(): Map<string, number> {
    return new Map([...this.#topics].map(([topic, { acked }]) => [topic, acked]))
  }

  /** Topics that have a value whichever of the possible ones it is. */
  due(promised: ReadonlyMap<string, number>): string[] {
    return [...promised.keys()].filter((topic) => !this.#possible(topic, promised).includes(''))
  }

  /** @returns what is wrong with what a new subscriber got */
  mistakes(promised: ReadonlyMap<string, number>, found: ReadonlyMap<string, string>): string[] {
    return [...promised.keys()].flatMap((topic) => {
      const value = found.get(topic) ?? ''
      const possible = this.#possible(topic, promised)
      return possible.includes(value) ? [] : [`${topic} retains "${value}", not ${possible.join(' or ')}`]
    })
  }

  /** The last acknowledged one, or one that was sent later. */
  #possible(topic: string, promised: ReadonlyMap<string, number>): string[] {
    const acked = promised.get(topic) ?? -1
    const { sent = [] } = this.#topics.get(topic) ?? {}
    return acked < 0 ? ['', ...sent] : sent.slice(acked)
  }
}

interface Will {
  readonly qos: 1 | 2
  state: 'sent' | 'promised' | 'due' | 'void'
  count: number
}

/** Wills by the number of their client. */
export class WillBook {
  readonly #wills: Will[] = []

  announced(qos: 1 | 2): number {
    return this.#wills.push({ qos, state: 'sent', count: 0 }) - 1
  }

  /** The broker has welcomed its client. */
  promised(will: number): void {
    this.#will(will).state = 'promised'
  }

  /** The connections of these clients are lost, or they have said goodbye. */
  ended(wills: readonly number[], how: 'lost' | 'goodbye'): void {
    for (const will of wills.map((one) => this.#will(one)))
      if (will.state === 'promised') will.state = how === 'lost' ? 'due' : 'void'
  }

  received(payload: Buffer): void {
    this.#will(Number(payload.toString())).count++
  }

  get missing(): number {
    return this.#wills.filter(({ state, count }) => state === 'due' && count === 0).length
  }

  get published(): number {
    return this.#wills.filter(({ count }) => count > 0).length
  }

  mistakes(): string[] {
    return this.#wills.flatMap(({ qos, state, count }, i) => {
      if (count > 1 && qos === 2) return [`will ${i} was published ${count} times`]
      if (state === 'due' && count === 0) return [`will ${i} was never published`]
      return state === 'void' && count > 0 ? [`will ${i} was published after a goodbye`] : []
    })
  }

  #will(number: number): Will {
    return this.#wills[number] as Will
  }
}

const FILTERS = 8
const END = 'probe/end'

/** One client that subscribes and unsubscribes all the time, and tries out what it has. */
export class SubscriptionBook {
  /** How often it was tried out. */
  checks = 0
  readonly #client: StrictClient
  readonly #random: Random
  readonly #violated: (what: string) => void
  #isBusy = false
  /** Undefined: it was not told. */
  readonly #states: (boolean | undefined)[] = Array.from({ length: FILTERS }, () => false)
  #got = new Set<string>()
  #ended: (() => void) | undefined
  #nonce = 0

  constructor(client: StrictClient, random: Random, violated: (what: string) => void) {
    this.#client = client
    this.#random = random
    this.#violated = violated
  }

  /** Once, before anything else. */
  async begin(): Promise<void> {
    await this.#client.subscribe(END, 1)
  }

  received(topic: string, payload: Buffer): void {
    if (Number(payload.toString()) !== this.#nonce) return
    this.#got.add(topic)
    if (topic === END) this.#ended?.()
  }

  /** Tries out what is there and then changes it until the connection is lost. Does nothing while it does so already. */
  async work(): Promise<void> {
    if (this.#isBusy) return
    this.#isBusy = true
    if (await this.check()) await this.#change()
    this.#isBusy = false
  }

  /** Publishes to each filter: subscribed ones get it, others do not. @returns false if the connection was lost */
  async check(): Promise<boolean> {
    this.#got = new Set()
    const payload = Buffer.from(String(++this.#nonce))
    const ended = new Promise<boolean>((resolve) => {
      this.#ended = () => resolve(true)
    })
    const states = [...this.#states]
    for (const i of states.keys()) this.#client.publish(`probe/${i}`, payload, 1, false, () => {})
    this.#client.publish(END, payload, 1, false, () => {})
    if (!(await Promise.race([ended, this.#client.lost.then(() => false)]))) return false
    for (const [i, state] of states.entries()) {
      if (state === undefined || state === this.#got.has(`probe/${i}`)) continue
      this.#violated(`subscription probe/${i} is ${state ? 'lost' : 'still there'}`)
    }
    this.checks++
    return true
  }

  async #change(): Promise<void> {
    for (let isAnswered = true; isAnswered; ) {
      const i = this.#random.int(FILTERS)
      const wanted = this.#states[i] === undefined ? this.#random.int(2) === 0 : !this.#states[i]
      this.#states[i] = undefined
      isAnswered = await (wanted
        ? this.#client.subscribe(`probe/${i}`, 1)
        : this.#client.unsubscribe(`probe/${i}`))
      if (isAnswered) this.#states[i] = wanted
    }
  }
}
