/** The clients of a crash test: publishers, retained values, readers of all kinds, wills, changing subscriptions. */
import { vi } from 'vitest'
import type { Random } from '../random.ts'
import { RetainedBook, SubscriptionBook, WillBook } from './books.ts'
import { Ledger, type Reader } from './ledger.ts'
import { StrictClient } from './strict-client.ts'

type Version = 4 | 5

/** Name, version, QoS. */
const PUBLISHERS: readonly (readonly [string, Version, 1 | 2])[] = [
  ['p5-1', 5, 1],
  ['p4-1', 4, 1],
  ['p5-2', 5, 2],
  ['p4-2', 4, 2],
]
const RETAINERS = [
  ['r5-1', 5, 1],
  ['r4-2', 4, 2],
] as const

interface ReaderPlan extends Reader {
  readonly name: string
  readonly version: Version
  readonly filter: string
  /** It is away now and then. */
  readonly sleeps?: boolean
}

const every = (topic: string) => topic.startsWith('load/')
const READERS: readonly ReaderPlan[] = [
  { name: 's5-2', version: 5, filter: 'load/#', qos: 2, wants: every },
  { name: 's4-2', version: 4, filter: 'load/+/a', qos: 2, wants: (topic) => topic.endsWith('/a') },
  { name: 's5-1', version: 5, filter: 'load/#', qos: 1, wants: every },
  { name: 's4-1', version: 4, filter: 'load/p5-2/b', qos: 1, wants: (topic) => topic === 'load/p5-2/b' },
  { name: 'z5-2', version: 5, filter: 'load/#', qos: 2, wants: every, sleeps: true },
  { name: 'z4-2', version: 4, filter: 'load/#', qos: 2, wants: every, sleeps: true },
  { name: 'g5', version: 5, filter: '$share/g/load/#', qos: 2, wants: every, group: 'g' },
  { name: 'g4', version: 4, filter: '$share/g/load/#', qos: 2, wants: every, group: 'g', sleeps: true },
]

const WINDOW = 10
const RETAINED_TOPICS = 10
const PATIENCE_MS = 60_000

export class Fleet {
  readonly ledger = new Ledger()
  readonly retained = new RetainedBook()
  readonly wills = new WillBook()
  readonly subscriptions: SubscriptionBook
  retainedChecks = 0
  readonly #random: Random
  readonly #publishers: { client: StrictClient; qos: 1 | 2; retains: boolean }[] = []
  readonly #readers: { client: StrictClient; sleeps: boolean; filter: string; qos: 1 | 2 }[] = []
  readonly #changer: StrictClient
  readonly #watcher: StrictClient
  #willing: { client: StrictClient; will: number }[] = []
  #port = 0
  #lookers = 0
  #isLoading = false
  #alarm: { acks: number; run: () => void } | undefined

