/**
 * What clients were promised and what they got. Publishers number their messages; a message is `<publisher>:<number>`
 * and says so in its payload.
 */

export interface Reader {
  /** Which topics it is to get. */
  readonly wants: (topic: string) => boolean
  readonly qos: 1 | 2
  /** Members of one share what it gets. */
  readonly group?: string
}

interface Source {
  readonly qos: 1 | 2
  /** By number. */
  readonly topics: string[]
  readonly acked: boolean[]
}

/** What somebody got: by source and number how often, and the last new one of each topic. */
interface Copy extends Reader {
  readonly counts: Map<string, number[]>
}

interface Receipts {
  readonly copy: Copy
  readonly lastNew: Map<string, number>
  /** Numbers that this reader has had, as opposed to its group. */
  readonly seen: Map<string, boolean[]>
}

export interface Tally {
  /** Messages that the broker has acknowledged. */
  acked: number
  /** Deliveries that were due, at both ends at QoS 2, and else. */
  exactlyOnce: number
  atLeastOnce: number
  /** Copies that QoS 1 allows. */
  copies: number
}

export class Ledger {
  /** What must not have happened, in words. */
  readonly violations: string[] = []
  /** Everything that came, copies too. */
  receivedCount = 0
  readonly #sources = new Map<string, Source>()
  readonly #copies = new Map<string, Copy>()
  readonly #receipts = new Map<string, Receipts>()

  violated(what: string): void {
    this.violations.push(what)
  }

  source(name: string, qos: 1 | 2): void {
    this.#sources.set(name, { qos, topics: [], acked: [] })
  }

  reader(name: string, reader: Reader): void {
    const owner = reader.group ?? name
    const copy = this.#copies.get(owner) ?? { ...reader, counts: new Map() }
    this.#copies.set(owner, copy)
    this.#receipts.set(name, { copy, lastNew: new Map(), seen: new Map() })
  }

  /** @returns its payload, padded with dots */
  sent(source: string, topic: string, padding: number): { payload: Buffer; acked: () => void } {
    const { topics, acked } = this.#source(source)
    const number = topics.push(topic) - 1
    return {
      payload: Buffer.from(`${source}:${number}:${'.'.repeat(padding)}`),
      acked: () => {
        acked[number] = true
      },
    }
  }

  received(reader: string, topic: string, payload: Buffer): void {
    this.receivedCount++
    const [name = '', text = ''] = payload.toString('latin1', 0, 40).split(':')
    const number = Number(text)
    const source = this.#sources.get(name)
    const { copy, lastNew, seen } = this.#receipts.get(reader) as Receipts
    if (source?.topics[number] !== topic || !copy.wants(topic))
      return this.violated(`${reader} got ${name}:${text} on ${topic}, which nobody sent it`)
    const counts = atName(copy.counts, name)
    counts[number] = (counts[number] ?? 0) + 1
    const mine = atName(seen, name)
    if (mine[number] === true) return
    mine[number] = true
    // At QoS 1 a copy of what one member has had may go to another, later than its successors.
    if (copy.group !== undefined && Math.min(source.qos, copy.qos) === 1) return
    const last = lastNew.get(`${name} ${topic}`) ?? -1
    // [MQTT-4.6.0-5] copies may come late, what is new keeps its order
    if (number < last) this.violated(`${reader} got ${name}:${number} after ${name}:${last} on ${topic}`)
    else lastNew.set(`${name} ${topic}`, number)
  }

  /** What is acknowledged and has not come, at most `most` of them. */
  missing(most = 1): string[] {
    const found: string[] = []
    for (const [owner, copy] of this.#copies) {
      for (const [name, source] of this.#sources) {
        const counts = atName(copy.counts, name)
        for (const [number, topic] of source.topics.entries()) {
          if (source.acked[number] !== true || !copy.wants(topic) || (counts[number] ?? 0) > 0) continue
          found.push(`${owner} never got ${name}:${number} on ${topic}`)
          if (found.length >= most) return found
        }
      }
    }
    return found
  }

  /** Looks at everything that was due and adds to `violations`. */
  settle(): Tally {
    this.violations.push(...this.missing(20))
    const tally: Tally = { acked: 0, exactlyOnce: 0, atLeastOnce: 0, copies: 0 }
    for (const [name, source] of this.#sources) {
      tally.acked += source.acked.filter(Boolean).length
      for (const [owner, copy] of this.#copies) this.#settle(tally, name, source, owner, copy)
    }
    return tally
  }

  #settle(tally: Tally, name: string, source: Source, owner: string, { counts, wants, qos }: Copy): void {
    const isExact = Math.min(source.qos, qos) === 2
    const got = atName(counts, name)
    for (const [number, topic] of source.topics.entries()) {
      if (!wants(topic)) continue
      const count = got[number] ?? 0
      tally[isExact ? 'exactlyOnce' : 'atLeastOnce'] += count > 0 ? 1 : 0
      if (count <= 1) continue
      if (isExact) this.violated(`${owner} got ${name}:${number} ${count} times at QoS 2`)
      else tally.copies += count - 1
    }
  }

  #source(name: string): Source {
    return this.#sources.get(name) as Source
  }
}

function atName<T>(lists: Map<string, T[]>, name: string): T[] {
  const list = lists.get(name) ?? []
  lists.set(name, list)
  return list
}
