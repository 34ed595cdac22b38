import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import type { Authenticator } from '../../authn/authenticator.ts'
import type { BuiltInDatabaseConfig } from '../../authn/built-in-database.ts'
import type { Login, Verdict } from '../../model/access.ts'
import type { ClientInfo } from '../../model/client-info.ts'
import type { Logger } from '../../model/log.ts'
import { clientInfo } from '../support/client-info.ts'

export const ALLOW: Verdict = { kind: 'allow', principal: { isSuperuser: false } }
export const IGNORE: Verdict = { kind: 'ignore' }
export const WRONG_PASSWORD: Verdict = { kind: 'deny', reason: 0x86 }
export const NOT_AUTHORIZED: Verdict = { kind: 'deny', reason: 0x87 }

export function clientOf(fields: Partial<ClientInfo> = {}): ClientInfo {
  return clientInfo('c1', { username: 'ann', ...fields })
}

export function loginOf(
  fields: Partial<Omit<Login, 'client'>> & { client?: Partial<ClientInfo> } = {},
): Login {
  return { enableAuthn: true, password: Buffer.from('secret'), ...fields, client: clientOf(fields.client) }
}

/** An authenticator that says what it is told to. */
export function saying(id: string, answer: Authenticator['authenticate'] | Verdict): Authenticator {
  return { id, authenticate: typeof answer === 'function' ? answer : () => answer, close() {} }
}

export interface LogLine {
  level: string
  fields: object
  text: string
}

export function recordingLog(): { log: Logger; lines: LogLine[] } {
  const lines: LogLine[] = []
  const at = (level: string) => (fields: object, text: string) => void lines.push({ level, fields, text })
  const log: Logger = {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: () => log,
  }
  return { log, lines }
}

/** A directory of this test's own. */
export function temporaryDir(): string {
  const path = mkdtempSync(join(tmpdir(), 'hubbub-authn-'))
  onTestFinished(() => rmSync(path, { recursive: true, force: true }))
  return path
}

export function builtIn(fields: Partial<BuiltInDatabaseConfig> = {}): BuiltInDatabaseConfig {
  return {
    mechanism: 'password_based',
    backend: 'built_in_database',
    enable: true,
    timeout: 5000,
    on_failure: 'ignore',
    precondition: '',
    user_id_type: 'username',
    password_hash_algorithm: { name: 'sha256', salt_position: 'suffix' },
    bootstrap_type: 'plain',
    ...fields,
  }
}