  constructor(random: Random) {
    this.#random = random
    for (const [name, version, qos] of PUBLISHERS) this.#addPublisher(name, version, qos, false)
    for (const [name, version, qos] of RETAINERS) this.#addPublisher(name, version, qos, true)
    for (const plan of READERS) this.#addReader(plan)
    const changer = (topic: string, payload: Buffer) => this.subscriptions.received(topic, payload)
    this.#changer = this.#client('changer', 5, changer)
    this.subscriptions = new SubscriptionBook(this.#changer, random, (what) => this.ledger.violated(what))
    this.#watcher = this.#client('watcher', 5, (_, payload) => this.wills.received(payload))
  }

  /** Everybody's session and subscriptions, before anything happens. */
  async settleIn(port: number): Promise<void> {
    await this.connect(port)
    await this.subscriptions.begin()
    await this.#watcher.subscribe('will/#', 2)
    for (const { client, filter, qos } of this.#readers) await client.subscribe(filter, qos)
  }

  async connect(port: number): Promise<void> {
    this.#port = port
    await Promise.all(this.#kept.map((client) => client.connect(port)))
  }

  /** Publishers publish as fast as they are answered. After so many answers `run` is called, in the midst of it. */
  load(acks: number, run: () => void): void {
    this.#alarm = { acks, run }
    this.#isLoading = true
    for (const publisher of this.#publishers) this.#publish(publisher)
  }

  /** The broker is gone, and every connection with it. */
  lost(): void {
    this.#isLoading = false
    for (const client of this.#kept) client.cut()
    this.#endWills()
  }

  /** Cuts the connections of a few, who come back at once. */
  async cutSome(): Promise<void> {
    const some = this.#kept.filter(() => this.#random.int(4) === 0)
    for (const client of some) client.cut()
    this.#endWills()
    await Promise.all(some.map((client) => client.connect(this.#port)))
    for (const publisher of this.#publishers) this.#publish(publisher)
  }

  /** Clients with wills: sessions that end with their connection, and one that is kept. */
  async bringWills(): Promise<void> {
    const plans = [
      [5, 1, true],
      [4, 2, true],
      [5, 2, false],
    ] as const
    await Promise.all(
      plans.map(async ([version, qos, clean]) => {
        const will = this.wills.announced(qos)
        const packet = { topic: `will/${will}`, payload: Buffer.from(String(will)), qos, retain: false }
        const onViolation = (what: string) => this.ledger.violated(what)
        const client = new StrictClient({ clientId: `w${will}`, version, clean, will: packet, onViolation })
        this.#willing.push({ client, will })
        if (await client.connect(this.#port)) this.wills.promised(will)
      }),
    )
  }

  /** A new subscriber looks at what is retained. Gives up when the connection is lost. */
  async checkRetained(): Promise<void> {
    const promised = this.retained.promised()
    const found = new Map<string, string>()
    const client = new StrictClient({
      clientId: `looker-${++this.#lookers}`,
      version: 5,
      clean: true,
      onMessage: (topic, payload) => found.set(topic, payload.toString()),
      onViolation: (what) => this.ledger.violated(what),
    })
    let isThere: boolean = (await client.connect(this.#port)) && (await client.subscribe('retained/#', 1))
    const until = Date.now() + PATIENCE_MS / 10
    // Asked again each time: what is taken away before the subscription is there has no value to wait for.
    const isWaiting = () => this.retained.due(promised).some((topic) => !found.has(topic))
    while (isThere && isWaiting() && Date.now() < until) isThere = await client.ping()
    if (isThere && (await client.ping())) {
      for (const mistake of this.retained.mistakes(promised, found)) this.ledger.violated(mistake)
      this.retainedChecks++
    }
    client.cut()
  }

  /** Nobody publishes any more: waits until everything that is due has come, or nothing comes any more. */
  async drain(): Promise<void> {
    this.#isLoading = false
    this.#alarm = undefined
    for (const { client } of this.#willing) client.leave()
    this.wills.ended(
      this.#willing.map(({ will }) => will),
      'goodbye',
    )
    this.#willing = []
    await Promise.all(this.#kept.filter(({ isOnline }) => !isOnline).map((one) => one.connect(this.#port)))
    const isDone = () =>
      this.#kept.every(({ unackedCount }) => unackedCount === 0) &&
      this.wills.missing === 0 &&
      this.ledger.missing().length === 0
    // What did not come in time is a violation, with its name.
    await vi.waitUntil(isDone, { timeout: PATIENCE_MS, interval: 100 }).catch(() => {})
    for (const client of this.#kept) {
      if (client.unackedCount > 0) this.ledger.violated(`${client.clientId} waits for answers`)
      if (!(await client.ping())) this.ledger.violated(`${client.clientId} is not connected at the end`)
    }
  }

  get #kept(): StrictClient[] {
    const sleepless = [...this.#publishers, ...this.#readers].map(({ client }) => client)
    return [...sleepless, this.#changer, this.#watcher]
  }

  #addPublisher(name: string, version: Version, qos: 1 | 2, retains: boolean): void {
    if (!retains) this.ledger.source(name, qos)
    const client = this.#client(name, version)
    this.#publishers.push({ client, qos, retains })
  }

  #addReader({ name, version, filter, qos, sleeps = false, ...reader }: ReaderPlan): void {
    this.ledger.reader(name, { qos, ...reader })
    const client = this.#client(name, version, (topic, payload) => this.ledger.received(name, topic, payload))
    this.#readers.push({ client, sleeps, filter, qos })
  }

  #client(clientId: string, version: Version, onMessage?: (topic: string, payload: Buffer) => void) {
    const onViolation = (what: string) => this.ledger.violated(what)
    const onAcked = () => this.#acked()
    return new StrictClient({
      clientId,
      version,
      onViolation,
      onAcked,
      ...(onMessage === undefined ? {} : { onMessage }),
    })
  }

  #acked(): void {
    const alarm = this.#alarm
    if (alarm !== undefined && --alarm.acks <= 0) {
      this.#alarm = undefined
      alarm.run()
    }
    if (!this.#isLoading) return
    if (this.#random.int(100) === 0) this.#turnSleeper()
    for (const publisher of this.#publishers) this.#publish(publisher)
  }

  #publish({ client, qos, retains }: { client: StrictClient; qos: 1 | 2; retains: boolean }): void {
    while (this.#isLoading && client.isOnline && client.unackedCount < WINDOW) {
      if (retains) {
        const topic = `retained/${client.clientId}/${this.#random.int(RETAINED_TOPICS)}`
        const { payload, acked } = this.retained.next(topic, this.#random.int(6) === 0)
        client.publish(topic, payload, qos, true, acked)
      } else {
        const topic = `load/${client.clientId}/${this.#random.pick(['a', 'b'])}`
        const padding = this.#random.int(50) === 0 ? 20_000 : this.#random.int(200)
        const { payload, acked } = this.ledger.sent(client.clientId, topic, padding)
        client.publish(topic, payload, qos, false, acked)
      }
    }
  }

  /** One that may be away comes, or goes with or without a word. */
  #turnSleeper(): void {
    const { client } = this.#random.pick(this.#readers.filter(({ sleeps }) => sleeps))
    if (!client.isOnline) void client.connect(this.#port)
    else if (this.#random.int(2) === 0) client.cut()
    else client.leave()
  }

  #endWills(): void {
    for (const { client } of this.#willing) client.cut()
    this.wills.ended(
      this.#willing.map(({ will }) => will),
      'lost',
    )
    this.#willing = []
  }
}
