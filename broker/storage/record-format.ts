import { BrokerError, messageOf } from '../../model/errors.ts'
import type { Logger } from '../../model/log.ts'
import { recordKey } from './record-key.ts'
import type { RecordStore, RecordWrite } from './record-store.ts'

/** Of what this build writes. Records have versions of their own: this one counts what concerns all of them. */
export const FORMAT_VERSION = 1

const FORMAT_NAME = 'hubbub'
const FORMAT_ID = 'format'

/** Brings a store one version on. It may be interrupted and begun again. */
export interface Migration {
  /** The version it starts from; afterwards it is the next one. */
  readonly from: number
  migrate(records: RecordStore): Promise<void>
}

/** One for each version before `FORMAT_VERSION` that is still understood. */
export const MIGRATIONS: readonly Migration[] = []

interface Format {
  readonly format: string
  readonly version: number
}

/**
 * Makes sure that the records are in the format of this build: a new store is marked, an older one migrated.
 * @throws BrokerError CONFIG_INVALID for what a newer build or something else has written
 */
export async function openFormat(
  records: RecordStore,
  log: Logger,
  current = FORMAT_VERSION,
  migrations = MIGRATIONS,
): Promise<void> {
  const found = await readFormat(records)
  if (found === undefined) {
    // Without what got lost there may be no mark, and still records that are worth keeping: each says its version.
    if (!records.wasRepaired && !(await records.isEmpty()))
      throw refused(records, 'of something else', current)
    return mark(records, current)
  }
  if (found.format !== FORMAT_NAME || !Number.isInteger(found.version)) {
    throw refused(records, `'${String(found.format)}' ${String(found.version)}`, current)
  }
  if (found.version > current) throw refused(records, `version ${found.version}, a newer one`, current)
  for (let { version } = found; version < current; version++) {
    const migration = migrations.find(({ from }) => from === version)
    if (migration === undefined) throw refused(records, `version ${version}, which is too old`, current)
    log.info({ store: records.place, from: version, to: version + 1 }, 'storage is migrated')
    await migration.migrate(records)
    await mark(records, version + 1)
  }
}

function refused({ place }: RecordStore, found: string, current: number): BrokerError {
  return new BrokerError(
    'CONFIG_INVALID',
    `storage ${place} is ${found}: this build reads version ${current} of its own format. ` +
      'Use the build that wrote it, or another data directory',
  )
}

async function readFormat(records: RecordStore): Promise<Format | undefined> {
  for await (const chunk of records.scan('meta')) {
    for (const { id, value } of chunk) {
      if (id !== FORMAT_ID) continue
      try {
        return JSON.parse(value.toString()) as Format
      } catch (error) {
        return { format: messageOf(error), version: Number.NaN }
      }
    }
  }
  return undefined
}

async function mark(records: RecordStore, version: number): Promise<void> {
  const format: Format = { format: FORMAT_NAME, version }
  const write: RecordWrite = {
    key: recordKey('meta', '', FORMAT_ID),
    table: 'meta',
    owner: '',
    id: FORMAT_ID,
    value: Buffer.from(JSON.stringify(format)),
  }
  await records.commit([write])
}
