import { Ajv2020, type ErrorObject } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import type { Layers } from './layers.ts'
import { nearest } from './nearest.ts'
import { formatPath, type Path, valueAt } from './path.ts'
import { type Problem, problemAt, quote } from './problem.ts'
import { reachedBy } from './reached-schema.ts'
import { shareRepeated } from './share-schemas.ts'
import { entrySchema, knownKeys, optionsOf, type SchemaNode, schemasAt, tagsOf } from './walk.ts'
import { describeType } from './words.ts'

/** Checks the tree against the schema and fills in defaults, in place. Returns everything that is wrong. */
export function validate(schema: SchemaNode, layers: Layers): Problem[] {
  const { default: _, ...root } = schema // nothing could be missing here: the tree is there
  const check = compiler(schema).compile<unknown>(shareRepeated(reachedBy(root, [layers.tree])))
  if (check(layers.tree)) return []
  const problems = new Map<string, Problem>()
  for (const error of withoutNoise(check.errors ?? [])) {
    const problem = explainError(error, schema, layers)
    if (!problems.has(problem.path)) problems.set(problem.path, problem)
  }
  return [...problems.values()]
}

/** Strict, so that a mistake in a schema (a default that ajv would ignore, a misspelt keyword) shows at once. */
function compiler(schema: SchemaNode): Ajv2020 {
  const ajv = new Ajv2020({
    allErrors: true,
    // A check runs once per start, so writing its code quickly counts for more than how fast it is.
    code: { optimize: false },
    inlineRefs: false,
    discriminator: true,
    useDefaults: true,
    verbose: true,
    strict: true,
    strictTypes: false,
    strictRequired: false,
    allowUnionTypes: true,
  })
  addFormats.default(ajv)
  ajv.addVocabulary([...ownKeywords(schema)])
  return ajv
}

/** `x-unit`, `x-hot` and what else the rooms' schemas say to others than ajv. */
function ownKeywords(schema: unknown, found = new Set<string>()): Set<string> {
  if (typeof schema !== 'object' || schema === null) return found
  for (const [key, child] of Object.entries(schema)) {
    if (key.startsWith('x-')) found.add(key)
    ownKeywords(child, found)
  }
  return found
}

/**
 * ajv reports an anyOf together with what each alternative found wrong. When one alternative went
 * deeper than "wrong type", what it found is the better message; otherwise the anyOf itself is.
 */
function withoutNoise(errors: ErrorObject[]): ErrorObject[] {
  let kept = errors
  for (const anyOf of errors.filter((error) => error.keyword === 'anyOf')) {
    const inner = kept.filter((error) => error.schemaPath.startsWith(`${anyOf.schemaPath}/`))
    const deeper = inner.filter(
      (error) => error.instancePath !== anyOf.instancePath || !/^(type|const|enum)$/.test(error.keyword),
    )
    kept = kept.filter((error) => (deeper.length > 0 ? error !== anyOf : true))
    kept = kept.filter((error) => !inner.includes(error) || deeper.includes(error))
  }
  return kept
}

function explainError(error: ErrorObject, root: SchemaNode, layers: Layers): Problem {
  const path = pathOf(error.instancePath, layers.tree)
  const schema = (error.parentSchema ?? {}) as SchemaNode
  switch (error.keyword) {
    case 'additionalProperties':
    case 'unevaluatedProperties':
      return unknownKey(error, path, schema, root, layers)
    case 'required':
      return missing([...path, String(error.params.missingProperty)], schema, root, layers)
    case 'discriminator':
      return wrongTag([...path, String(error.params.tag)], error.params.tagValue, schema, layers)
    default:
      return wrongValue(error, path, schema, layers)
  }
}

function unknownKey(
  error: ErrorObject,
  parent: Path,
  schema: SchemaNode,
  root: SchemaNode,
  layers: Layers,
): Problem {
  const key = String(error.params.additionalProperty ?? error.params.unevaluatedProperty)
  const path = [...parent, key]
  const pattern = entrySchema(schema) && Object.keys(schema.patternProperties ?? {})[0]
  const message = pattern === undefined ? 'unknown option' : `a name must match /${pattern}/`
  const suggestion = pattern === undefined ? suggest(key, parent, schema, root, layers) : undefined
  return problemAt(layers.originOf(path), path, message, { point: 'key', suggestion })
}

/** The nearest option of the same section, or the one place elsewhere where this very option is known. */
function suggest(
  key: string,
  parent: Path,
  schema: SchemaNode,
  root: SchemaNode,
  layers: Layers,
): string | undefined {
  const near = nearest(key, knownKeys(schema, valueAt(layers.tree, parent)))
  if (near !== undefined) return near
  const elsewhere = [...optionsOf(root)].map((option) => option.path).filter((path) => path.at(-1) === key)
  const [only, ...others] = new Set(elsewhere.map((path) => formatPath(path)))
  return others.length === 0 ? only : undefined
}

function missing(path: Path, parent: SchemaNode, root: SchemaNode, layers: Layers): Problem {
  const name = String(path.at(-1))
  if (name === parent.discriminator?.propertyName) return wrongTag(path, undefined, parent, layers)
  const [schema] = schemasAt(root, path, layers.tree)
  const expected = schema === undefined ? '' : `, expected ${describeType(schema)}`
  return problemAt(nearestOrigin(layers, path), path, `is missing${expected}`, { point: 'key' })
}

function wrongTag(path: Path, value: unknown, schema: SchemaNode, layers: Layers): Problem {
  const tags = tagsOf(schema).map(String)
  const expected = `expected one of ${tags.join(', ')}`
  if (value === undefined) return problemAt(nearestOrigin(layers, path), path, `is missing, ${expected}`)
  const suggestion = typeof value === 'string' ? nearest(value, tags) : undefined
  return problemAt(nearestOrigin(layers, path), path, `${expected}, found ${quote(value)}`, { suggestion })
}

function wrongValue(error: ErrorObject, path: Path, schema: SchemaNode, layers: Layers): Problem {
  const known = /^(type|enum|const|anyOf|minimum|maximum|exclusive.*|multipleOf|minLength|maxLength|pattern)$/
  const found = schema['x-secret'] ? '' : `, found ${quote(error.data)}`
  const hint = schema.type === 'string' && /number|boolean/.test(typeof error.data) ? ' (in quotes)' : ''
  const message = known.test(error.keyword)
    ? `expected ${describeType(schema)}${hint}${found}`
    : `${error.message ?? `breaks the rule ${error.keyword}`}${found}`
  return problemAt(nearestOrigin(layers, path), path, message)
}

/** Of the value, or of the section it should stand in. */
function nearestOrigin(layers: Layers, path: Path): ReturnType<Layers['originOf']> {
  for (let length = path.length; length > 0; length--) {
    const origin = layers.originOf(path.slice(0, length))
    if (origin !== undefined) return origin
  }
  return undefined
}

/** `/authentication/0/enable` -> `['authentication', 0, 'enable']`. */
function pathOf(pointer: string, tree: unknown): Path {
  const path: (string | number)[] = []
  for (const step of pointer.split('/').slice(1)) {
    const key = step.replaceAll('~1', '/').replaceAll('~0', '~')
    path.push(Array.isArray(valueAt(tree, path)) ? Number(key) : key)
  }
  return path
}
