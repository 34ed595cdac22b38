/** The house as DESIGN draws it: rooms, the arrows between them, and a few rules that hold for every file. */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { gatewaysOf, type House, importsIn, problemsOf } from './support/architecture.ts'

const ROOT = join(import.meta.dirname, '..')
const MAX_LINES = 450
const FOLDERS = [
  '.ci',
  'api',
  'authn',
  'authz',
  'bench',
  'broker',
  'cli',
  'config',
  'control',
  'connectors',
  'dashboard',
  'docs',
  'etc',
  'features',
  'gateways',
  'hooks',
  'listeners',
  'model',
  'observability',
  'plugins',
  'protos',
  'test',
  'tools',
]

/** Paths of all files that are, or are about to be, in the repository. */
const files = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
  cwd: ROOT,
  encoding: 'utf8',
})
  .split('\0')
  .filter((file) => file !== '' && existsSync(join(ROOT, file)))
const sources = files.filter((file) => /\.(ts|tsx|mts)$/.test(file) && !file.endsWith('.d.ts'))
const house: House = new Map(sources.map((file) => [file, importsIn(read(file))]))

function read(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8')
}

/** A made-up house: what each file imports, `type ` before what it needs at compile time only. */
function houseOf(plan: Record<string, string[]>): House {
  const parse = (text: string) => ({
    specifier: text.replace(/^type /, ''),
    isType: text.startsWith('type '),
  })
  return new Map(Object.entries(plan).map(([file, imports]) => [file, imports.map(parse)]))
}

test('every import follows the arrows, and none goes in a circle', () => {
  expect(house.size).toBeGreaterThan(100)
  expect([...house.values()].flat().length).toBeGreaterThan(500)
  expect(problemsOf(house)).toEqual([])
})

test('every top-level folder is known', () => {
  const folders = new Set(files.filter((file) => file.includes('/')).map((file) => file.split('/')[0]))
  expect([...folders].filter((folder) => !FOLDERS.includes(folder as string))).toEqual([])
})

test('every gateway says in a README what it does', () => {
  const gateways = [...gatewaysOf(house)]
  expect(gateways).toContain('stomp')
  expect(gateways.filter((name) => !files.includes(`gateways/${name}/README.md`))).toEqual([])
})

test('no source file is longer than can be read in one go', () => {
  const code = sources.filter((file) => !file.startsWith('test/'))
  expect(code.filter((file) => read(file).split('\n').length - 1 > MAX_LINES)).toEqual([])
})

test('every dependency has an exact version', () => {
  const manifest = JSON.parse(read('package.json')) as Record<string, Record<string, string> | undefined>
  const kinds = ['dependencies', 'devDependencies', 'optionalDependencies', 'peerDependencies']
  const versions = kinds.flatMap((kind) => Object.entries(manifest[kind] ?? {}))
  expect(versions.length).toBeGreaterThan(10)
  expect(versions.filter(([, version]) => !/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version))).toEqual([])
})

test('no file holds a note of unfinished work or a path of one machine', () => {
  const unfinished = new RegExp(`\\b(?:${'TO'}DO|${'FIX'}ME)\\b`)
  const somebodysHome = /(?<![\w.}$*+/-])\/(?:root|home|Users|work)\/[\w.-]/
  const texts = files
    .filter((file) => !/\.(png|ico|gz|woff2)$/.test(file))
    .map((file) => [file, read(file)] as const)
  expect(unfinished.test(`// ${'TO'}DO: later`) && somebodysHome.test(`cd ${'/ro'}ot/x`)).toBe(true)
  expect(texts.filter(([, text]) => unfinished.test(text)).map(([file]) => file)).toEqual([])
  expect(texts.filter(([, text]) => somebodysHome.test(text)).map(([file]) => file)).toEqual([])
})

// The checker itself

test('imports are found in all their forms', () => {
  const text = [
    "import type { A } from './a.ts'",
    "import { type B, b } from './b.ts'",
    "import c, * as d from 'c'",
    "import {\n  e,\n  f,\n} from '../e.ts'",
    "import './side-effect.ts'",
    "export type { G } from './g.ts'",
    "export * from './h.ts'",
    "export const text = 'from nowhere'",
    " * import { not } from './a-comment.ts'",
    "const { run } = await import('../main.ts')",
  ].join('\n')
  expect(importsIn(text)).toEqual([
    { specifier: './a.ts', isType: true },
    { specifier: './b.ts', isType: false },
    { specifier: 'c', isType: false },
    { specifier: '../e.ts', isType: false },
    { specifier: './side-effect.ts', isType: false },
    { specifier: './g.ts', isType: true },
    { specifier: './h.ts', isType: false },
    { specifier: '../main.ts', isType: false },
  ])
})

