import { BrokerError, messageOf } from '../model/errors.ts'
import type { Logger } from '../model/log.ts'
import type { Bind } from '../model/schema.ts'
import type { Transport, TransportKind } from './transport.ts'

/** A listener as it should be. What else a plan holds is between who makes plans and who makes listeners of them. */
export interface ListenerPlan {
  /** `tcp:default`, `stomp:ws:default` */
  readonly id: string
  readonly kind: TransportKind
  readonly bind: Bind
  /** Takes each new peer: sets the transport's handler before it returns. An update replaces it. */
  readonly accept: (transport: Transport) => void
}

/** What a set does with a listener: see `Listener`. */
export interface ManagedListener<Plan> {
  start(): Promise<void>
  stop(): Promise<void>
  drained(signal: AbortSignal): Promise<void>
  closeAll(): void
  /** Takes what needs no new socket: limits, access rules, certificates. @throws BrokerError CONFIG_INVALID */
  update(plan: Plan): void
}

interface Running<Plan, L> {
  readonly listener: L
  plan: Plan
}

/** The listeners of MQTT, or of one gateway: binds them, and carries changes to them without touching what did not change. */
export class ListenerSet<Plan extends ListenerPlan, L extends ManagedListener<Plan>> {
  readonly #create: (plan: Plan, accept: (transport: Transport) => void) => L
  readonly #log: Logger
  readonly #running = new Map<string, Running<Plan, L>>()
  /** Those that were bound elsewhere before, by id: their clients may still be here. */
  readonly #former = new Map<string, L[]>()

  constructor(create: (plan: Plan, accept: (transport: Transport) => void) => L, log: Logger) {
    this.#create = create
    this.#log = log
  }

  get ids(): string[] {
    return [...this.#running.keys()]
  }

  get(id: string): L | undefined {
    return this.#running.get(id)?.listener
  }

  /**
   * Binds all of them.
   * @throws BrokerError CONFIG_INVALID, LISTEN_FAILED, and then none is left open
   */
  async start(plans: readonly Plan[]): Promise<void> {
    const failures = await this.#bindAll(plans)
    if (failures.length === 0) return
    await this.stop()
    throw failures[0]
  }

  /**
   * A listener of another type or `bind` is bound anew and its clients stay; the clients of one that is gone are cut.
   * @throws the first error, after everything else has been updated
   */
  async update(plans: readonly Plan[]): Promise<void> {
    const wanted = new Map(plans.map((plan) => [plan.id, plan]))
    // First what goes, so that a renamed listener can have the port of the old one.
    await this.#unbind(
      [...this.#running.values()].filter(({ plan }) => !isSameSocket(plan, wanted.get(plan.id))),
    )
    this.#cutRemoved(wanted)
    const failures: unknown[] = []
    for (const running of this.#running.values()) {
      const plan = wanted.get(running.plan.id) as Plan
      try {
        running.listener.update(plan)
        running.plan = plan
      } catch (error) {
        failures.push(error)
      }
    }
    failures.push(...(await this.#bindAll(plans.filter(({ id }) => !this.#running.has(id)))))
    if (failures.length > 0) throw failures[0]
  }

  /** Stops accepting. Connections stay: see `drain`. */
  async stop(): Promise<void> {
    await this.#unbind([...this.#running.values()])
  }

  /** Waits until all connections are gone, and cuts those that are left when `signal` aborts. */
  async drain(signal: AbortSignal): Promise<void> {
    await Promise.all(this.#all().map((listener) => listener.drained(signal)))
    this.closeAll()
  }

  /** Cuts every connection that came through one of them. */
  closeAll(): void {
    for (const listener of this.#all()) listener.closeAll()
  }

  #all(): L[] {
    return [
      ...[...this.#running.values()].map(({ listener }) => listener),
      ...[...this.#former.values()].flat(),
    ]
  }

  #cutRemoved(wanted: ReadonlyMap<string, Plan>): void {
    for (const [id, listeners] of this.#former) {
      if (wanted.has(id)) continue
      this.#former.delete(id)
      for (const listener of listeners) listener.closeAll()
    }
  }

  /** Binds all of them, whatever becomes of each. @returns the errors */
  async #bindAll(plans: readonly Plan[]): Promise<unknown[]> {
    const results = await Promise.allSettled(plans.map((plan) => this.#bind(plan)))
    return results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []))
  }

  async #bind(plan: Plan): Promise<void> {
    const listener = this.#create(plan, (transport) => running.plan.accept(transport))
    // Known before it is bound: its first peer may come in the same turn.
    const running = { listener, plan }
    this.#running.set(plan.id, running)
    try {
      await listener.start()
    } catch (error) {
      this.#running.delete(plan.id)
      if (error instanceof BrokerError) throw error
      throw new BrokerError('LISTEN_FAILED', `listener ${plan.id}: ${messageOf(error)}`, { cause: error })
    }
  }

  async #unbind(listeners: readonly Running<Plan, L>[]): Promise<void> {
    for (const { plan, listener } of listeners) {
      this.#running.delete(plan.id)
      this.#former.set(plan.id, [...(this.#former.get(plan.id) ?? []), listener])
    }
    const results = await Promise.allSettled(listeners.map(({ listener }) => listener.stop()))
    for (const [i, result] of results.entries()) {
      if (result.status === 'fulfilled') continue
      this.#log.warn(
        { listener: listeners[i]?.plan.id, error: result.reason },
        'listener did not stop cleanly',
      )
    }
  }
}

function isSameSocket(old: ListenerPlan, wanted: ListenerPlan | undefined): boolean {
  if (wanted === undefined || old.kind !== wanted.kind) return false
  return old.bind.host === wanted.bind.host && old.bind.port === wanted.bind.port
}
