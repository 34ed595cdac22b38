/**
 * The part of a schema that a config reaches. The whole one describes every database for every
 * listener; a config uses a few of them, and ajv writes code for each part it is given.
 */
import { isSection } from './path.ts'
import { constantsOf, type SchemaNode } from './walk.ts'

/** Takes any value. Stands where there is none. */
const UNREACHED: SchemaNode = {}

/**
 * The same schema, for these values only: variants that none of them is of are gone, and options and
 * entries that none of them has take anything. Defaults count as values, since they are filled in.
 */
export function reachedBy(whole: SchemaNode, values: readonly unknown[]): SchemaNode {
  const schema = values.every(Array.isArray) ? withoutVariants(whole) : whole
  const members = (parts: SchemaNode[]) => parts.map((part) => reachedBy(part, values))
  const sections = values.filter((value) => isSection(value))
  return {
    ...schema,
    ...(schema.properties && { properties: reachedOptions(schema.properties, sections) }),
    ...(schema.patternProperties && {
      patternProperties: reachedEntries(schema.patternProperties, sections),
    }),
    ...(isSection(schema.items) && {
      items: reachedChild(schema.items, values.filter(Array.isArray).flat()),
    }),
    ...(schema.oneOf && { oneOf: reachedVariants(schema, schema.oneOf, sections) }),
    ...(schema.anyOf && { anyOf: members(schema.anyOf) }),
    ...(schema.allOf && { allOf: members(schema.allOf) }),
  }
}

function reachedChild(schema: SchemaNode, values: readonly unknown[]): SchemaNode {
  return values.length === 0 ? UNREACHED : reachedBy(schema, values)
}

function reachedOptions(
  options: Record<string, SchemaNode>,
  sections: readonly Record<string, unknown>[],
): Record<string, SchemaNode> {
  const reached = Object.entries(options).map(([key, option]) => {
    const values = sections.map((section) => (Object.hasOwn(section, key) ? section[key] : option.default))
    const there = values.filter((value) => value !== undefined)
    return [key, reachedChild(option, there)] as const
  })
  return Object.fromEntries(reached)
}

/** Of all names together: which pattern a name matches makes no difference to what is left out. */
function reachedEntries(
  patterns: Record<string, SchemaNode>,
  sections: readonly Record<string, unknown>[],
): Record<string, SchemaNode> {
  const values = sections.flatMap((section) => Object.values(section))
  return Object.fromEntries(
    Object.entries(patterns).map(([pattern, entry]) => [pattern, reachedChild(entry, values)]),
  )
}

/** Variants are about sections: a list that may also be a single section has none of its own. */
function withoutVariants(schema: SchemaNode): SchemaNode {
  if (schema.discriminator === undefined) return schema
  const { oneOf: _, discriminator: __, required: ___, ...rest } = schema
  return rest
}

/** All of them as they are where a value is of none: the complaint then names every one. */
function reachedVariants(
  schema: SchemaNode,
  variants: SchemaNode[],
  sections: readonly Record<string, unknown>[],
): SchemaNode[] {
  const tag = schema.discriminator?.propertyName ?? ''
  const isOf = (variant: SchemaNode, section: Record<string, unknown>) =>
    constantsOf(variant.properties?.[tag] ?? {})?.includes(section[tag]) === true
  if (sections.some((section) => !variants.some((variant) => isOf(variant, section)))) return variants
  return variants.flatMap((variant) => {
    const own = sections.filter((section) => isOf(variant, section))
    return own.length === 0 ? [] : [reachedBy(variant, own)]
  })
}
