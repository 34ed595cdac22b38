import type { Static, TSchema } from 'typebox'
import { BrokerError } from '../model/errors.ts'
import type { Sources } from './layers.ts'
import { nearest } from './nearest.ts'
import { formatPath, isSection, type Path, parsePath, valueAt } from './path.ts'
import type { Layer } from './problem.ts'
import { HIDDEN } from './read-units.ts'
import { redact } from './redact.ts'
import { asNode, childSchemas, entrySchema, knownKeys, type SchemaNode, shapesOf } from './walk.ts'
import { describeType } from './words.ts'

/** All there is to know about one option. */
export interface Explanation {
  /** `*` stands for any name and any list element. */
  path: string
  description: string
  /** In words: `a duration such as 500ms, ...`, `one of debug, info, warn, error`. */
  type: string
  /** `duration`, `size`, `count`, `rate`, `bind`, `secret` or undefined. */
  unit: string | undefined
  /** As an operator writes it; undefined when there is none, and for sections. */
  default: unknown
  /** Takes effect on reload, without dropping anything. */
  hot: boolean
  required: boolean
  /** As an operator writes it, secrets hidden. Only where a loaded config was given. */
  value?: unknown
  layer?: Layer
  /** Of a section: what may stand in it. */
  options: { name: string; type: string; description: string }[]
}

/**
 * @param path - `listeners.tcp.default.bind`; names may be left out: `listeners.tcp.bind`
 * @param loaded - to tell the current value and the layer it came from
 * @throws BrokerError CONFIG_INVALID if there is no such option, with the nearest one
 */
export function explain<S extends TSchema>(
  schema: S,
  path: string,
  loaded?: { config: Static<S>; sources: Sources },
): Explanation {
  const config = loaded === undefined ? undefined : redact(schema, loaded.config)
  const found = find(asNode(schema), parsePath(path), config)
  const [first = {}] = found.schemas
  const isSectionSchema = knownKeys(first).length > 0 || entrySchema(first) !== undefined
  return {
    path: formatPath(found.path),
    description: found.schemas.map((node) => node.description).find((text) => text !== undefined) ?? '',
    type: [...new Set(found.schemas.map(describeType))].join(', or '),
    unit: first['x-unit'],
    default: isSectionSchema ? undefined : first.default,
    hot: found.hot,
    required: found.required && first.default === undefined,
    ...(loaded === undefined ? {} : currentValue(found, config, loaded.sources)),
    options: optionsIn(found.schemas, config === undefined ? undefined : valueAt(config, found.path)),
  }
}

interface Found {
  path: Path
  schemas: SchemaNode[]
  hot: boolean
  required: boolean
}

function find(root: SchemaNode, steps: Path, config: unknown): Found {
  const path: (string | number)[] = []
  let found: Found = { path, schemas: [root], hot: false, required: false }
  for (const step of steps) {
    const inner = isDirect(found.schemas, step, valueAt(config, path)) ? found : descend(found, '*')
    const schemas = children(inner.schemas, step)
    if (schemas.length === 0) throw unknownOption(inner, step)
    if (inner !== found) path.push('*')
    found = descend(inner, step)
    path.push(step)
  }
  return found
}

/** `bind` is no entry of `listeners.tcp` but an option of each, unless an entry has that name. */
function isDirect(schemas: SchemaNode[], step: string | number, value: unknown): boolean {
  if (step === '*' || typeof step === 'number') return true
  if (schemas.some((schema) => knownKeys(schema).includes(step))) return true
  if (isSection(value) && Object.hasOwn(value, step)) return true
  return !children(schemas, '*').some((entry) => knownKeys(entry).includes(step))
}

function children(schemas: SchemaNode[], step: string | number): SchemaNode[] {
  if (step !== '*') return schemas.flatMap((schema) => childSchemas(schema, step))
  return schemas
    .flatMap((schema) => shapesOf(schema))
    .flatMap((shape) => entrySchema(shape) ?? shape.items ?? [])
}

function descend(from: Found, step: string | number): Found {
  const schemas = children(from.schemas, step)
  const hot = schemas.map((schema) => schema['x-hot']).find((flag) => flag !== undefined) ?? from.hot
  const parents = from.schemas.flatMap((schema) => shapesOf(schema))
  const required = parents.some((parent) => parent.required?.includes(String(step)))
  return { path: from.path, schemas, hot, required }
}

function unknownOption(parent: Found, step: string | number): BrokerError {
  const known = parent.schemas.flatMap((schema) => knownKeys(schema))
  const near = nearest(String(step), known)
  const path = formatPath([...parent.path, step])
  const hint = near === undefined ? '' : `, did you mean ${formatPath([...parent.path, near])}?`
  const list = near === undefined && known.length > 0 ? `; known here: ${known.join(', ')}` : ''
  return new BrokerError('CONFIG_INVALID', `there is no option ${path}${hint}${list}`)
}

function currentValue(found: Found, config: unknown, sources: Sources): { value?: unknown; layer?: Layer } {
  const value = valueAt(config, found.path)
  if (found.path.includes('*') || value === undefined) return {}
  const secret = found.schemas.some((schema) => schema['x-secret'])
  return { value: secret ? HIDDEN : value, layer: sources.of(found.path) }
}

function optionsIn(schemas: SchemaNode[], value: unknown): Explanation['options'] {
  const names = new Set(schemas.flatMap((schema) => knownKeys(schema, value)))
  if (names.size === 0) {
    const entries = children(schemas, '*')
    return entries.some((entry) => knownKeys(entry).length > 0) ? optionsIn(entries, undefined) : []
  }
  return [...names].map((name) => {
    const [option = {}] = schemas.flatMap((schema) => childSchemas(schema, name, value))
    return { name, type: describeType(option), description: option.description ?? '' }
  })
}
