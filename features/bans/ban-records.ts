/** Bans in the storage: `<kind> <who>` and the rest as JSON. */
import type { RecordTable } from '../../broker/storage/storage.ts'
import { BAN_KINDS, type Ban, type BanKind, type CheckedBan, checkBan } from './ban.ts'

export class BanRecords {
  readonly #table: RecordTable

  constructor(table: RecordTable) {
    this.#table = table
  }

  put({ kind, who, by, reason, atMs, untilMs }: Ban): void {
    // JSON has no Infinity.
    const until = untilMs === Number.POSITIVE_INFINITY ? {} : { untilMs }
    this.#table.put(`${kind} ${who}`, Buffer.from(JSON.stringify({ by, reason, atMs, ...until })))
  }

  delete(kind: BanKind, who: string): void {
    this.#table.delete(`${kind} ${who}`)
  }

  /** @yields the key of what means nothing to this version: it is left where it is */
  async *load(): AsyncGenerator<CheckedBan | string> {
    for await (const [key, value] of this.#table.load()) {
      yield read(key, value) ?? key
    }
  }
}

function read(key: string, value: Uint8Array): CheckedBan | undefined {
  const space = key.indexOf(' ')
  const kind = BAN_KINDS.find((one) => one === key.slice(0, space))
  if (kind === undefined) return undefined
  try {
    const ban = JSON.parse(Buffer.from(value).toString()) as Omit<Ban, 'kind' | 'who'>
    return checkBan({ ...ban, kind, who: key.slice(space + 1) }, ban.atMs)
  } catch {
    return undefined
  }
}
