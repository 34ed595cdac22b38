import type { Static, TSchema } from 'typebox'
import { stringify } from 'yaml'
import type { Sources } from './layers.ts'
import { isSection, type Path } from './path.ts'
import { writeUnit } from './read-units.ts'
import { asNode, mapLeaves } from './walk.ts'

/** A config as an operator writes it: units as text, secrets as `******`. Safe to show. */
export function redact<S extends TSchema>(schema: S, config: Static<S>): unknown {
  return mapLeaves(asNode(schema), config, (field, value) => writeUnit(field, value))
}

/**
 * A redacted config as YAML.
 * @param only - when given, only what it says was set by a file, a variable or an override
 */
export function formatConfig(redacted: unknown, only?: Sources): string {
  const shown = only === undefined ? redacted : withoutDefaults(redacted, only, [])
  return stringify(shown ?? {}, { lineWidth: 0 })
}

/** A list is shown whole: half an element would be misread. */
function withoutDefaults(value: unknown, sources: Sources, path: Path): unknown {
  if (!isSection(value)) return sources.of(path) === 'default' ? undefined : value
  const kept = Object.entries(value)
    .map(([key, child]) => [key, withoutDefaults(child, sources, [...path, key])] as const)
    .filter(([, child]) => child !== undefined)
  return kept.length > 0 || sources.of(path) !== 'default' ? Object.fromEntries(kept) : undefined
}
