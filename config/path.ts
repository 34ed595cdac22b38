/**
 * Where an option is: `listeners.tcp.default.bind`. People count list elements from 1
 * (`authentication.1.enable`, in files' problems, environment and CLI alike), code from 0.
 */
export type Path = readonly (string | number)[]

export function formatPath(path: Path): string {
  return path.map((step) => (typeof step === 'number' ? step + 1 : step)).join('.')
}

export function parsePath(text: string): Path {
  const steps = text.split('.').filter((step) => step !== '')
  return steps.map((step) => (/^[1-9]\d*$/.test(step) ? Number(step) - 1 : step))
}

/** The value at a path of plain objects and arrays, undefined where there is none. */
export function valueAt(tree: unknown, path: Path): unknown {
  let value = tree
  for (const step of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined
    value = (value as Record<string | number, unknown>)[step]
  }
  return value
}

/** An object of named options or entries, as opposed to a list or a single value. */
export function isSection(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Sets a key that came from a file or a variable: `__proto__` is a key like any other. */
export function setKey(section: Record<string, unknown>, key: string, value: unknown): void {
  Object.defineProperty(section, key, { value, writable: true, enumerable: true, configurable: true })
}
