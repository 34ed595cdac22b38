/**
 * Topic filters and what hangs on them. Filters without wildcards sit in a map;
 * the trie holds only the others, one node per level:
 *
 *     sport/+/score     root -> "sport" -> plus -> "score": here
 *     sport/#           root -> "sport": below
 *
 * Matching a topic costs O(levels) nodes per wildcard path that exists, not O(filters).
 *
 * There may be a million filters, and most have one value, most nodes one child. So a value or a child
 * that is alone is kept as it is, and a set or map is made with the second.
 */

import { hasWildcard } from '../../model/topic.ts'

/** The values of one filter that has more than one. Of a class of its own: a value may be a set itself. */
class Several<T> extends Set<T> {}

type Slot<T> = T | Several<T> | undefined

class Node<T> {
  /** The level that leads here. */
  readonly name: string
  children: Node<T> | Map<string, Node<T>> | undefined
  plus: Node<T> | undefined
  /** Filters that end at this level. */
  here: Slot<T>
  /** Filters that go on with `#`. */
  below: Slot<T>

  constructor(name: string) {
    this.name = name
    this.children = undefined
    this.plus = undefined
    this.here = undefined
    this.below = undefined
  }

  get isEmpty(): boolean {
    return (
      this.here === undefined &&
      this.below === undefined &&
      this.plus === undefined &&
      this.children === undefined
    )
  }

  child(level: string): Node<T> | undefined {
    const { children } = this
    if (children === undefined) return undefined
    if (children instanceof Map) return children.get(level)
    return children.name === level ? children : undefined
  }

  addChild(level: string): Node<T> {
    const { children } = this
    const node = new Node<T>(level)
    if (children === undefined) this.children = node
    else if (children instanceof Map) children.set(level, node)
    else {
      this.children = new Map([
        [children.name, children],
        [level, node],
      ])
    }
    return node
  }

  removeChild(level: string): void {
    const { children } = this
    if (children instanceof Map) {
      children.delete(level)
      if (children.size === 0) this.children = undefined
    } else this.children = undefined
  }
}

export class FilterTrie<T> {
  readonly #exact = new Map<string, Slot<T>>()
  readonly #root = new Node<T>('')
  #size = 0

  /** Filters that something hangs on. */
  get size(): number {
    return this.#size
  }

  add(filter: string, value: T): void {
    if (!hasWildcard(filter)) {
      this.#exact.set(filter, this.#put(this.#exact.get(filter), value))
      return
    }
    let node = this.#root
    for (const level of filter.split('/')) {
      if (level === '#') {
        node.below = this.#put(node.below, value)
        return
      }
      node = step(node, level)
    }
    node.here = this.#put(node.here, value)
  }

  /** @returns whether it was there. */
  remove(filter: string, value: T): boolean {
    if (!hasWildcard(filter)) {
      const slot = this.#exact.get(filter)
      if (!holds(slot, value)) return false
      const rest = this.#without(slot, value)
      if (rest === undefined) this.#exact.delete(filter)
      else this.#exact.set(filter, rest)
      return true
    }
    const levels = filter.split('/')
    const path: Node<T>[] = [this.#root]
    for (const level of levels) {
      if (level === '#') break
      const next = childOf(path[path.length - 1] as Node<T>, level)
      if (next === undefined) return false
      path.push(next)
    }
    const last = path[path.length - 1] as Node<T>
    const end = levels[levels.length - 1] === '#' ? 'below' : 'here'
    if (!holds(last[end], value)) return false
    last[end] = this.#without(last[end], value)
    prune(path, levels)
    return true
  }

  /** Everything whose filter matches the topic [MQTT-3.3.2-3], in no particular order. @see MQTT 5.0 §4.7 */
  match(topic: string): T[] {
    const found: T[] = []
    collect(this.#exact.get(topic), found)
    if (!this.#root.isEmpty) this.#walk(topic, found)
    return found
  }

  #put(slot: Slot<T>, value: T): Slot<T> {
    if (slot === undefined) this.#size++
    return put(slot, value)
  }

  /** Of a slot that holds the value. */
  #without(slot: Slot<T>, value: T): Slot<T> {
    const rest = without(slot, value)
    if (rest === undefined) this.#size--
    return rest
  }

  /** All nodes of one level after the other, so that each level is cut out of the topic once, and only if it is asked for. */
  #walk(topic: string, found: T[]): void {
    let nodes: Node<T>[] = [this.#root]
    let next: Node<T>[] = []
    let count = 1
    for (let at = 0; count > 0 && at <= topic.length; ) {
      // [MQTT-4.7.2-1] a wildcard at the first level does not match topics that begin with $
      const takesWildcards = at > 0 || topic.charCodeAt(0) !== DOLLAR
      const slash = topic.indexOf('/', at)
      const end = slash < 0 ? topic.length : slash
      let level: string | undefined
      let nextCount = 0
      for (let i = 0; i < count; i++) {
        const node = nodes[i] as Node<T>
        if (node.children !== undefined) {
          level ??= topic.slice(at, end)
          const named = node.child(level)
          if (named !== undefined) next[nextCount++] = named
        }
        if (!takesWildcards) continue
        collect(node.below, found)
        if (node.plus !== undefined) next[nextCount++] = node.plus
      }
      at = end + 1
      count = nextCount
      ;[nodes, next] = [next, nodes]
    }
    for (let i = 0; i < count; i++) {
      const node = nodes[i] as Node<T>
      collect(node.below, found) // §4.7.1.2: `a/#` also matches `a`
      collect(node.here, found)
    }
  }
}

const DOLLAR = 0x24

function put<T>(slot: Slot<T>, value: T): Slot<T> {
  if (slot === undefined || slot === value) return value
  if (slot instanceof Several) return slot.add(value)
  return new Several([slot, value])
}

function holds<T>(slot: Slot<T>, value: T): boolean {
  return slot instanceof Several ? slot.has(value) : slot !== undefined && slot === value
}

/** What is left without a value that it holds; undefined if that is nothing. */
function without<T>(slot: Slot<T>, value: T): Slot<T> {
  if (!(slot instanceof Several)) return undefined
  slot.delete(value)
  return slot.size === 0 ? undefined : slot
}

function collect<T>(slot: Slot<T>, into: T[]): void {
  if (slot === undefined) return
  if (slot instanceof Several) for (const value of slot) into.push(value)
  else into.push(slot)
}

function childOf<T>(node: Node<T>, level: string): Node<T> | undefined {
  return level === '+' ? node.plus : node.child(level)
}

function step<T>(node: Node<T>, level: string): Node<T> {
  if (level === '+') return (node.plus ??= new Node<T>(level))
  return node.child(level) ?? node.addChild(level)
}

/** Takes away the nodes at the end of `path` that hold nothing any more. */
function prune<T>(path: Node<T>[], levels: string[]): void {
  for (let i = path.length - 1; i > 0; i--) {
    const node = path[i] as Node<T>
    if (!node.isEmpty) return
    const parent = path[i - 1] as Node<T>
    const level = levels[i - 1] as string
    if (level === '+') parent.plus = undefined
    else parent.removeChild(level)
  }
}