test('a house in order has no problems', () => {
  const plan = {
    'main.ts': ['./broker/hub.ts', './gateways/index.ts', 'node:path'],
    'cli/hubbub.ts': ['../main.ts'],
    'broker/hub.ts': ['./client.ts', '../model/topic.ts', 'aedes'],
    'broker/client.ts': ['type ./hub.ts'],
    'model/topic.ts': ['typebox'],
    'gateways/index.ts': ['./coap/index.ts', './lwm2m/index.ts'],
    'gateways/gateway.ts': ['type ../broker/hub.ts'],
    'gateways/coap/index.ts': ['../gateway.ts', '../coap-codec/frame.ts'],
    'gateways/lwm2m/index.ts': ['../gateway.ts', '../coap-codec/frame.ts'],
    'gateways/coap-codec/frame.ts': ['../../model/topic.ts'],
    'test/broker/hub.test.ts': ['../../broker/hub.ts', '../../main.ts'],
  }
  expect(problemsOf(houseOf(plan))).toEqual([])
})

const LIST = { 'gateways/index.ts': ['./coap/index.ts', './lwm2m/index.ts'] }
const ROOMS = {
  'model/topic.ts': [],
  'broker/hub.ts': [],
  'authn/index.ts': [],
  'authz/index.ts': [],
  'config/load.ts': [],
  'gateways/gateway.ts': [],
  'gateways/coap/index.ts': [],
  'gateways/lwm2m/index.ts': [],
  'gateways/codec/frame.ts': [],
  'test/support.ts': [],
  'main.ts': [],
}

test.each([
  ['model/topic.ts', '../broker/hub.ts', 'model must not import broker'],
  ['broker/hub.ts', '../gateways/gateway.ts', 'broker must not import gateways'],
  ['broker/hub.ts', '../authn/index.ts', 'broker must not import authn'],
  ['broker/hub.ts', '../authz/index.ts', 'broker must not import authz'],
  ['broker/hub.ts', '../config/load.ts', 'broker must not import config'],
  ['broker/hub.ts', '../main.ts', 'broker must not import main'],
  ['authn/index.ts', '../gateways/gateway.ts', 'authn must not import gateways'],
  ['gateways/gateway.ts', './coap/index.ts', 'gateways must not import gateways/coap'],
  ['gateways/lwm2m/index.ts', '../coap/index.ts', 'gateways/lwm2m must not import gateways/coap'],
  ['gateways/codec/frame.ts', '../coap/index.ts', 'gateways/codec+ must not import gateways/coap'],
  ['main.ts', './test/support.ts', 'main must not import test'],
  ['main.ts', './broker/gone.ts', 'which is no source file'],
])('%s importing %s is found, as a type too', (file, specifier, problem) => {
  for (const kind of ['', 'type ']) {
    const found = problemsOf(houseOf({ ...LIST, ...ROOMS, [file]: [`${kind}${specifier}`] }))
    expect(found, kind).toEqual([expect.stringContaining(problem)])
    expect(found[0]).toContain(`${file} imports `)
  }
})

test('a file outside all rooms is found', () => {
  expect(problemsOf(houseOf({ 'helpers/text.ts': [] }))).toEqual(['helpers/text.ts is in no room'])
})

test('a circle of modules is found, however long, and one of types only where rooms are mixed', () => {
  const circle = { 'broker/a.ts': ['./b.ts'], 'broker/b.ts': ['./c.ts'], 'broker/c.ts': ['./a.ts'] }
  expect(problemsOf(houseOf(circle))).toEqual(['import cycle: broker/a.ts, broker/b.ts, broker/c.ts'])
  expect(problemsOf(houseOf({ ...circle, 'broker/c.ts': ['type ./a.ts'] }))).toEqual([])
  const mixed = { 'broker/a.ts': ['type ../model/b.ts'], 'model/b.ts': ['type ../broker/a.ts'] }
  expect(problemsOf(houseOf(mixed))).toEqual([
    'model/b.ts imports broker/a.ts: model must not import broker',
    'import cycle between rooms, types included: broker/a.ts, model/b.ts',
  ])
})
