/**
 * Where the control socket of a broker is: `hubbub.sock` in its data directory. A path that is too long for a socket
 * is replaced by a short one below the directory for temporary files, and `hubbub.sock.path` says which. On Windows
 * it is a named pipe.
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'

/** `sun_path` has 104 bytes on some systems, 108 on others, with a NUL at its end. */
const MAX_PATH_BYTES = 103

export function socketPath(dataDir: string): string {
  return join(resolve(dataDir), 'hubbub.sock')
}

/** The file that names the socket where `socketPath` is too long. */
export function pointerPath(dataDir: string): string {
  return `${socketPath(dataDir)}.path`
}

export function fitsSocket(path: string): boolean {
  return Buffer.byteLength(path) <= MAX_PATH_BYTES
}

export function pipeName(dataDir: string): string {
  const hash = createHash('sha256').update(resolve(dataDir).toLowerCase()).digest('hex').slice(0, 32)
  return String.raw`\\.\pipe\hubbub-${hash}`
}

/** Where a broker with this data directory listens if it runs; undefined: none does. */
export function findAddress(dataDir: string): string | undefined {
  if (process.platform === 'win32') return pipeName(dataDir)
  const path = socketPath(dataDir)
  return fitsSocket(path) ? path : readPointer(dataDir)
}

export function readPointer(dataDir: string): string | undefined {
  try {
    return readFileSync(pointerPath(dataDir), 'utf8').trim() || undefined
  } catch {
    return undefined
  }
}
