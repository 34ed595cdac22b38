import { onTestFinished } from 'vitest'
import type { Connector, ConnectorContext, Tuning } from '../../connectors/connector.ts'
import type { TemplateRules } from '../../connectors/template.ts'
import { AUTHN_PLACEHOLDERS, type Values } from '../../connectors/variables.ts'
import type { Logger } from '../../model/log.ts'
import { within } from '../support/inbox.ts'

export const ALLOWED: TemplateRules = { allowed: AUTHN_PLACEHOLDERS }

/** What clients would like to be more than a name. */
export const NASTY: readonly string[] = [
  "' OR '1'='1",
  '" OR ""="',
  "\\' OR 1=1 -- ",
  "alice' -- ",
  "alice'; DROP TABLE mqtt_user; -- ",
  'alice\\',
  '\u00bf\u0027 OR 1=1 -- ',
  "縗' OR 1=1 -- ",
  '`',
  '?',
  '$1',
  '%',
  '_lice',
  '*',
  'al*',
  'alice)(uid=*',
  '*)(|(uid=*',
  'alice,ou=people',
  'alice+cn=x',
  ' alice',
  'alice ',
  '#alice',
  '$where',
  '{"$ne":""}',
  '$username',
  '.*',
  '^alice',
  'alice\r\nSET x y',
  'alice\nX-Admin: 1',
  'alice/../bob',
  '..',
  'alice?x=1',
  'alice#',
  '%2e%2e',
  'a&username=alice',
  '${username}',
  '\ud800',
  '',
]

export const valuesOf =
  (values: Readonly<Record<string, string>>): Values =>
  (name) =>
    values[name]

/** What was said at `info` and above. */
export interface Said {
  readonly level: 'info' | 'warn' | 'error'
  readonly message: string
}

export class Listener {
  readonly said: Said[] = []
  readonly log: Logger = {
    debug: () => {},
    info: (_, message) => this.#hear({ level: 'info', message }),
    warn: (_, message) => this.#hear({ level: 'warn', message }),
    error: (_, message) => this.#hear({ level: 'error', message }),
    child: () => this.log,
  }
  readonly #waiting = new Map<string, () => void>()

  /** Resolves when something has been said at a level, from now on or before. */
  until(level: Said['level']): Promise<void> {
    if (this.said.some((one) => one.level === level)) return Promise.resolve()
    const heard = new Promise<void>((resolve) => this.#waiting.set(level, resolve))
    return within(heard, `the log to say something at ${level}`)
  }

  #hear(said: Said): void {
    this.said.push(said)
    this.#waiting.get(said.level)?.()
  }
}

export function contextOf(listener = new Listener(), tuning: Partial<Tuning> = {}): ConnectorContext {
  return { log: listener.log, configDir: '/', tuning: { firstRetryMs: 20, maxRetryMs: 50, ...tuning } }
}

/** Closed with the test. */
export async function opened<C extends Connector>(connector: Promise<C>): Promise<C> {
  const open = await connector
  onTestFinished(() => open.close())
  return open
}

/** Seeded, so that a failure can be seen again. */
export function* randomTexts(count: number, seed: number): Generator<string> {
  const alphabet = Array.from('\'"\\`*()|&!=<>,+;#$%_.:/?@[]{}^~- \r\n\tabAB01é€𝄞縗\u0001')
  let state = seed
  const next = (below: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
  for (let i = 0; i < count; i++)
    yield Array.from({ length: next(12) + 1 }, () => alphabet[next(alphabet.length)]).join('')
}
