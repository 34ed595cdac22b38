/**
 * Topic filters and what hangs on them. Filters without wildcards sit in a map;
 * the trie holds only the others, one node per level:
 *
 *     sport/+/score     root -> "sport" -> plus -> "score": here
 *     sport/#           root -> "sport": below
 *
 * Matching a topic costs O(levels) nodes per wildcard path that exists, not O(filters).
 */

import { hasWildcard } from '../../model/topic.ts'

/** What hangs on one filter. Most have one entry, so the set is made with the second. */
class Bucket<T> {
  one: T | undefined
  many: Set<T> | undefined

  add(value: T): void {
    if (this.many !== undefined) this.many.add(value)
    else if (this.one === undefined) this.one = value
    else if (this.one !== value) {
      this.many = new Set([this.one, value])
      this.one = undefined
    }
  }

  delete(value: T): boolean {
    if (this.many !== undefined) return this.many.delete(value)
    if (this.one !== value) return false
    this.one = undefined
    return true
  }

  get isEmpty(): boolean {
    return this.one === undefined && (this.many === undefined || this.many.size === 0)
  }

  collect(into: T[]): void {
    if (this.one !== undefined) into.push(this.one)
    else if (this.many !== undefined) for (const value of this.many) into.push(value)
  }
}

class Node<T> {
  children: Map<string, Node<T>> | undefined
  plus: Node<T> | undefined
  /** Filters that end at this level. */
  here: Bucket<T> | undefined
  /** Filters that go on with `#`. */
  below: Bucket<T> | undefined

  get isEmpty(): boolean {
    return (
      this.here === undefined &&
      this.below === undefined &&
      this.plus === undefined &&
      (this.children === undefined || this.children.size === 0)
    )
  }
}

export class FilterTrie<T> {
  readonly #exact = new Map<string, Bucket<T>>()
  #root = new Node<T>()

  add(filter: string, value: T): void {
    if (!hasWildcard(filter)) {
      let bucket = this.#exact.get(filter)
      if (bucket === undefined) this.#exact.set(filter, (bucket = new Bucket()))
      bucket.add(value)
      return
    }
    let node = this.#root
    for (const level of filter.split('/')) {
      if (level === '#') {
        node.below ??= new Bucket()
        node.below.add(value)
        return
      }
      node = step(node, level)
    }
    node.here ??= new Bucket()
    node.here.add(value)
  }

  /** @returns whether it was there. */
  remove(filter: string, value: T): boolean {
    if (!hasWildcard(filter)) {
      const bucket = this.#exact.get(filter)
      if (bucket === undefined || !bucket.delete(value)) return false
      if (bucket.isEmpty) this.#exact.delete(filter)
      return true
    }
    const levels = filter.split('/')
    const path: Node<T>[] = [this.#root]
    for (const level of levels) {
      if (level === '#') break
      const next = child(path[path.length - 1] as Node<T>, level)
      if (next === undefined) return false
      path.push(next)
    }
    const last = path[path.length - 1] as Node<T>
    const slot = levels[levels.length - 1] === '#' ? 'below' : 'here'
    const bucket = last[slot]
    if (bucket === undefined || !bucket.delete(value)) return false
    if (bucket.isEmpty) last[slot] = undefined
    prune(path, levels)
    return true
  }

  /** Everything whose filter matches the topic [MQTT-3.3.2-3], in no particular order. @see MQTT 5.0 §4.7 */
  match(topic: string): T[] {
    const found: T[] = []
    this.#exact.get(topic)?.collect(found)
    if (this.#root.isEmpty) return found
    const levels = topic.split('/')
    // [MQTT-4.7.2-1] a wildcard at the first level does not match topics that begin with $
    let nodes = topic.startsWith('$') ? only(this.#root.children?.get(levels[0] as string)) : [this.#root]
    for (let depth = topic.startsWith('$') ? 1 : 0; nodes.length > 0; depth++) {
      const level = levels[depth]
      const next: Node<T>[] = []
      for (const node of nodes) {
        node.below?.collect(found) // §4.7.1.2: `a/#` also matches `a`
        if (level === undefined) {
          node.here?.collect(found)
          continue
        }
        const named = node.children?.get(level)
        if (named !== undefined) next.push(named)
        if (node.plus !== undefined) next.push(node.plus)
      }
      if (level === undefined) break
      nodes = next
    }
    return found
  }
}

function only<T>(node: Node<T> | undefined): Node<T>[] {
  return node === undefined ? [] : [node]
}

function child<T>(node: Node<T>, level: string): Node<T> | undefined {
  return level === '+' ? node.plus : node.children?.get(level)
}

function step<T>(node: Node<T>, level: string): Node<T> {
  let next = child(node, level)
  if (next !== undefined) return next
  next = new Node<T>()
  if (level === '+') node.plus = next
  else {
    node.children ??= new Map()
    node.children.set(level, next)
  }
  return next
}

/** Takes away the nodes at the end of `path` that hold nothing any more. */
function prune<T>(path: Node<T>[], levels: string[]): void {
  for (let i = path.length - 1; i > 0; i--) {
    const node = path[i] as Node<T>
    if (!node.isEmpty) return
    const parent = path[i - 1] as Node<T>
    const level = levels[i - 1] as string
    if (level === '+') parent.plus = undefined
    else parent.children?.delete(level)
  }
}
