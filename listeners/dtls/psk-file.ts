/**
 * Pre-shared keys of TLS and DTLS listeners, from a file with a line for each: `identity:secret`. The secret is the
 * text itself, neither hexadecimal nor base64, as in EMQX. Identities may hold anything but the separator.
 */
import { readFileSync } from 'node:fs'
import Type, { type Static } from 'typebox'
import { configPath } from '../../model/config-path.ts'
import { BrokerError, messageOf } from '../../model/errors.ts'
import { Strict } from '../../model/schema.ts'
import type { PskLookup } from '../tls-step.ts'

export const pskAuthentication = Strict(
  {
    enable: Type.Boolean({
      default: false,
      description: 'Clients may come with a key instead of a certificate; switching it on takes a restart',
    }),
    init_file: Type.Optional(
      Type.String({
        minLength: 1,
        'x-hot': true,
        description: 'File with lines of identity, separator and secret; read again on a reload',
      }),
    ),
    separator: Type.String({
      default: ':',
      minLength: 1,
      'x-hot': true,
      description: 'Between identity and secret; the first one in a line counts',
    }),
  },
  { description: 'Pre-shared keys of TLS 1.2 and DTLS listeners that have PSK ciphers' },
)

export type PskConfig = Static<typeof pskAuthentication>

/** The keys of one file. */
export class PskFile {
  /** For listeners; undefined = there are no pre-shared keys. The same for the life of the process. */
  readonly lookup: PskLookup | undefined
  readonly #configDir: string
  #keys: ReadonlyMap<string, Buffer> = new Map()

  /**
   * @param configDir - what a relative path starts from
   * @throws BrokerError CONFIG_INVALID
   */
  constructor(config: PskConfig, configDir: string) {
    this.#configDir = configDir
    this.lookup = config.enable ? (identity) => this.#keys.get(identity) : undefined
    this.update(config)
  }

  /**
   * Reads the file again: who is no longer in it can no longer come in.
   * @throws BrokerError CONFIG_INVALID naming file and line, never a secret; the keys then stay as they were
   */
  update({ enable, init_file: file, separator }: PskConfig): void {
    this.#keys =
      enable && file !== undefined ? readKeys(configPath(this.#configDir, file), separator) : new Map()
  }
}

function readKeys(path: string, separator: string): ReadonlyMap<string, Buffer> {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (cause) {
    throw invalid(`cannot read ${path}: ${messageOf(cause)}`, cause)
  }
  const keys = new Map<string, Buffer>()
  for (const [i, line] of text.split(/\r?\n/).entries()) {
    if (line === '') continue
    const at = line.indexOf(separator)
    const secret = line.slice(at + separator.length)
    if (at < 1 || secret === '') throw invalid(`${path}: line ${i + 1} is not identity${separator}secret`)
    keys.set(line.slice(0, at), Buffer.from(secret))
  }
  return keys
}

function invalid(text: string, cause?: unknown): BrokerError {
  return new BrokerError('CONFIG_INVALID', `psk_authentication.init_file: ${text}`, { cause })
}
