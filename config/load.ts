/**
 * The configuration: file, then environment, then runtime overrides over the schema's defaults,
 * checked once and read into what code uses. After this nobody parses an option again.
 */
import { dirname, resolve } from 'node:path'
import type { Static, TSchema } from 'typebox'
import { applyEnvironment } from './env.ts'
import { Layers, type Sources } from './layers.ts'
import { isSection, type Path } from './path.ts'
import { ConfigError, type Problem } from './problem.ts'
import { readUnits } from './read-units.ts'
import { dropUnused, type UnusedOption } from './unused-options.ts'
import { validate } from './validate.ts'
import { asNode, childSchemas, knownKeys, type SchemaNode, shapesOf } from './walk.ts'
import { readYamlFile, type YamlFile } from './yaml-file.ts'

export interface LoadOptions<S extends TSchema> {
  schema: S
  /** Undefined: defaults, environment and overrides only. */
  file: string | undefined
  env: NodeJS.ProcessEnv
  /** Options changed at run time, in the spelling of the file; the strongest layer. */
  overrides?: object
}

export interface Loaded<S extends TSchema> {
  config: Static<S>
  /** Tells for each value which layer set it. */
  sources: Sources
  /** Options of EMQX that mean nothing here and were passed over. */
  unused: readonly UnusedOption[]
}

/**
 * @throws ConfigError (a BrokerError CONFIG_INVALID) with every problem there is; with the
 *   file's syntax problems alone where it is not YAML
 */
export function loadConfig<S extends TSchema>(options: LoadOptions<S>): Loaded<S> {
  const schema = asNode(options.schema)
  const layers = new Layers()
  const file = options.file === undefined ? undefined : readYamlFile(options.file)
  if (file !== undefined) mergeFile(layers, file)
  const problems = applyEnvironment(schema, options.env, layers)
  if (isSection(options.overrides)) layers.merge(options.overrides, () => ({ layer: 'override' }))
  const unused = dropUnused(layers)
  dropEmpty(schema, layers, layers.tree, [])
  problems.push(...validate(schema, layers))
  const configDir = options.file === undefined ? process.cwd() : dirname(resolve(options.file))
  const read = readUnits(schema, layers, configDir)
  problems.push(...read.problems.filter(({ path }) => !problems.some((problem) => problem.path === path)))
  if (problems.length > 0) throw new ConfigError(inOrder(problems))
  return { config: read.config as Static<S>, sources: layers, unused }
}

/** What is in a broken file is unknown, so any further complaint would be a guess. */
function mergeFile(layers: Layers, file: YamlFile): void {
  if (file.problems.length > 0) throw new ConfigError(file.problems)
  layers.merge(file.tree, file.originOf)
}

/** `mqtt:` with all its options commented out says nothing; `default:` among named entries is an entry of defaults. */
function dropEmpty(schema: SchemaNode, layers: Layers, value: unknown, path: Path): void {
  if (typeof value !== 'object' || value === null) return
  for (const [key, child] of Object.entries(value)) {
    const step = Array.isArray(value) ? Number(key) : key
    const here = [...path, step]
    const schemas = childSchemas(schema, step, value)
    if (child !== null) {
      for (const node of schemas) dropEmpty(node, layers, child, here)
    } else if (typeof step === 'string' && schemas.length > 0 && !schemas.some(acceptsNull)) {
      const origin = layers.originOf(here)
      layers.unset(here)
      const isEntry = !knownKeys(schema, value).includes(step) && schemas.some(isSectionSchema)
      if (isEntry && origin !== undefined) layers.set(here, {}, origin)
    }
  }
}

function isSectionSchema(schema: SchemaNode): boolean {
  return shapesOf(schema).some((shape) => [shape.type].flat().includes('object'))
}

function acceptsNull(schema: SchemaNode): boolean {
  return shapesOf(schema).some((shape) => [shape.type].flat().includes('null') || shape.const === null)
}

/** As they stand in the file, then the environment's. */
function inOrder(problems: Problem[]): Problem[] {
  const rank = (problem: Problem) => problem.line ?? Number.MAX_SAFE_INTEGER
  return problems.toSorted((a, b) => rank(a) - rank(b) || (a.column ?? 0) - (b.column ?? 0))
}
