/**
 * Options of EMQX that mean nothing here, because they are about how its runtime or its drivers work. An existing
 * configuration may hold them: they are taken out before it is checked, and named, so that nobody waits for what they
 * would do. One rule for all: an option is here only if leaving it out changes nothing that a client may do, and one
 * whose value asks for something that is not done here is refused like any unknown option.
 */
import type { Layers } from './layers.ts'
import { formatPath, isSection, type Path } from './path.ts'
import type { Layer } from './problem.ts'

/** What was passed over, and who has written it. */
export interface UnusedOption {
  /** `authentication.1.w_mode` */
  readonly path: string
  readonly layer: Layer
}

/** Whether a value of it can be passed over. */
type Harmless = (value: unknown) => boolean

const any: Harmless = () => true
const isOff: Harmless = (value) => isSection(value) && value.enable !== true
const isNothing: Harmless = (value) => Array.isArray(value) && value.length === 0
const areFalse: Harmless = (value) => isSection(value) && Object.values(value).every((one) => one === false)

/**
 * By path: `*` is any name and any list element, `**` any section below which the rest may stand at any depth. More than one
 * row may be about an option.
 */
const UNUSED: readonly (readonly [path: string, harmless: Harmless])[] = [
  ['psk_authentication.chunk_size', any],
  ['authentication_settings', any],
  ['authorization.node_cache', any],
  // With all of them false, values of clients never become wildcards or levels, as ever here.
  ['authorization.topic_template_allow', areFalse],
  ...['authorization.sources', '**.authentication'].flatMap((where) =>
    (
      [
        ['w_mode', any],
        ['use_legacy_protocol', any],
        ['topology.pool_size', any],
        ['topology.max_overflow', any],
        ['topology.overflow_ttl', any],
        ['topology.overflow_check_period', any],
        ['hostname_resolution', (value) => value === 'static'],
        ['allowed_hosts', isNothing],
        ['oauth2', isOff],
        ...[
          'client_renegotiation',
          'depth',
          'gc_after_handshake',
          'handshake_timeout',
          'hibernate_after',
          'honor_cipher_order',
          'log_level',
          'middlebox_comp_mode',
          'reuse_sessions',
          'secure_renegotiate',
          'session_tickets',
          'user_lookup_fun',
        ].map((name) => [`ssl.${name}`, any] as const),
      ] satisfies readonly (readonly [string, Harmless])[]
    ).flatMap(([option, harmless]) =>
      // A list of them, or a single one.
      [`${where}.*.${option}`, `${where}.${option}`].map((path) => [path, harmless] as const),
    ),
  ),
]

/** Takes them out of the tree. @returns what it has taken out, as it stood there */
export function dropUnused(layers: Layers): UnusedOption[] {
  const dropped: UnusedOption[] = []
  for (const [path, harmless] of UNUSED) {
    for (const { found, value } of findAll(layers.tree, path.split('.'), [])) {
      if (!harmless(value)) continue
      dropped.push({ path: formatPath(found), layer: layers.of(found) })
      layers.unset(found)
    }
  }
  return dropped
}

/** In words, for the log and for who checks a configuration. */
export function describeUnused(options: readonly UnusedOption[]): string {
  return `options that mean nothing here are passed over: ${options.map(({ path }) => path).join(', ')}`
}

interface Found {
  readonly found: Path
  readonly value: unknown
}

function findAll(value: unknown, [step, ...rest]: readonly string[], path: Path): Found[] {
  if (step === undefined) return [{ found: path, value }]
  if (step === '**') {
    const below = childrenOf(value).flatMap(([name, child]) =>
      findAll(child, ['**', ...rest], [...path, name]),
    )
    return [...findAll(value, rest, path), ...below]
  }
  return childrenOf(value)
    .filter(([name]) => (step === '*' ? typeof name === 'number' : name === step))
    .flatMap(([name, child]) => findAll(child, rest, [...path, name]))
}

function childrenOf(value: unknown): (readonly [name: string | number, child: unknown])[] {
  if (Array.isArray(value)) return value.map((child: unknown, index) => [index, child] as const)
  return isSection(value) ? Object.entries(value) : []
}
