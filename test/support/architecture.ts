/**
 * The arrows of the house: which room a file is in, what it imports, and what is wrong with that.
 * Pure: works on texts, so that it can be tested on a house that was made up.
 */
import { posix } from 'node:path'

/** Rooms every room above them may use. */
const CORE = ['broker', 'listeners', 'hooks', 'model'] as const
/** What the configuration describes and the process is put together from. */
const ROOMS = ['authn', 'authz', 'features', 'plugins', 'gateways', 'gateways/index', ...CORE] as const

/**
 * What each room may import beside itself. `gateways/*` stands for every single gateway,
 * `gateways/+` for a folder that several gateways share.
 */
export const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  model: [],
  hooks: ['model'],
  listeners: ['model'],
  broker: ['listeners', 'hooks', 'model'],
  'hooks/exhook': CORE,
  observability: CORE,
  connectors: ['model'],
  authn: ['connectors', ...CORE],
  authz: ['connectors', ...CORE],
  features: CORE,
  plugins: CORE,
  gateways: CORE,
  'gateways/+': ['gateways', ...CORE],
  'gateways/*': ['gateways', 'gateways/+', ...CORE],
  'gateways/index': ['gateways', 'gateways/*'],
  config: ROOMS,
  'control/client': ['model'],
  control: ['control/client', 'authn', 'features', ...CORE],
  api: ['config', 'hooks/exhook', 'observability', ...ROOMS],
  main: ['api', 'control', 'control/client', 'config', 'hooks/exhook', 'observability', ...ROOMS],
  cli: ['main', 'control/client', 'config', 'authn', 'authz', 'features', 'plugins', ...CORE],
}

/** May import everything, and nobody imports them. */
const OUTSIDE = ['test', 'bench', 'docs', 'dashboard', 'tools']

export interface Import {
  /** As it is written. */
  readonly specifier: string
  /** `import type`, `export type`: nothing is left of it at run time. */
  readonly isType: boolean
}

/** Path from the root, with `/`, and what the file imports. */
export type House = ReadonlyMap<string, readonly Import[]>

const STATEMENT = /^[ \t]*(?:import|export)\s+(type\s+)?(?:[\w$*{][^'"();=]*?\sfrom\s*)?['"]([^'"\n]+)['"]/gm
const DYNAMIC = /\bimport\(\s*['"]([^'"\n]+)['"]/g

/** What a TypeScript file imports and re-exports, in order of kind. */
export function importsIn(text: string): Import[] {
  const statements = [...text.matchAll(STATEMENT)].map(([, type, specifier = '']) => ({
    specifier,
    isType: type !== undefined,
  }))
  const dynamic = [...text.matchAll(DYNAMIC)].map(([, specifier = '']) => ({ specifier, isType: false }))
  return [...statements, ...dynamic]
}

/** Everything that is wrong with the imports of a house, one line each. */
export function problemsOf(house: House): string[] {
  const rooms = new Map([...house.keys()].map((file) => [file, roomOf(file, gatewaysOf(house))]))
  const arrows = [...house].flatMap(([file, imports]) =>
    imports.filter(isRelative).map((one) => ({ file, target: targetOf(file, one), isType: one.isType })),
  )
  const wrong = arrows.flatMap(({ file, target }) => {
    const [from, to] = [rooms.get(file), rooms.get(target)]
    if (from === undefined) return []
    if (to === undefined) return [`${file} imports ${target}, which is no source file of a known room`]
    return allows(from, to) ? [] : [`${file} imports ${target}: ${from} must not import ${to}`]
  })
  const unknown = [...rooms].filter(([, room]) => room === undefined).map(([file]) => `${file} is in no room`)
  return [...unknown, ...wrong, ...cycleProblems(house, rooms)]
}

/** The room of a file; undefined for none. Each gateway is a room of its own, and so is a folder that gateways share. */
export function roomOf(file: string, gateways: ReadonlySet<string>): string | undefined {
  const [top = '', second = '', ...deeper] = file.split('/')
  if (second === '') return top === 'vitest.config.ts' ? 'test' : 'main'
  if (file === 'gateways/index.ts') return 'gateways/index'
  if (top === 'gateways' && deeper.length > 0) return `gateways/${second}${gateways.has(second) ? '' : '+'}`
  if (top === 'hooks' && second === 'exhook') return 'hooks/exhook'
  if (top === 'control' && second === 'client') return 'control/client'
  return Object.hasOwn(MAY_IMPORT, top) || OUTSIDE.includes(top) ? top : undefined
}

/** Folders of the gateways on the list. */
export function gatewaysOf(house: House): Set<string> {
  const list = house.get('gateways/index.ts') ?? []
  return new Set(list.flatMap(({ specifier }) => /^\.\/([^/]+)\//.exec(specifier)?.[1] ?? []))
}

function allows(from: string, to: string): boolean {
  if (from === to || OUTSIDE.includes(from)) return true
  return MAY_IMPORT[kindOf(from)]?.includes(kindOf(to)) ?? false
}

function kindOf(room: string): string {
  if (room === 'gateways/index' || !room.startsWith('gateways/')) return room
  return room.endsWith('+') ? 'gateways/+' : 'gateways/*'
}

function isRelative({ specifier }: Import): boolean {
  return specifier.startsWith('.')
}

function targetOf(file: string, { specifier }: Import): string {
  return posix.join(posix.dirname(file), specifier)
}

/**
 * Modules that need each other to start are never right; types may go in a circle where
 * one room is talking to itself.
 */
function cycleProblems(house: House, rooms: ReadonlyMap<string, string | undefined>): string[] {
  const values = cyclesIn(house, ({ isType }) => !isType)
  const types = cyclesIn(house, () => true).filter(
    (files) => new Set(files.map((f) => rooms.get(f))).size > 1,
  )
  return [
    ...values.map((files) => `import cycle: ${files.join(', ')}`),
    ...types.map((files) => `import cycle between rooms, types included: ${files.join(', ')}`),
  ]
}

/** Groups of files each of which reaches all others of its group, by Tarjan's algorithm. */
export function cyclesIn(house: House, counts: (one: Import) => boolean): string[][] {
  const index = new Map<string, number>()
  const stack: string[] = []
  const cycles: string[][] = []
  const visit = (file: string): number => {
    const own = index.size
    index.set(file, own)
    let lowest = own
    stack.push(file)
    let isOwnTarget = false
    for (const one of house.get(file) ?? []) {
      if (!isRelative(one) || !counts(one)) continue
      const target = targetOf(file, one)
      if (!house.has(target)) continue
      isOwnTarget ||= target === file
      if (!index.has(target)) lowest = Math.min(lowest, visit(target))
      else if (stack.includes(target)) lowest = Math.min(lowest, index.get(target) ?? own)
    }
    if (lowest === own) {
      const group = stack.splice(stack.indexOf(file))
      if (group.length > 1 || isOwnTarget) cycles.push(group.toSorted((a, b) => a.localeCompare(b)))
    }
    return lowest
  }
  for (const file of house.keys()) if (!index.has(file)) visit(file)
  return cycles
}
