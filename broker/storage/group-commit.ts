import { BrokerError, messageOf } from '../../model/errors.ts'
import type { Logger } from '../../model/log.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import { recordKey } from './record-key.ts'
import type { RecordKind, RecordStore, RecordWrite } from './record-store.ts'

/** A value that is encoded when its batch is written, as it is then. */
export interface Encodable {
  encode(): Uint8Array
}

/** A batch ends with the turn of the event loop in which it reaches one of these; what is beyond goes with the next. */
const MAX_BATCH_WRITES = 1024 // a few ms of encoding; a sync for so many costs each one next to nothing
const MAX_BATCH_BYTES = 1024 * 1024

const FIRST_RETRY_MS = 100
const MAX_RETRY_MS = 5000

/** What a full disk, an exhausted quota or a server out of memory say of themselves. */
const FULL = /ENOSPC|EDQUOT|no space left|quota exceeded|maxmemory|out of memory|OOM command/i

/** A change that waits to be written. */
interface Note extends RecordWrite {
  value: Uint8Array | undefined
  /** What `value` comes from, until it has been encoded. */
  source: Encodable | undefined
  /** Nothing can be in the store under this key: taken away before it is written, it never needs to be. */
  isNew: boolean
  /** The turn of the event loop in which it was noted last. The notes of a generation are in this order. */
  turn: number
}

/** What is noted while one batch is written, with the promise of those who wait for it. */
class Generation {
  notes = new Map<string, Note>()
  settled: { promise: Promise<void>; resolve: () => void; reject: (error: BrokerError) => void } | undefined
  /** Why one of them will never be written. */
  bug: BrokerError | undefined

  get isEmpty(): boolean {
    return this.notes.size === 0 && this.settled === undefined
  }

  get promise(): Promise<void> {
    if (this.settled === undefined) {
      let resolve: () => void = () => {}
      let reject: (error: BrokerError) => void = () => {}
      const promise = new Promise<void>((yes, no) => {
        resolve = yes
        reject = no
      })
      promise.catch(() => {}) // who waits for it has a branch of its own
      this.settled = { promise, resolve, reject }
    }
    return this.settled.promise
  }
}

/**
 * Collects the changes of a turn of the event loop and writes them together: a sync costs the same for one and
 * for thousands. What is noted in one turn is never torn apart: a message and the packet id it came with are both in the
 * store or neither is. While a batch is written the next one collects. A batch that could not be written stays noted,
 * and is tried again with what has been noted since.
 */
export class GroupCommit {
  readonly #records: RecordStore
  readonly #log: Logger
  #collecting = new Generation()
  #writing: Generation | undefined
  #running: Promise<void> | undefined
  #next: NodeJS.Immediate | undefined
  #retry: NodeJS.Timeout | undefined
  #failures = 0
  #refusal: ReasonCode | undefined
  #isClosed = false
  /** Something was noted that will never be written. */
  #isLost = false
  #turn = 0
  #isTurnOpen = false

  constructor(records: RecordStore, log: Logger) {
    this.#records = records
    this.#log = log
  }

  /** See `DurableStore.unsafe`. */
  get unsafe(): Promise<void> | undefined {
    if (this.#isLost) return new Promise(() => {}) // nobody may be told that it is safe
    if (!this.#collecting.isEmpty) return this.#collecting.promise
    return this.#writing?.promise
  }

  /** See `DurableStore.refusal`. */
  get refusal(): ReasonCode | undefined {
    return this.#refusal
  }

  /** @param isNew - there is nothing in the store under this key */
  put(table: RecordKind, owner: string, id: string, value: Uint8Array | Encodable, isNew = false): void {
    if (this.#isClosed) return this.#lose()
    const key = recordKey(table, owner, id)
    const bytes = value instanceof Uint8Array ? value : undefined
    const source = value instanceof Uint8Array ? undefined : value
    const noted = this.#collecting.notes.get(key)
    if (noted === undefined) {
      this.#note({ key, table, owner, id, value: bytes, source, isNew, turn: 0 })
    } else {
      noted.value = bytes
      noted.source = source
      if (noted.turn !== this.#turn) this.#note(noted)
    }
  }

  delete(table: RecordKind, owner: string, id: string): void {
    if (this.#isClosed) return this.#lose()
    const key = recordKey(table, owner, id)
    const noted = this.#collecting.notes.get(key)
    if (noted === undefined) {
      this.#note({
        key,
        table,
        owner,
        id,
        value: undefined,
        source: undefined,
        isNew: false,
        turn: 0,
      })
    } else if (noted.isNew) {
      this.#collecting.notes.delete(key)
    } else {
      noted.value = undefined
      noted.source = undefined
      if (noted.turn !== this.#turn) this.#note(noted)
    }
  }

  /** Writes what is left, with one last try if that fails. Safe to call twice. */
  async close(): Promise<void> {
    this.#isClosed = true
    await this.#running
    this.#cancel()
    while (!this.#collecting.isEmpty && !this.#isLost) {
      const failures = this.#failures
      await this.#run()
      this.#cancel()
      if (this.#failures > failures) this.#giveUp()
    }
  }

  /** Puts it behind all others. */
  #note(note: Note): void {
    const { notes } = this.#collecting
    this.#openTurn()
    note.turn = this.#turn
    notes.delete(note.key)
    notes.set(note.key, note)
    this.#schedule()
  }

  #openTurn(): void {
    if (this.#isTurnOpen) return
    this.#isTurnOpen = true
    setImmediate(() => {
      this.#isTurnOpen = false
      this.#turn++
    })
  }

  #lose(): void {
    this.#isLost = true
  }

  #giveUp(): void {
    const { size } = this.#collecting.notes
    this.#log.error({ store: this.#records.place, changes: size }, 'storage closed, changes were not written')
    this.#lose()
  }

  #cancel(): void {
    clearImmediate(this.#next)
    clearTimeout(this.#retry)
    this.#next = undefined
    this.#retry = undefined
  }

  #schedule(): void {
    if (this.#next !== undefined || this.#retry !== undefined || this.#running !== undefined) return
    this.#next = setImmediate(() => void this.#run())
  }

  /** Writes what has been collected. Never rejects. */
  #run(): Promise<void> {
    this.#cancel()
    this.#running = this.#write().finally(() => {
      this.#running = undefined
      if (!this.#collecting.isEmpty && !this.#isClosed) this.#schedule()
    })
    return this.#running
  }

  async #write(): Promise<void> {
    const writing = this.#collecting
    this.#collecting = new Generation()
    this.#writing = writing
    try {
      while (writing.notes.size > 0) {
        const batch = this.#takeFrom(writing)
        if (batch.length > 0) await this.#records.commit(batch)
        for (const { key } of batch) writing.notes.delete(key)
      }
    } catch (error) {
      this.#failed(writing, error)
      return
    } finally {
      this.#writing = undefined
    }
    this.#succeeded()
    if (writing.bug === undefined) writing.settled?.resolve()
    else writing.settled?.reject(writing.bug)
  }

