/** Kills a process that writes, again and again, and compares what is there with what it was told to be safe. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { LevelStorage } from '../../broker/storage/storage-level.ts'
import { silentLogger } from '../../model/log.ts'

const ROUNDS = 5
const EVENTS_BEFORE_KILL = 3000

/** What a writer was told. */
class Ledger {
  readonly safe = new Set<string>()
  readonly dropping = new Set<string>()
  readonly dropped = new Set<string>()

  read(line: string): void {
    const id = line.slice(1)
    if (line.startsWith('+')) this.safe.add(id)
    if (line.startsWith('~')) this.dropping.add(id)
    if (line.startsWith('-')) this.dropped.add(id)
  }
}

/** Runs a writer until it has reported enough, and kills it in the middle of its work. */
async function writeAndDie(directory: string, round: number, ledger: Ledger): Promise<void> {
  const script = join(import.meta.dirname, 'storage-writer.mjs')
  const child = spawn(process.execPath, [script, directory, String(round)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let text = ''
  let lines = 0
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
    lines += chunk.split('\n').length - 1
    if (lines >= EVENTS_BEFORE_KILL * (1 + round / 10)) child.kill('SIGKILL')
  })
  const [, signal] = (await once(child, 'close')) as [number | null, string | null]
  expect(signal).toBe('SIGKILL')
  for (const line of text.split('\n').slice(0, -1)) ledger.read(line)
}

test('kill -9 while messages are written loses nothing that was said to be safe', {
  timeout: 60_000,
}, async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'hubbub-kill-'))
  t.onTestFinished(() => rm(root, { recursive: true, force: true }))
  const directory = join(root, 'store')
  const ledger = new Ledger()
  for (let round = 0; round < ROUNDS; round++) {
    await writeAndDie(directory, round, ledger)
    const storage = new LevelStorage(directory, silentLogger)
    await storage.setup({ id: 'node' })
    const present = new Set<string>()
    for await (const { record, deliveries } of storage.durable.sessions.load()) {
      for (const { message } of deliveries) {
        const text = Buffer.from(message.payload).toString()
        present.add(JSON.stringify([record.client.key, text.replace(/\.+$/, '')]))
      }
    }
    await storage.destroy()
    const lost = [...ledger.safe].filter((id) => !present.has(id) && !ledger.dropping.has(id))
    const undead = [...ledger.dropped].filter((id) => present.has(id))
    expect({ round, lost, undead }).toEqual({ round, lost: [], undead: [] })
    expect(ledger.safe.size).toBeGreaterThan(EVENTS_BEFORE_KILL / 3)
  }
})
