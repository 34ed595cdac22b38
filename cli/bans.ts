import type { DurableStore } from '../broker/storage/storage.ts'
import type { ControlClient } from '../control/client/client.ts'
import type { BanEntry, BanOutcome, BanToAdd } from '../control/client/protocol.ts'
import { type Ban, checkBan, readBanKind } from '../features/bans/ban.ts'
import { BanRecords } from '../features/bans/ban-records.ts'
import { BanTable } from '../features/bans/table.ts'
import type { Logger } from '../model/log.ts'

/** Bans, as the commands need them. */
export interface BanList {
  list(): AsyncIterable<BanEntry>
  add(ban: BanToAdd): Promise<BanOutcome>
  /** False if there is no such ban. */
  delete(as: string, who: string): Promise<boolean>
}

/** Those of a broker that runs. */
export function remoteBans(client: ControlClient): BanList {
  return {
    list: () => client.list('bans.list', {}),
    add: async (ban) => (await client.call('bans.add', ban)).outcome,
    delete: async (as, who) => (await client.call('bans.delete', { as, who })).deleted,
  }
}

/** Those in a storage. */
export async function storedBans(durable: DurableStore, maxEntries: number, log: Logger): Promise<BanList> {
  const table = new BanTable(Date.now, new BanRecords(durable.table('bans')))
  await table.load(log)
  return {
    async *list() {
      for (const ban of table) yield entryOf(ban)
    },
    async add({ as, who, by, reason, untilMs = Number.POSITIVE_INFINITY }) {
      const checked = checkBan({ kind: readBanKind(as), who, by, reason, untilMs }, Date.now())
      const { ban } = checked
      if (ban.untilMs <= Date.now()) return 'past'
      if (table.get(ban.kind, ban.who) !== undefined) return 'exists'
      if (table.size >= maxEntries) return 'full'
      table.set(checked)
      return 'added'
    },
    delete: async (as, who) => table.delete(readBanKind(as), who),
  }
}

function entryOf({ kind, who, by, reason, atMs, untilMs }: Ban): BanEntry {
  return { as: kind, who, by, reason, atMs, untilMs: Number.isFinite(untilMs) ? untilMs : undefined }
}