  /** Encodes the first notes, as many as a batch may hold, and all that belong to the last one's turn. */
  #takeFrom(writing: Generation): Note[] {
    const { notes } = writing
    const batch: Note[] = []
    let bytes = 0
    for (const note of notes.values()) {
      const isFull = batch.length >= MAX_BATCH_WRITES || bytes >= MAX_BATCH_BYTES
      if (isFull && batch.at(-1)?.turn !== note.turn) break
      const bug = note.source === undefined ? undefined : this.#encode(note)
      if (bug !== undefined) {
        writing.bug = bug
        notes.delete(note.key)
        continue
      }
      batch.push(note)
      bytes += note.key.length + (note.value?.length ?? 0)
    }
    return batch
  }

  /**
   * One record with a bug must not keep all others from being written, but nobody may be told that it was.
   * @returns the bug
   */
  #encode(note: Note): BrokerError | undefined {
    const { table, owner } = note
    try {
      note.value = note.source?.encode()
      note.source = undefined
      return undefined
    } catch (error) {
      this.#log.error({ table, owner, error }, 'a record could not be encoded')
      return new BrokerError('INTERNAL', `a record of ${table} could not be encoded`, { cause: error })
    }
  }

  #succeeded(): void {
    if (this.#failures === 0) return
    this.#log.info(
      { store: this.#records.place, failures: this.#failures },
      'storage can be written again, nothing is lost',
    )
    this.#failures = 0
    this.#refusal = undefined
  }

  #failed(writing: Generation, cause: unknown): void {
    const isFull = isFullDisk(cause)
    this.#refusal = isFull ? ReasonCode.QuotaExceeded : ReasonCode.ServerUnavailable
    if (this.#failures++ === 0) {
      this.#log.error(
        { store: this.#records.place, error: cause },
        'storage cannot be written: nothing is acknowledged until it can, writing is tried again',
      )
    }
    this.#collecting.notes = merged(writing.notes, this.#collecting.notes)
    this.#collecting.bug ??= writing.bug // who is not told now must not be told then that all is safe
    const delayMs = Math.min(FIRST_RETRY_MS * 2 ** (this.#failures - 1), MAX_RETRY_MS)
    if (!this.#isClosed) this.#retry = setTimeout(() => void this.#run(), delayMs)
    const what = isFull ? 'is full' : `cannot be written: ${messageOf(cause)}`
    writing.settled?.reject(
      new BrokerError('STORAGE_FAILED', `storage ${this.#records.place} ${what}`, { cause }),
    )
  }
}

/** What could not be written, with what has been noted since in its place. It may be in the store all the same. */
function merged(failed: Map<string, Note>, since: Map<string, Note>): Map<string, Note> {
  const all = new Map(failed)
  for (const [key, note] of since) {
    all.delete(key) // it belongs to its own turn now
    all.set(key, note)
  }
  for (const key of failed.keys()) (all.get(key) as Note).isNew = false
  return all
}

function isFullDisk(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (FULL.test(cause.message) || FULL.test(String((cause as NodeJS.ErrnoException).code))) return true
  }
  return false
}
