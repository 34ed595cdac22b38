import { isSection, type Path, parsePath, setKey, valueAt } from './path.ts'
import type { Layer, Origin } from './problem.ts'

/** Tells for each value which layer it came from. */
export interface Sources {
  /** The layer of the value at a path such as `listeners.tcp.default.bind`. */
  of(path: Path | string): Layer
  /** Where it was written, undefined for a default. */
  originOf(path: Path | string): Origin | undefined
}

/**
 * Values from several layers in one tree, the last one written wins: sections are merged
 * key by key, lists and single values are replaced whole. Remembers who wrote what.
 */
export class Layers implements Sources {
  readonly tree: Record<string, unknown> = {}
  readonly #origins = new Map<string, Origin>()

  /** @param originOf - of every path in `value`, relative to the root */
  merge(value: Record<string, unknown>, originOf: (path: Path) => Origin): void {
    for (const [key, child] of Object.entries(value)) this.#write(this.tree, key, child, [key], originOf)
  }

  /** Writes one value deep in the tree. False if `path` leads through a list element that does not exist, or a single value. */
  set(path: Path, value: unknown, origin: Origin): boolean {
    let parent: Record<string | number, unknown> = this.tree
    for (const [depth, step] of path.slice(0, -1).entries()) {
      if (!canHold(parent, step)) return false
      parent[step] ??= typeof path[depth + 1] === 'number' ? [] : {}
      const here = path.slice(0, depth + 1)
      if (!this.#origins.has(keyOf(here))) this.#origins.set(keyOf(here), origin)
      const next = parent[step]
      if (typeof next !== 'object' || next === null) return false
      parent = next as Record<string | number, unknown>
    }
    const last = path.at(-1)
    if (last === undefined || !canHold(parent, last)) return false
    this.#write(parent, last, value, path, () => origin)
    return true
  }

  /** Takes a value away, so that its default counts. */
  unset(path: Path): void {
    const parent = valueAt(this.tree, path.slice(0, -1))
    const last = path.at(-1)
    if (isSection(parent) && last !== undefined) delete parent[last]
    this.#forget(path)
  }

  of(path: Path | string): Layer {
    return this.originOf(path)?.layer ?? 'default'
  }

  originOf(path: Path | string): Origin | undefined {
    return this.#origins.get(keyOf(typeof path === 'string' ? parsePath(path) : path))
  }

  #write(
    parent: Record<string | number, unknown>,
    step: string | number,
    value: unknown,
    path: Path,
    originOf: (path: Path) => Origin,
  ): void {
    const old = Object.hasOwn(parent, step) ? parent[step] : undefined
    if (isSection(value)) {
      if (!isSection(old)) {
        this.#forget(path)
        setKey(parent, String(step), {})
        this.#origins.set(keyOf(path), originOf(path))
      }
      const section = parent[step] as Record<string, unknown>
      for (const [key, child] of Object.entries(value)) {
        this.#write(section, key, child, [...path, key], originOf)
      }
      return
    }
    this.#forget(path)
    setKey(parent, String(step), Array.isArray(value) ? [] : value)
    this.#origins.set(keyOf(path), originOf(path))
    if (!Array.isArray(value)) return
    const list = parent[step] as unknown as Record<number, unknown>
    for (const [index, child] of value.entries()) this.#write(list, index, child, [...path, index], originOf)
  }

  #forget(path: Path): void {
    const own = keyOf(path)
    for (const key of this.#origins.keys()) {
      if (key === own || key.startsWith(`${own}\u0000`)) this.#origins.delete(key)
    }
  }
}

/** A list holds its elements and one more; a section holds any name. */
function canHold(parent: object, step: string | number): boolean {
  if (Array.isArray(parent)) return typeof step === 'number' && step <= parent.length
  return typeof step === 'string'
}

/** No key of a config contains U+0000: YAML forbids it. */
function keyOf(path: Path): string {
  return path.join('\u0000')
}
