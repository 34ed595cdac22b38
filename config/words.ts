import { UNIT_WORDS } from '../model/units.ts'
import { constantsOf, entrySchema, type SchemaNode, tagsOf } from './walk.ts'

/** What an option takes, in words that fit behind "expected" and in front of its description. */
export function describeType(schema: SchemaNode): string {
  const constants = constantsOf(schema)
  if (constants !== undefined) return oneOf(constants)
  if (schema['x-secret']) return 'secret text, or file:///path of a file that holds it'
  if (schema['x-unit'] === 'count') return describeCount(schema)
  if (isUnit(schema['x-unit'])) return UNIT_WORDS[schema['x-unit']]
  if (schema.oneOf) {
    return `a section whose ${schema.discriminator?.propertyName ?? 'kind'} is ${oneOf(tagsOf(schema))}`
  }
  if (schema.anyOf) return [...new Set(schema.anyOf.map(describeType))].join(', or ')
  return [schema.type ?? (schema.allOf ? 'object' : 'any')]
    .flat()
    .map((type) => describeJsonType(type, schema))
    .join(' or ')
}

function describeJsonType(type: string, schema: SchemaNode): string {
  switch (type) {
    case 'boolean':
      return 'true or false'
    case 'integer':
      return `a whole number${describeRange(schema)}`
    case 'number':
      return `a number${describeRange(schema)}`
    case 'string':
      return `text${describeText(schema)}`
    case 'array':
      return schema.items === undefined ? 'a list' : `a list, each element ${describeType(schema.items)}`
    case 'object': {
      const entry = entrySchema(schema)
      return entry === undefined || schema.properties
        ? 'a section'
        : `named entries, each ${describeType(entry)}`
    }
    case 'null':
      return 'nothing'
    default:
      return 'any value'
  }
}

function describeCount(schema: SchemaNode): string {
  if (schema.maximum !== undefined) return `a whole number${describeRange(schema)}`
  return schema.minimum ? `a whole number${describeRange(schema)}, or infinity` : UNIT_WORDS.count
}

function describeRange({ minimum, maximum }: SchemaNode): string {
  if (minimum !== undefined && maximum !== undefined) return ` from ${minimum} to ${maximum}`
  if (minimum !== undefined) return `, ${minimum} or more`
  return maximum === undefined ? '' : `, ${maximum} or less`
}

function describeText({ minLength = 0, maxLength, pattern }: SchemaNode): string {
  if (pattern !== undefined) return ` matching /${pattern}/`
  if (maxLength !== undefined) return ` of ${minLength} to ${maxLength} characters`
  return minLength > 0 ? ` of ${minLength} or more characters` : ''
}

function oneOf(values: unknown[]): string {
  const words = [...new Set(values.map(String))]
  return words.length === 1 ? (words[0] ?? '') : `one of ${words.join(', ')}`
}

function isUnit(unit: string | undefined): unit is keyof typeof UNIT_WORDS {
  return unit !== undefined && Object.hasOwn(UNIT_WORDS, unit)
}
