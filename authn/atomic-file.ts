/** Small files that survive a crash and more than one process writing them. */
import { type FileHandle, mkdir, open, rename, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { BrokerError } from '../model/errors.ts'

const OWNER_ONLY = 0o600
const LOCK_RETRY_MS = 20
const LOCK_STALE_MS = 10_000 // far longer than any write takes: its owner was killed
const LOCK_WAIT_MS = 15_000

export interface Snapshot {
  readonly text: string
  /** Differs whenever the file was replaced or changed. */
  readonly stamp: string
}

/** Text and stamp of the very same file, undefined if there is none. */
export async function readSnapshot(path: string): Promise<Snapshot | undefined> {
  const handle = await openExisting(path)
  if (handle === undefined) return undefined
  try {
    const stamp = await stampOfHandle(handle)
    return { text: await handle.readFile('utf8'), stamp }
  } finally {
    await handle.close()
  }
}

/** The stamp alone, undefined if there is no file. */
export async function stampOf(path: string): Promise<string | undefined> {
  const handle = await openExisting(path)
  try {
    return handle === undefined ? undefined : await stampOfHandle(handle)
  } finally {
    await handle?.close()
  }
}

/**
 * Replaces a file as a whole: whoever reads it, also after a crash, finds the old text or
 * the new one. Readable by its owner only. Call it under `withFileLock`: the temporary
 * name is always the same, so that crashes leave no litter.
 * @returns the new file's stamp, once text and name are on the disk
 */
export async function replaceFile(path: string, text: string): Promise<string> {
  const temporary = `${path}.tmp`
  await rm(temporary, { force: true })
  const handle = await open(temporary, 'wx', OWNER_ONLY)
  let stamp: string
  try {
    await handle.writeFile(text)
    await handle.sync()
    stamp = await stampOfHandle(handle)
  } finally {
    await handle.close()
  }
  await rename(temporary, path)
  await syncDirectory(dirname(path))
  return stamp
}

/** Runs `work` while no other process does so for the same path. @throws BrokerError BACKEND_TIMEOUT */
export async function withFileLock<T>(path: string, work: () => Promise<T>): Promise<T> {
  const lock = `${path}.lock`
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  for (let waitedMs = 0; !(await take(lock)); waitedMs += LOCK_RETRY_MS) {
    if (waitedMs >= LOCK_WAIT_MS)
      throw new BrokerError('BACKEND_TIMEOUT', `${lock} is held by another process`)
    await delay(LOCK_RETRY_MS)
  }
  try {
    return await work()
  } finally {
    await rm(lock, { force: true })
  }
}

async function take(lock: string): Promise<boolean> {
  try {
    await (await open(lock, 'wx', OWNER_ONLY)).close()
    return true
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error
  }
  // Told by age, not by process id: the other process may live in another container.
  const held = await stat(lock).catch(() => undefined)
  if (held !== undefined && Date.now() - held.mtimeMs > LOCK_STALE_MS) await rm(lock, { force: true })
  return false
}

async function openExisting(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, 'r')
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
}

/** Renaming keeps all three; ctime would not stay. */
async function stampOfHandle(handle: FileHandle): Promise<string> {
  const { ino, size, mtimeNs } = await handle.stat({ bigint: true })
  return `${ino}:${size}:${mtimeNs}`
}

/** A rename is only safe from a power cut once its directory is. */
async function syncDirectory(path: string): Promise<void> {
  if (process.platform === 'win32') return // directories cannot be opened there
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined
}
