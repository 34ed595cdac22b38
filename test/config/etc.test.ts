/**
 * The shipped config files against the schema they document. In hubbub.yaml `#option: value` is an option at
 * its default and `# text` an explanation; so a line loses its first `#` unless exactly one space
 * follows, and what is then left must load and change nothing. The samples are that already. Together they
 * name every option.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { parseAclFile } from '../../authz/acl-file.ts'
import { DEFAULT_RULES } from '../../authz/default-rules.ts'
import { loadConfig } from '../../config/load.ts'
import { readUnit } from '../../config/read-units.ts'
import { configSchema } from '../../config/schema.ts'
import { asNode, childSchemas, optionsOf, type SchemaNode } from '../../config/walk.ts'
import { writeConfig } from './sample.ts'

const FILE = join(import.meta.dirname, '..', '..', 'etc', 'hubbub.yaml')
const TEXT = readFileSync(FILE, 'utf8')
/** With every option switched on. `password` is a secret in a file that is not there. */
const UNCOMMENTED = TEXT.replaceAll(/^( *)#(?! \S| *$|$)/gm, '$1').replace(
  'file:///etc/hubbub/key-password',
  'secret',
)

const SAMPLES = ['authentication.yaml', 'authorization.yaml'].map((name) => {
  const file = join(FILE, '..', 'samples', name)
  return { name, file, text: readFileSync(file, 'utf8') }
})

const schema = configSchema()

test('the shipped config loads as it is', () => {
  const { config } = loadConfig({ schema, file: FILE, env: {} })
  expect(config.listeners.tcp.default?.bind).toEqual({ host: undefined, port: 1883 })
  expect(config.listeners.ws.default?.bind.port).toBe(8083)
  expect(config.gateway.stomp?.listeners.tcp?.default?.bind.port).toBe(61_613)
  expect(config.gateway.stomp?.listeners.ws?.default?.bind.port).toBe(15_674)
  expect(config.allow_anonymous).toBe(false)
})

test('it loads with every commented option switched on', () => {
  const { config } = loadConfig({ schema, file: writeConfig(UNCOMMENTED), env: {} })
  expect(config.listeners.ssl.default?.bind.port).toBe(8883)
  expect(config.listeners.wss.default?.bind.port).toBe(8084)
  expect(config.gateway.stomp?.listeners.ssl?.default?.bind.port).toBe(61_614)
})

test.each(SAMPLES)('the sample $name loads, and what it says is the default', ({ file, text }) => {
  expect(loadConfig({ schema, file, env: {} }).config).toBeDefined()
  expect(changesIn(parse(text))).toEqual([])
})

test('all samples are loaded here', () => {
  expect(readdirSync(join(FILE, '..', 'samples'))).toEqual(SAMPLES.map(({ name }) => name))
})

test('together they name every option there is', () => {
  const options = [...optionsOf(asNode(schema))].map(({ path }) => path).filter((path) => path.at(-1) !== '*')
  const known = new Set(options.map((path) => path.join('.')))
  expect(known.size).toBeGreaterThan(100)
  const everything = [TEXT, ...SAMPLES.map(({ text }) => text)].join('\n')
  const isNamed = (path: string[]) =>
    new RegExp(`^[ #-]*${path.at(-1)}:|[ (,]${path.at(-1)}[ ,(]`, 'm').test(everything)
  expect(options.filter((path) => !isNamed(path)).map((path) => path.join('.'))).toEqual([])
})

test('what is commented out is the default', () => {
  const active = new Set(leavesOf(asNode(schema), parse(TEXT)).map(({ path }) => path))
  expect(changesIn(parse(UNCOMMENTED), active)).toEqual([])
})

test('problems in options that many listeners have are told as well as any other', () => {
  const file = writeConfig(`
listeners:
  tcp: { a: { bind: 1, tcp_options: { backlogg: 1, send_timeout: soon } } }
  ws: { b: { bind: 2, authentication: [{ mechanism: password_based, backend: built_in_database }] } }
`)
  expect(() => loadConfig({ schema, file, env: {} })).toThrow(
    [
      `${file}:3:39: listeners.tcp.a.tcp_options.backlogg: unknown option, did you mean backlog?`,
      `${file}:3:66: listeners.tcp.a.tcp_options.send_timeout: expected a duration such as 500ms, 15s, 1h30m, 2d, or infinity, found "soon"`,
      `${file}:4:40: listeners.ws.b.authentication.1.password_hash_algorithm: is missing, expected a section whose name is one of plain, md5, sha, sha256, sha512, bcrypt, pbkdf2`,
    ].join('\n'),
  )
})

test('the shipped access rules are the ones that hold without a file', () => {
  const rules = readFileSync(join(FILE, '..', 'acl.conf'), 'utf8')
  expect(inspect(parseAclFile(rules), { depth: 9 })).toBe(inspect(parseAclFile(DEFAULT_RULES), { depth: 9 }))
})

/** What `tree` sets to anything but its default, apart from `meant`. */
function changesIn(tree: unknown, meant: ReadonlySet<string> = new Set()): string[] {
  return leavesOf(asNode(schema), tree)
    .filter(({ path, field }) => !meant.has(path) && field.default !== undefined)
    .filter(({ field, value }) => !isDefault(field, value))
    .map(
      ({ path, field, value }) => `${path}: ${JSON.stringify(value)} is not ${JSON.stringify(field.default)}`,
    )
}

interface Leaf {
  path: string
  field: SchemaNode
  value: unknown
}

/** Single values and lists of them, with their schemas. */
function leavesOf(node: SchemaNode, value: unknown, path = ''): Leaf[] {
  if (typeof value !== 'object' || value === null) return [{ path, field: node, value }]
  const steps = Array.isArray(value) ? [...value.entries()] : Object.entries(value)
  if (steps.every(([, child]) => typeof child !== 'object') && Array.isArray(value)) {
    return [{ path, field: node, value }]
  }
  return steps.flatMap(([step, child]) =>
    childSchemas(node, step, value)
      .slice(0, 1)
      .flatMap((field) => leavesOf(field, child, `${path}.${step}`)),
  )
}

/** `7200s` and `2h` are the same. */
function isDefault(field: SchemaNode, value: unknown): boolean {
  const read = (written: unknown) => JSON.stringify(readUnit(field, written))
  return read(value) === read(field.default)
}
