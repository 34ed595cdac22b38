/** Those who decide about clients, as the configuration describes them, for a broker that does not run. */

import { existsSync } from 'node:fs'
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { authnConfigOf } from '../assemble.ts'
import { UserTable } from '../authn/built-in-table.ts'
import { Authn } from '../authn/index.ts'
import { RuleTable } from '../authz/built-in-table.ts'
import { Authz } from '../authz/index.ts'
import { parseAcl } from '../authz/json-rule.ts'
import type { DurableStore, RecordTable } from '../broker/storage/storage.ts'
import type { AccessTargets } from '../explain-access.ts'
import { BanRecords } from '../features/bans/ban-records.ts'
import { Bans } from '../features/bans/index.ts'
import type { Logger } from '../model/log.ts'
import type { CliContext } from './context.ts'
import { noteLog, type Reached, withStorage } from './reach.ts'

/** What they need of a storage. */
type Kept = Pick<DurableStore, 'table' | 'unsafe'>

/**
 * Builds them, with the users, rules and bans that are stored, and lets go of them. Nothing is changed: what building
 * them would store, such as users of a bootstrap file, is forgotten.
 * @throws BrokerError CONFIG_INVALID, STORAGE_FAILED
 */
export async function withAccess<T>(
  reached: Reached,
  context: Pick<CliContext, 'note'>,
  work: (targets: AccessTargets) => Promise<T>,
): Promise<T> {
  const { config, dataDir } = reached
  const log = noteLog(context)
  const { type } = config.storage
  // A broker that has never been started has nothing stored, and its storage is not to be made here.
  if (type === 'memory' || (type === 'level' && !existsSync(join(dataDir, 'store'))))
    return withTargets(reached, undefined, log, work)
  return withStorage(reached, log, (durable) => withTargets(reached, readOnly(durable), log, work))
}

async function withTargets<T>(
  { config, dataDir, configDir }: Reached,
  kept: Kept | undefined,
  log: Logger,
  work: (targets: AccessTargets) => Promise<T>,
): Promise<T> {
  // Users in files are taken over or added to when they are read.
  const scratch = await mkdtemp(join(tmpdir(), 'hubbub-auth-'))
  const opened: { close(): unknown }[] = []
  try {
    if (existsSync(join(dataDir, 'authn')))
      await cp(join(dataDir, 'authn'), join(scratch, 'authn'), { recursive: true })
    const users = kept === undefined ? undefined : await UserTable.load(kept, log)
    const surroundings = { log, configDir }
    const authn = await Authn.create(authnConfigOf(config), {
      ...surroundings,
      dataDir: scratch,
      users,
      readAcl: parseAcl,
    })
    opened.push(authn)
    const rules = kept === undefined ? undefined : await RuleTable.load(kept, log)
    const authz = await Authz.create(config.authorization, { ...surroundings, now: Date.now, rules })
    opened.push(authz)
    const bans = new Bans({
      hub: { client: () => undefined, kick: () => false },
      ...surroundings,
      now: Date.now,
      gateways: [],
      records: kept === undefined ? undefined : new BanRecords(kept.table('bans')),
    })
    opened.push(bans)
    await bans.load()
    await bans.update(config.banned)
    return await work({ config, authn, authz, bans, log })
  } finally {
    for (const one of opened) await one.close()
    await rm(scratch, { recursive: true, force: true })
  }
}

/** What is stored, and what is changed from now on in memory only. */
function readOnly(durable: DurableStore): Kept {
  const table = (name: Parameters<DurableStore['table']>[0]): RecordTable => ({
    load: () => durable.table(name).load(),
    put() {},
    delete() {},
  })
  return { table, unsafe: undefined }
}
