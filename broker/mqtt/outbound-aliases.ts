/** Topic aliases towards one MQTT 5 client (§3.3.2.3.4). They end with its connection [MQTT-3.3.2-7]. */

/** Whatever the client allows: each costs us about 200 bytes. */
const MAX_ALIASES = 64

/** For a shorter topic, the three bytes of the alias and the work are not worth it. */
const MIN_TOPIC_CHARS = 7

/** Topics sent once that are remembered. Where there are ever new topics, none gets an alias. */
const MAX_SEEN = 64

/**
 * Gives aliases to topics that come a second time. When all are given away, the one given first goes to
 * another topic.
 */
export class OutboundAliases {
  /** In the order they were given. */
  readonly #aliases = new Map<string, number>()
  readonly #seen = new Set<string>()
  readonly #max: number

  /** @param topicAliasMaximum - the client's, 1 to 65535 [MQTT-3.1.2-26] [MQTT-3.3.2-11] */
  constructor(topicAliasMaximum: number) {
    this.#max = Math.min(topicAliasMaximum, MAX_ALIASES)
  }

  /** @returns the alias that the client knows `topic` by, 0 = none */
  known(topic: string): number {
    return this.#aliases.get(topic) ?? 0
  }

  /** @returns the alias to introduce with this PUBLISH, 0 = none. Call `introduced` when it is written. */
  candidate(topic: string): number {
    if (topic.length < MIN_TOPIC_CHARS) return 0
    if (!this.#seen.has(topic)) {
      this.#remember(topic)
      return 0
    }
    if (this.#aliases.size < this.#max) return this.#aliases.size + 1
    for (const alias of this.#aliases.values()) return alias
    return 0
  }

  introduced(topic: string, alias: number): void {
    this.#seen.delete(topic)
    if (this.#aliases.size === this.#max) {
      for (const oldest of this.#aliases.keys()) {
        this.#aliases.delete(oldest)
        break
      }
    }
    this.#aliases.set(topic, alias)
  }

  #remember(topic: string): void {
    if (this.#seen.size === MAX_SEEN) {
      for (const oldest of this.#seen) {
        this.#seen.delete(oldest)
        break
      }
    }
    this.#seen.add(topic)
  }
}
