import { chmodSync, lstatSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { BrokerError } from '../model/errors.ts'
import { fitsSocket, pipeName, pointerPath, readPointer, socketPath } from './client/address.ts'

const OWNER_ONLY = 0o600

/** An address that a server is bound to. */
export interface BoundSocket {
  readonly address: string
  /** Takes away what the server does not take away itself. */
  release(): void
}

/**
 * Binds a server where only this user can reach it. What a broker that was killed has left behind is replaced.
 * @throws BrokerError LISTEN_FAILED if a broker that runs is there; other errors are the system's
 */
export async function bindSocket(server: Server, dataDir: string): Promise<BoundSocket> {
  if (process.platform === 'win32') return bound(server, pipeName(dataDir), () => {})
  mkdirSync(dataDir, { recursive: true, mode: 0o700 })
  const path = socketPath(dataDir)
  if (fitsSocket(path)) {
    await clear(path, dataDir)
    return bound(server, path, () => {})
  }
  const former = readPointer(dataDir)
  if (former !== undefined) await clear(former, dataDir)
  const directory = mkdtempSync(join(tmpdir(), 'hubbub-'))
  const release = () => {
    rmSync(directory, { recursive: true, force: true })
    rmSync(pointerPath(dataDir), { force: true })
  }
  const short = join(directory, 'hubbub.sock')
  try {
    const socket = await bound(server, short, release)
    writeFileSync(pointerPath(dataDir), `${short}\n`, { mode: OWNER_ONLY })
    return socket
  } catch (error) {
    release()
    throw error
  }
}

function bound(server: Server, address: string, release: () => void): Promise<BoundSocket> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(address, () => {
      server.off('error', reject)
      resolve({ address, release })
    })
    // In the same turn in which it was made, so before anybody is accepted.
    if (server.listening && process.platform !== 'win32') chmodSync(address, OWNER_ONLY)
  })
}

/** Takes away the socket of a process that is gone. */
async function clear(path: string, dataDir: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (found === undefined) return
  if (!found.isSocket()) throw new Error(`${path} is there and no socket`)
  if (await answers(path)) {
    throw new BrokerError('LISTEN_FAILED', `another broker is running with the data directory ${dataDir}`)
  }
  rmSync(path)
  // A directory that was made for it alone.
  if (path !== socketPath(dataDir)) rmSync(dirname(path), { recursive: true, force: true })
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') resolve(false)
      else reject(error)
    })
  })
}
