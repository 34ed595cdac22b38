import type { Logger } from '../../model/log.ts'
import type { RedisConnection } from './redis-connection.ts'

/**
 * Looks at how well the servers keep what they are given, and warns where they may forget it. One that does not
 * tell is taken to be run by people who know.
 */
export async function checkDurability(
  connection: RedisConnection,
  place: string,
  log: Logger,
): Promise<void> {
  const warnings = new Set<string>()
  for (const master of connection.masters) {
    const infos = await Promise.all([master.info('persistence'), master.info('memory')]).catch(() => [])
    for (const warning of warningsOf(infos.join('\n'))) warnings.add(warning)
  }
  for (const warning of warnings) log.warn({ store: place }, warning)
}

/** @param info - answers of Redis' INFO */
export function warningsOf(info: string): string[] {
  const fields = new Map(info.split(/\r?\n/).map((line) => line.split(':', 2) as [string, string]))
  const warnings: string[] = []
  if (fields.get('aof_enabled') === '0')
    warnings.push('Redis forgets messages that were acknowledged when it crashes: set its appendonly to yes')
  const policy = fields.get('maxmemory_policy')
  if (policy !== undefined && policy !== 'noeviction')
    warnings.push(
      `Redis may throw sessions away when it is full (${policy}): set its maxmemory-policy to noeviction`,
    )
  return warnings
}
