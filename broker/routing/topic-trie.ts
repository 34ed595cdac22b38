/**
 * Topics and one value each, found again by filter: retained messages. The other way round from
 * filter-trie.ts: here the filter asks. Most nodes have one child or none, so a map is made with the second.
 */
class Node<T> {
  /** The level that leads here. */
  readonly name: string
  children: Node<T> | Map<string, Node<T>> | undefined
  value: T | undefined

  constructor(name: string) {
    this.name = name
    this.children = undefined
    this.value = undefined
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

export class TopicTrie<T> {
  readonly #root = new Node<T>('')
  #size = 0

  get size(): number {
    return this.#size
  }

  get(topic: string): T | undefined {
    let node: Node<T> | undefined = this.#root
    for (const level of topic.split('/')) {
      node = node.child(level)
      if (node === undefined) return undefined
    }
    return node.value
  }

  set(topic: string, value: T): void {
    let node = this.#root
    for (const level of topic.split('/')) node = node.child(level) ?? node.addChild(level)
    if (node.value === undefined) this.#size++
    node.value = value
  }

  /** @returns whether it was there. */
  delete(topic: string): boolean {
    const levels = topic.split('/')
    const path: Node<T>[] = [this.#root]
    for (const level of levels) {
      const next: Node<T> | undefined = path[path.length - 1]?.child(level)
      if (next === undefined) return false
      path.push(next)
    }
    const last = path[path.length - 1] as Node<T>
    if (last.value === undefined) return false
    last.value = undefined
    this.#size--
    for (let i = levels.length; i > 0; i--) {
      const node = path[i] as Node<T>
      if (node.value !== undefined || node.children !== undefined) break
      path[i - 1]?.removeChild(levels[i - 1] as string)
    }
    return true
  }

  /** All values, those of topics that begin with $ too. */
  values(): TopicWalk<T> {
    return new TopicWalk(this.#root, ['#'], true)
  }

  /**
   * The values of all topics that match the filter, found while they are asked for:
   * entries added or removed meanwhile may or may not show up. @see MQTT 5.0 §4.7
   */
  matching(filter: string): TopicWalk<T> {
    return new TopicWalk(this.#root, filter.split('/'), false)
  }
}

/** Nodes still to be visited that are reached after `depth` levels: one, or those of a map that may be large. */
interface Branch<T> {
  readonly nodes: Iterator<Node<T>> | undefined
  readonly node: Node<T> | undefined
  readonly depth: number
  /** Under `#`: they match, and all below them. */
  readonly isBelow: boolean
}

/** A walk through a trie that goes on when it is asked to, however large the trie and whatever the filter. */
export class TopicWalk<T> implements IterableIterator<T, undefined> {
  readonly #levels: readonly string[]
  readonly #takesSystem: boolean
  /** Depth first with a stack of its own: how deep a topic goes is the peer's choice. */
  readonly #stack: Branch<T>[] = []

  constructor(root: Node<T>, levels: readonly string[], takesSystem: boolean) {
    this.#levels = levels
    this.#takesSystem = takesSystem
    this.#stack.push({ nodes: undefined, node: root, depth: 0, isBelow: false })
  }

  get isDone(): boolean {
    return this.#stack.length === 0
  }

  /** @returns the next value; undefined at the end, or when `maxSteps` nodes were looked at: `isDone` tells which */
  advance(maxSteps: number): T | undefined {
    const stack = this.#stack
    for (let step = 0; step < maxSteps; step++) {
      const top = stack[stack.length - 1]
      if (top === undefined) return undefined
      const node = takeFrom(stack, top)
      if (node === undefined || this.#isHidden(node, top.depth)) continue
      const found = top.isBelow ? this.#takeAll(node, top.depth) : this.#follow(node, top.depth)
      if (found?.value !== undefined) return found.value
    }
    return undefined
  }

  next(): IteratorResult<T, undefined> {
    const value = this.advance(Number.POSITIVE_INFINITY)
    return value === undefined ? { done: true, value: undefined } : { done: false, value }
  }

  [Symbol.iterator](): this {
    return this
  }

  /** [MQTT-4.7.2-1] a wildcard at the first level does not match topics that begin with $ */
  #isHidden(node: Node<T>, depth: number): boolean {
    if (depth !== 1 || this.#takesSystem || node.name.charCodeAt(0) !== DOLLAR) return false
    return this.#levels[0] === '+' || this.#levels[0] === '#'
  }

  /** Goes down named levels and leaves the branches of a wildcard to be visited. @returns a node that matches */
  #follow(start: Node<T>, depth: number): Node<T> | undefined {
    let node: Node<T> | undefined = start
    for (; node !== undefined; depth++) {
      const level = this.#levels[depth]
      if (level === undefined) return node
      if (level === '#') return this.#takeAll(node, depth)
      if (level === '+') {
        this.#visitChildren(node, depth + 1, false)
        return undefined
      }
      node = node.child(level)
    }
    return undefined
  }

  #takeAll(node: Node<T>, depth: number): Node<T> {
    this.#visitChildren(node, depth + 1, true)
    return node
  }

  #visitChildren({ children }: Node<T>, depth: number, isBelow: boolean): void {
    if (children === undefined) return
    const isMap = children instanceof Map
    this.#stack.push({
      nodes: isMap ? children.values() : undefined,
      node: isMap ? undefined : children,
      depth,
      isBelow,
    })
  }
}

const DOLLAR = 0x24

/** The next node of the branch on top; a branch that has no more is taken off the stack. */
function takeFrom<T>(stack: Branch<T>[], { nodes, node }: Branch<T>): Node<T> | undefined {
  if (nodes === undefined) {
    stack.pop()
    return node
  }
  const next = nodes.next()
  if (!next.done) return next.value
  stack.pop()
  return undefined
}
