/**
 * Long lists of rules, sorted by texts that a topic must hold to fit them, so that most need not be looked at.
 *
 * A rule about `site/x7-${clientid}/#` can only fit topics whose second level begins with `x7-`. Of what a rule wants,
 * that is taken which the fewest others want too: a whole level, its beginning, or its end. A topic is then asked once
 * for each place where some rule wants a text, and the rules found are tried in their order together with those that
 * want nothing in particular.
 */
import type { Action, Permission } from '../model/access.ts'
import type { ClientInfo } from '../model/client-info.ts'
import { bitOf, type CompiledRule, fitsRule } from './rule.ts'
import type { CompiledFilter } from './topic-template.ts'

/** A text that a level of the topic must be, begin with, or end with. */
interface Want {
  readonly kind: 'is' | 'begins' | 'ends'
  /** Of the level, from 0. */
  readonly level: number
  readonly text: string
}

/** Where topics are looked at, and the rules that want what by the text that they want. Numbers of rules ascend. */
interface Place {
  readonly kind: Want['kind']
  readonly level: number
  readonly length: number
  readonly rules: Map<string, number[]>
}

/** Each costs a look-up per question. Rules that would need more are tried one by one. */
const MAX_PLACES = 64

export class RuleIndex {
  readonly #rules: readonly CompiledRule[]
  readonly #places: readonly Place[]
  /** Those that any topic might fit. */
  readonly #others: readonly number[]

  constructor(rules: readonly CompiledRule[]) {
    this.#rules = rules
    const places = new Map<string, Place>()
    const others: number[] = []
    const wanted = rules.map(wantsOf)
    const counts = countAll(wanted)
    for (const [number, topics] of wanted.entries()) {
      const wants = topics?.map((options) => rarest(options, counts))
      if (wants === undefined || !addAll(places, wants, number)) others.push(number)
    }
    this.#places = [...places.values()]
    this.#others = others
  }

  get size(): number {
    return this.#rules.length
  }

  /** The same as `firstMatch` of all of the rules. */
  firstMatch(client: ClientInfo, action: Action, topic: string): Permission | undefined {
    const bit = bitOf(action)
    const levels = topic.split('/')
    const lists = this.#listsFor(levels)
    const at = lists.map(() => 0)
    for (;;) {
      const number = nextOf(lists, at)
      const rule = this.#rules[number]
      if (rule === undefined) return undefined
      if (fitsRule(rule, bit, client, topic, levels)) return rule.permission
    }
  }

  /**
   * What `firstMatch` says about every topic; undefined if that depends on it. So it is where a rule for all topics comes
   * and the ones before it say the same, or are not about this client and action.
   */
  settled(client: ClientInfo, action: Action): Permission | undefined {
    const bit = bitOf(action)
    let said: Permission | undefined
    for (const { permission, actions, who, topics } of this.#rules) {
      if ((actions & bit) === 0 || (who !== undefined && !who(client))) continue
      if (said !== undefined && said !== permission) return undefined
      if (topics === undefined) return permission
      said = permission
    }
    return undefined
  }

  #listsFor(levels: readonly string[]): (readonly number[])[] {
    const lists = [this.#others]
    for (const { kind, level, length, rules } of this.#places) {
      const text = levels[level]
      if (text === undefined || text.length < length) continue
      const found = rules.get(
        kind === 'is' ? text : kind === 'begins' ? text.slice(0, length) : text.slice(-length),
      )
      if (found !== undefined) lists.push(found)
    }
    return lists
  }
}

/** The lowest number that has not been taken from the lists; -1 if there is none. It is taken from all that have it. */
function nextOf(lists: readonly (readonly number[])[], at: number[]): number {
  let lowest = -1
  for (let i = 0; i < lists.length; i++) {
    const number = lists[i]?.[at[i] as number]
    if (number !== undefined && (lowest === -1 || number < lowest)) lowest = number
  }
  for (let i = 0; i < lists.length; i++) if (lists[i]?.[at[i] as number] === lowest) (at[i] as number) += 1
  return lowest
}

/** For each topic of a rule, what fitting it takes; undefined if one of them takes nothing. */
function wantsOf({ topics }: CompiledRule): Want[][] | undefined {
  if (topics === undefined) return undefined
  const wants = topics.map(({ exact, filter }) =>
    filter === undefined ? exactLevels(exact) : levelsOf(filter),
  )
  return wants.some((options) => options.length === 0) ? undefined : wants
}

function exactLevels(topic: string): Want[] {
  return topic.split('/').map((text, level) => ({ kind: 'is', level, text }))
}

/** `#` is the last level, so those before it are where they are. */
function levelsOf({ levels }: CompiledFilter): Want[] {
  return levels.flatMap((one, level): Want[] => {
    if (one === '+' || one === '#') return []
    if (typeof one === 'string') return [{ kind: 'is', level, text: one }]
    const [first, last] = [one.pieces[0], one.pieces.at(-1)]
    const begins: Want[] = typeof first === 'string' ? [{ kind: 'begins', level, text: first }] : []
    return typeof last === 'string' ? [...begins, { kind: 'ends', level, text: last }] : begins
  })
}

function countAll(wanted: readonly (Want[][] | undefined)[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const want of wanted.flat(2)) {
    if (want === undefined) continue
    const key = `${want.kind} ${want.level} ${want.text}`
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  return counts
}

function rarest(options: readonly Want[], counts: ReadonlyMap<string, number>): Want {
  const countOf = ({ kind, level, text }: Want) => counts.get(`${kind} ${level} ${text}`) ?? 0
  return options.reduce((best, want) => (countOf(want) < countOf(best) ? want : best))
}

/** @returns false, with nothing added, if that would take too many places */
function addAll(places: Map<string, Place>, wants: readonly Want[], number: number): boolean {
  const isNew = (want: Want) => !places.has(placeOf(want))
  if (places.size + wants.filter(isNew).length > MAX_PLACES) return false
  for (const want of wants) {
    const { kind, level, text } = want
    const length = kind === 'is' ? 0 : text.length
    const place = places.get(placeOf(want)) ?? { kind, level, length, rules: new Map<string, number[]>() }
    places.set(placeOf(want), place)
    const list = place.rules.get(text) ?? []
    if (list.at(-1) !== number) list.push(number)
    place.rules.set(text, list)
  }
  return true
}

function placeOf({ kind, level, text }: Want): string {
  return kind === 'is' ? `is ${level}` : `${kind} ${level} ${text.length}`
}
