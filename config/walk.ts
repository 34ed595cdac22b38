/**
 * Walking a schema together with a value. Knows the constructs config schemas are made of:
 * sections (properties), named entries (patternProperties), lists (items), variants (oneOf
 * with a discriminator), alternatives (anyOf) and intersections (allOf).
 */
import type { TSchema } from 'typebox'
import { isSection, type Path, valueAt } from './path.ts'

/** A schema as the JSON Schema it is. */
export interface SchemaNode {
  $ref?: string
  type?: string | string[]
  properties?: Record<string, SchemaNode>
  patternProperties?: Record<string, SchemaNode>
  additionalProperties?: boolean | SchemaNode
  required?: string[]
  items?: SchemaNode
  oneOf?: SchemaNode[]
  anyOf?: SchemaNode[]
  allOf?: SchemaNode[]
  discriminator?: { propertyName: string }
  const?: unknown
  enum?: unknown[]
  default?: unknown
  description?: string
  minimum?: number
  maximum?: number
  minLength?: number
  maxLength?: number
  pattern?: string
  'x-unit'?: string
  'x-secret'?: boolean
  'x-file'?: boolean
  'x-hot'?: boolean
}

export function asNode(schema: TSchema): SchemaNode {
  return schema as SchemaNode
}

/** The plain schemas a value may have to satisfy: variants chosen by the value's tag, all of them while it has none. */
export function shapesOf(schema: SchemaNode, value?: unknown): SchemaNode[] {
  if (schema.allOf) return schema.allOf.flatMap((part) => shapesOf(part, value))
  if (schema.anyOf) return schema.anyOf.flatMap((part) => shapesOf(part, value))
  if (!schema.oneOf) return [schema]
  const chosen = chooseVariant(schema, value)
  const variants = (chosen === undefined ? schema.oneOf : [chosen]).flatMap((part) => shapesOf(part, value))
  return schema.properties ? [withoutVariants(schema), ...variants] : variants
}

/** The schemas of one child: several where it stands in more than one variant, none where it is unknown. */
export function childSchemas(schema: SchemaNode, step: string | number, value?: unknown): SchemaNode[] {
  return shapesOf(schema, value).flatMap((shape) => childOf(shape, step) ?? [])
}

/** The schemas of the option at a path, chosen by what the values on the way say. */
export function schemasAt(root: SchemaNode, path: Path, tree: unknown): SchemaNode[] {
  return path.reduce<SchemaNode[]>(
    (schemas, step, depth) =>
      schemas.flatMap((schema) => childSchemas(schema, step, valueAt(tree, path.slice(0, depth)))),
    [root],
  )
}

/** Names of the options a section may have. */
export function knownKeys(schema: SchemaNode, value?: unknown): string[] {
  return [...new Set(shapesOf(schema, value).flatMap((shape) => Object.keys(shape.properties ?? {})))]
}

/** The schema of named entries, undefined if `schema` is not a collection of them. */
export function entrySchema(schema: SchemaNode): SchemaNode | undefined {
  const patterned = Object.values(schema.patternProperties ?? {})[0]
  return patterned ?? (isSection(schema.additionalProperties) ? schema.additionalProperties : undefined)
}

/** Constants of a discriminator: `password_based`, `jwt`, ... */
export function tagsOf(schema: SchemaNode): unknown[] {
  const tag = schema.discriminator?.propertyName ?? ''
  return (schema.oneOf ?? []).flatMap((member) => constantsOf(member.properties?.[tag] ?? {}) ?? [])
}

/** The values a schema allows if it is a closed list of them. */
export function constantsOf(schema: SchemaNode): unknown[] | undefined {
  if (Object.hasOwn(schema, 'const')) return [schema.const]
  if (schema.enum) return schema.enum
  const members = schema.anyOf?.map(constantsOf)
  return members?.every((member) => member !== undefined) ? members.flat() : undefined
}

