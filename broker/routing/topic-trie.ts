/**
 * Topics and one value each, found again by filter: retained messages, cached
 * routes. The other way round from filter-trie.ts: here the filter asks.
 */
class Node<T> {
  children: Map<string, Node<T>> | undefined
  value: T | undefined
}

export class TopicTrie<T> {
  readonly #root = new Node<T>()
  #size = 0

  get size(): number {
    return this.#size
  }

  get(topic: string): T | undefined {
    let node: Node<T> | undefined = this.#root
    for (const level of topic.split('/')) {
      node = node.children?.get(level)
      if (node === undefined) return undefined
    }
    return node.value
  }

  set(topic: string, value: T): void {
    let node = this.#root
    for (const level of topic.split('/')) {
      node.children ??= new Map()
      let next = node.children.get(level)
      if (next === undefined) node.children.set(level, (next = new Node()))
      node = next
    }
    if (node.value === undefined) this.#size++
    node.value = value
  }

  /** @returns whether it was there. */
  delete(topic: string): boolean {
    const levels = topic.split('/')
    const path: Node<T>[] = [this.#root]
    for (const level of levels) {
      const next: Node<T> | undefined = path[path.length - 1]?.children?.get(level)
      if (next === undefined) return false
      path.push(next)
    }
    const last = path[path.length - 1] as Node<T>
    if (last.value === undefined) return false
    last.value = undefined
    this.#size--
    for (let i = levels.length; i > 0; i--) {
      const node = path[i] as Node<T>
      if (node.value !== undefined || (node.children !== undefined && node.children.size > 0)) break
      path[i - 1]?.children?.delete(levels[i - 1] as string)
    }
    return true
  }

  /** All values, those of topics that begin with $ too. */
  values(): Generator<T> {
    return subtree(this.#root, false)
  }

  /**
   * The values of all topics that match the filter, found while they are asked for:
   * entries added or removed meanwhile may or may not show up. @see MQTT 5.0 §4.7
   */
  *matching(filter: string): Generator<T> {
    const levels = filter.split('/')
    // Depth first with a stack of its own: how deep a topic goes is the peer's choice.
    const stack: { node: Node<T>; depth: number }[] = [{ node: this.#root, depth: 0 }]
    for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
      const { node, depth } = top
      const level = levels[depth]
      if (level === undefined) {
        if (node.value !== undefined) yield node.value
      } else if (level === '#') {
        yield* subtree(node, depth === 0)
      } else if (level === '+') {
        for (const [name, next] of node.children ?? []) {
          // [MQTT-4.7.2-1] a wildcard at the first level does not match topics that begin with $
          if (depth > 0 || !name.startsWith('$')) stack.push({ node: next, depth: depth + 1 })
        }
      } else {
        const next = node.children?.get(level)
        if (next !== undefined) stack.push({ node: next, depth: depth + 1 })
      }
    }
  }
}

/** `node` and all below it; at the root without the topics that begin with $. */
function* subtree<T>(start: Node<T>, isRoot: boolean): Generator<T> {
  const stack: Node<T>[] = [start]
  for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
    if (node.value !== undefined) yield node.value
    for (const [name, next] of node.children ?? []) {
      if (isRoot && node === start && name.startsWith('$')) continue
      stack.push(next)
    }
  }
}
