import assert from 'node:assert'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, test } from 'vitest'
import { LevelStorage } from '../../../broker/storage/storage-level.ts'
import { silentLogger } from '../../../model/log.ts'
import { durableContract } from './durable-contract.ts'

const { default: abstractSuite } = await import('aedes-persistence/abstract.js')

let root = ''
let count = 0
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'hubbub-level-'))
})
afterAll(() => rm(root, { recursive: true, force: true }))

const newDirectory = () => join(root, String(count++), 'store')

describe("Aedes' contract: level", () => {
  const context = { assert, diagnostic() {}, plan() {} }
  abstractSuite({
    test: (name: string, run: (t: typeof context) => Promise<void>) => test(name, () => run(context)),
    persistence: () => new LevelStorage(newDirectory(), silentLogger),
    testAsync: true,
  })
})

durableContract('level', async () => {
  const directory = newDirectory()
  return () => new LevelStorage(directory, silentLogger)
})