/** Fields with a unit, secrets, paths of files: what is written differs from what code gets. */
export function isLeaf(schema: SchemaNode): boolean {
  return schema['x-unit'] !== undefined || schema['x-secret'] === true || schema['x-file'] === true
}

/** A copy of `value` in which `leaf` has replaced every field of which code gets something else than what is written. */
export function mapLeaves(
  schema: SchemaNode,
  value: unknown,
  leaf: (schema: SchemaNode, value: unknown, path: Path) => unknown,
  path: Path = [],
): unknown {
  if (value === undefined) return undefined
  if (isLeaf(schema)) return leaf(schema, value, path)
  if (schema.allOf)
    return schema.allOf.reduce<unknown>((mapped, part) => mapLeaves(part, mapped, leaf, path), value)
  const chosen = chooseVariant(schema, value) ?? chooseAlternative(schema, value)
  if (chosen !== undefined) {
    const mapped = mapLeaves(chosen, value, leaf, path)
    return schema.properties ? mapLeaves(withoutVariants(schema), mapped, leaf, path) : mapped
  }
  const map = (step: string | number, child: unknown): unknown => {
    const node = childOf(schema, step)
    return node === undefined ? child : mapLeaves(node, child, leaf, [...path, step])
  }
  if (Array.isArray(value)) return value.map((child, index) => map(index, child))
  if (!isSection(value)) return value
  return Object.fromEntries(Object.entries(value).map(([key, child]) => [key, map(key, child)]))
}

/** Every option of a schema, sections included, in order; `*` stands for any name and any list element. */
export function* optionsOf(
  schema: SchemaNode,
  path: string[] = [],
): Generator<{ path: string[]; schema: SchemaNode }> {
  for (const shape of shapesOf(schema)) {
    const children = Object.entries(shape.properties ?? {})
    const any = entrySchema(shape) ?? shape.items
    if (any !== undefined) children.push(['*', any])
    for (const [key, child] of children) {
      yield { path: [...path, key], schema: child }
      yield* optionsOf(child, [...path, key])
    }
  }
}

function childOf(shape: SchemaNode, step: string | number): SchemaNode | undefined {
  if (typeof step === 'number') return shape.items
  if (shape.properties && Object.hasOwn(shape.properties, step)) return shape.properties[step]
  for (const [pattern, entry] of Object.entries(shape.patternProperties ?? {})) {
    if (new RegExp(pattern, 'u').test(step)) return entry
  }
  return isSection(shape.additionalProperties) ? shape.additionalProperties : undefined
}

function chooseVariant(schema: SchemaNode, value: unknown): SchemaNode | undefined {
  const tag = schema.discriminator?.propertyName
  if (tag === undefined || !isSection(value)) return undefined
  return schema.oneOf?.find((member) => constantsOf(member.properties?.[tag] ?? {})?.includes(value[tag]))
}

/** What all variants of a section have in common. */
function withoutVariants(schema: SchemaNode): SchemaNode {
  const { oneOf: _, anyOf: __, discriminator: ___, ...common } = schema
  return common
}

/** Constants first, so that `disabled` is not taken for a misspelt duration. */
function chooseAlternative(schema: SchemaNode, value: unknown): SchemaNode | undefined {
  const members = schema.anyOf
  return (
    members?.find((member) => constantsOf(member)?.includes(value)) ??
    members?.find((member) => constantsOf(member) === undefined && hasType(member, value)) ??
    members?.find(isLeaf)
  )
}

function hasType(schema: SchemaNode, value: unknown): boolean {
  if (schema.oneOf || schema.allOf) return isSection(value)
  if (schema.anyOf) return schema.anyOf.some((member) => hasType(member, value))
  const types = schema.type === undefined ? [] : [schema.type].flat()
  const type = Array.isArray(value) ? 'array' : value === null ? 'null' : typeof value
  return types.includes(type) || (types.includes('integer') && Number.isInteger(value))
}
