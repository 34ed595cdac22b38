/**
 * STOMP headers and how they are written on the wire.
 *
 * Escapes (1.1 §Value Encoding, 1.2 §Value Encoding):
 *
 *     1.0   none; a value runs to the end of the line, colons included
 *     1.1   \n  \c  \\
 *     1.2   \n  \c  \\  \r
 *
 * CONNECT and CONNECTED are never escaped, because the version is not agreed yet.
 */
import { BrokerError } from '../../model/errors.ts'

export const VERSIONS = ['1.0', '1.1', '1.2'] as const
export type StompVersion = (typeof VERSIONS)[number]

/** Headers of one frame in the order they came. Names may repeat; the first one counts (1.2 §Repeated Header Entries). */
export class StompHeaders {
  /** name, value, name, value, ... A frame has few headers, so a list is searched faster than a Map is built. */
  readonly #flat: readonly string[]

  constructor(flat: readonly string[] = []) {
    this.#flat = flat
  }

  static of(...entries: readonly (readonly [name: string, value: string])[]): StompHeaders {
    return new StompHeaders(entries.flat())
  }

  get(name: string): string | undefined {
    const at = this.#indexOf(name)
    return at < 0 ? undefined : this.#flat[at + 1]
  }

  get size(): number {
    return this.#flat.length / 2
  }

  /** Calls `visit` for the first header of each name. */
  forEach(visit: (name: string, value: string) => void): void {
    for (let i = 0; i < this.#flat.length; i += 2) {
      const name = this.#flat[i] as string
      if (this.#indexOf(name) === i) visit(name, this.#flat[i + 1] as string)
    }
  }

  /** The same headers with one leading space taken off each value, as STOMP 1.0 peers expect of their padding. */
  unpadded(): StompHeaders {
    return new StompHeaders(
      this.#flat.map((text, i) => (i % 2 === 1 && text.startsWith(' ') ? text.slice(1) : text)),
    )
  }

  #indexOf(name: string): number {
    for (let i = 0; i < this.#flat.length; i += 2) if (this.#flat[i] === name) return i
    return -1
  }
}

/** @throws BrokerError FRAME_MALFORMED for an escape the version does not know (1.2: "a fatal protocol error") */
export function unescapeHeader(text: string, version: StompVersion): string {
  let from = text.indexOf('\\')
  if (from < 0) return text
  let out = ''
  let done = 0
  for (; from >= 0; from = text.indexOf('\\', done)) {
    out += text.slice(done, from) + unescapeOne(text[from + 1], version)
    done = from + 2
  }
  return out + text.slice(done)
}

/**
 * A header name or value as it may stand on the wire. What a version cannot say becomes a space,
 * so that no text, whoever chose it, can end a line or a frame.
 */
export function escapeHeader(text: string, version: StompVersion, part: 'name' | 'value' = 'value'): string {
  if (version === '1.0') return text.replace(part === 'name' ? UNSAYABLE_NAME_1_0 : UNSAYABLE_VALUE_1_0, ' ')
  if (!SPECIAL.test(text)) return text
  return text.replace(SPECIALS, (char) => {
    if (char === '\n') return '\\n'
    if (char === ':') return '\\c'
    if (char === '\\') return '\\\\'
    if (char === '\r') return version === '1.2' ? '\\r' : char
    return ' '
  })
}

/** For CONNECTED, which has no escapes: keeps the text on its line. */
export function plainHeader(text: string): string {
  return text.replace(UNSAYABLE_VALUE_1_0, ' ')
}

const NUL = String.fromCharCode(0)
const SPECIAL = new RegExp(`[\\n\\r:\\\\${NUL}]`)
const SPECIALS = new RegExp(SPECIAL.source, 'g')
const UNSAYABLE_VALUE_1_0 = new RegExp(`[\\n\\r${NUL}]`, 'g')
const UNSAYABLE_NAME_1_0 = new RegExp(`[\\n\\r:${NUL}]`, 'g')

function unescapeOne(char: string | undefined, version: StompVersion): string {
  if (char === 'n') return '\n'
  if (char === 'c') return ':'
  if (char === '\\') return '\\'
  if (char === 'r' && version === '1.2') return '\r'
  throw new BrokerError('FRAME_MALFORMED', `bad_escape: \\${char ?? ''} is not known in STOMP ${version}`)
}
