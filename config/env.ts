/**
 * Options from the environment: `HUBBUB__LISTENERS__TCP__DEFAULT__BIND=1883`.
 *
 * The path is what `__` separates, in any case; list elements are counted from 1. The value is read
 * as YAML, so `[a, b]` and `{ bind: 1884 }` work. Where an option is text or has a unit, the value is
 * taken as it stands, unless it is quoted: a password like `12#4: x` needs no second thought.
 */
import type { Layers } from './layers.ts'
import { nearest } from './nearest.ts'
import { isSection, type Path, valueAt } from './path.ts'
import { type Problem, problemAt } from './problem.ts'
import { childSchemas, entrySchema, isLeaf, knownKeys, type SchemaNode, shapesOf } from './walk.ts'
import { readYaml } from './yaml-text.ts'

const PREFIX = 'HUBBUB__'

/** Writes every `HUBBUB__` variable into `layers`. Returns what could not be understood. */
export function applyEnvironment(schema: SchemaNode, env: NodeJS.ProcessEnv, layers: Layers): Problem[] {
  const problems: Problem[] = []
  const seen = new Map<string, string>()
  for (const [variable, text] of byDepth(env)) {
    const resolved = resolve(schema, layers.tree, stepsOf(variable))
    const twin = seen.get(variable.toUpperCase())
    seen.set(variable.toUpperCase(), variable)
    const problem =
      (twin === undefined ? undefined : complaint(variable, [], `the same option is also set by ${twin}`)) ??
      ('unknown' in resolved
        ? unknownOption(variable, resolved)
        : assign(layers, variable, resolved.path, resolved.schemas, text))
    if (problem !== undefined) problems.push(problem)
  }
  return [...problems, ...misspeltPrefixes(schema, env)]
}

/** Shorter paths first: one element of a list that another variable gives may then be changed, whatever the order. */
function byDepth(env: NodeJS.ProcessEnv): [variable: string, text: string][] {
  return Object.entries(env)
    .filter((entry): entry is [string, string] => entry[1] !== undefined)
    .filter(([variable]) => variable.toUpperCase().startsWith(PREFIX))
    .sort(([a], [b]) => stepsOf(a).length - stepsOf(b).length || (a < b ? -1 : 1))
}

function stepsOf(variable: string): string[] {
  return variable.slice(PREFIX.length).split('__')
}

type Resolved =
  | { path: Path; schemas: SchemaNode[] }
  | { path: Path; unknown: string; known: string[]; rest: string[] }

/** Finds the option that the steps of a variable's name mean. */
function resolve(root: SchemaNode, tree: unknown, steps: string[]): Resolved {
  const path: (string | number)[] = []
  let schemas = [root]
  for (const [depth, step] of steps.entries()) {
    const value = valueAt(tree, path)
    const known = schemas.flatMap((schema) => knownKeys(schema, value))
    const name = nameOf(schemas, value, known, step)
    const children = name === undefined ? [] : schemas.flatMap((schema) => childSchemas(schema, name, value))
    if (name === undefined || children.length === 0) {
      return { path, unknown: step.toLowerCase(), known, rest: steps.slice(depth + 1) }
    }
    path.push(name)
    schemas = children
  }
  return { path, schemas }
}

/** A known option, an entry the file already names, a new entry, or a list element. */
function nameOf(
  schemas: SchemaNode[],
  value: unknown,
  known: string[],
  step: string,
): string | number | undefined {
  const shapes = schemas.flatMap((schema) => shapesOf(schema, value))
  if (/^[1-9]\d{0,3}$/.test(step) && shapes.some((shape) => shape.items)) return Number(step) - 1
  const same = (key: string) =>
    key.toLowerCase().replaceAll('-', '_') === step.toLowerCase().replaceAll('-', '_')
  const named = shapes.some((shape) => entrySchema(shape) !== undefined)
  const entries = named && isSection(value) ? Object.keys(value) : []
  return known.find(same) ?? entries.find(same) ?? (named ? step.toLowerCase() : undefined)
}

function assign(
  layers: Layers,
  variable: string,
  path: Path,
  schemas: SchemaNode[],
  text: string,
): Problem | undefined {
  const value = readValue(schemas, text)
  if ('fault' in value) return complaint(variable, path, value.fault)
  if (layers.set(path, value.value, { layer: 'env', variable })) return undefined
  return complaint(
    variable,
    path,
    'leads through a list element that does not exist, or through a single value',
  )
}

function readValue(schemas: SchemaNode[], text: string): { value: unknown } | { fault: string } {
  const isText = schemas.every((schema) => schema.type === 'string' || (isLeaf(schema) && text !== ''))
  if (isText && !/^(".*"|'.*')$/s.test(text)) return { value: text }
  const { value, faults } = readYaml(text)
  return faults[0] === undefined ? { value } : { fault: faults[0].message }
}

function unknownOption(variable: string, resolved: Extract<Resolved, { unknown: string }>): Problem {
  const close = nearest(resolved.unknown, resolved.known)
  const steps = close === undefined ? [] : [...resolved.path, close, ...resolved.rest]
  const suggestion = steps.length === 0 ? undefined : variableOf(steps)
  return complaint(variable, [...resolved.path, resolved.unknown], 'unknown option', suggestion)
}

function variableOf(path: Path): string {
  return (
    PREFIX + path.map((step) => String(typeof step === 'number' ? step + 1 : step).toUpperCase()).join('__')
  )
}

/** `HUBBUB_MQTT__MAX_QOS`: meant for us, and ignoring it would be silent. */
function misspeltPrefixes(schema: SchemaNode, env: NodeJS.ProcessEnv): Problem[] {
  const roots = knownKeys(schema)
  return Object.keys(env).flatMap((variable) => {
    const root = /^HUBBUB_([A-Z0-9].*?)__/i.exec(variable)?.[1]?.toLowerCase()
    if (root === undefined || !roots.includes(root)) return []
    const suggestion = `${PREFIX}${variable.slice('HUBBUB_'.length)}`
    return [complaint(variable, [], 'a variable with options begins with HUBBUB__', suggestion)]
  })
}

function complaint(variable: string, path: Path, message: string, suggestion?: string): Problem {
  return problemAt({ layer: 'env', variable }, path, message, { suggestion })
}
