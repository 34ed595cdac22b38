/**
 * What there is now, and the most there has been since the start: EMQX's statistics by their names, each as
 * `<name>.count` and `<name>.max`. Every number is at hand where it is asked for; nothing is walked.
 */
import type { Hub } from './hub.ts'

type Read = () => number

interface Gauge {
  readonly read: Read
  max: number
}

export class Stats {
  readonly #gauges = new Map<string, Gauge>()

  constructor(hub: Hub) {
    const { kernel } = hub
    const { router } = kernel
    const sessions = () => hub.sessionCount
    const subscriptions = () => router.subscriptionCount
    // Those that are away too, as in EMQX: who is connected now is `live_connections`.
    this.provide('connections', sessions)
    this.provide('live_connections', () => hub.clientCount)
    this.provide('channels', sessions)
    this.provide('sessions', sessions)
    this.provide('cluster_sessions', sessions)
    this.provide('topics', () => router.filterCount)
    this.provide('subscriptions', subscriptions)
    this.provide('subscriptions.shared', () => router.sharedCount)
    this.provide('suboptions', subscriptions)
    this.provide('subscribers', () => router.subscriberCount)
    this.provide('retained', () => kernel.storage.retainedCount)
  }

  /** Adds what a feature knows. `read` must be quick: it is called with every login. */
  provide(name: string, read: Read): void {
    this.#gauges.set(name, { read, max: 0 })
  }

  /** Notes how much there is now, so that the highest number is not missed. */
  sample(): void {
    for (const gauge of this.#gauges.values()) {
      const value = gauge.read()
      if (value > gauge.max) gauge.max = value
    }
  }

  /** `connections.count`, `connections.max` and so on, with their values now. */
  *read(): Generator<[name: string, value: number]> {
    this.sample()
    for (const [name, { read, max }] of this.#gauges) {
      yield [`${name}.count`, read()]
      yield [`${name}.max`, max]
    }
  }

  /** @param name - with `.count` or `.max`. @returns undefined if there is no such number */
  get(name: string): number | undefined {
    const gauge = this.#gauges.get(name.replace(/\.(count|max)$/, ''))
    if (gauge === undefined) return undefined
    this.sample()
    return name.endsWith('.max') ? gauge.max : gauge.read()
  }
}
