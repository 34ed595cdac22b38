import { isSection } from './path.ts'
import type { SchemaNode } from './walk.ts'

const WORTH_SHARING_CHARS = 400

/**
 * The same schema with its big repeated parts (the options of TLS stand in every listener) moved to `$defs`.
 * ajv writes code for each part it meets, so this is what makes reading a config quick.
 */
export function shareRepeated(root: SchemaNode): SchemaNode & { $defs: Record<string, SchemaNode> } {
  const counts = new Map<string, number>()
  countParts(root, counts)
  const names = new Map<string, string>()
  const $defs: Record<string, SchemaNode> = {}
  const refer = (part: SchemaNode): SchemaNode => {
    const text = JSON.stringify(part)
    if ((counts.get(text) ?? 0) < 2 || text.length < WORTH_SHARING_CHARS) return mapParts(part, refer)
    const { default: value, ...withoutDefault } = part
    const name = names.get(text) ?? `part${names.size}`
    if (!names.has(text)) {
      names.set(text, name)
      $defs[name] = mapParts(withoutDefault, refer)
    }
    // A default is looked for beside the reference, not behind it.
    return { $ref: `#/$defs/${name}`, ...(value === undefined ? {} : { default: value }) }
  }
  return { ...mapParts(root, refer), $defs }
}

function countParts(node: SchemaNode, counts: Map<string, number>): void {
  mapParts(node, (part) => {
    const text = JSON.stringify(part)
    counts.set(text, (counts.get(text) ?? 0) + 1)
    countParts(part, counts)
    return part
  })
}

/** Options, entries and elements; alternatives stay where they are, ajv looks into them for discriminators. */
function mapParts(node: SchemaNode, map: (part: SchemaNode) => SchemaNode): SchemaNode {
  const each = (parts: Record<string, SchemaNode>) =>
    Object.fromEntries(Object.entries(parts).map(([key, part]) => [key, map(part)]))
  const within = (members: SchemaNode[]) => members.map((member) => mapParts(member, map))
  return {
    ...node,
    ...(node.properties && { properties: each(node.properties) }),
    ...(node.patternProperties && { patternProperties: each(node.patternProperties) }),
    ...(isSection(node.items) && { items: map(node.items) }),
    ...(node.oneOf && { oneOf: within(node.oneOf) }),
    ...(node.anyOf && { anyOf: within(node.anyOf) }),
    ...(node.allOf && { allOf: within(node.allOf) }),
  }
}
