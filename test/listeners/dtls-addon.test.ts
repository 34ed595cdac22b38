import { execFile } from 'node:child_process'
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { requireService, skipNote } from '../support/services.ts'

const run = promisify(execFile)
const ADDON = join(import.meta.dirname, '..', '..', 'listeners', 'dtls', 'addon')
const openssl = requireService('openssl')

test.skipIf(openssl.skip)(`the addon passes its own tests${skipNote(openssl)}`, async () => {
  const { stdout } = await run(process.execPath, [
    '--test',
    '--test-reporter=tap',
    join(ADDON, 'test', 'addon.test.mjs'),
  ])
  expect(stdout).toMatch(/# fail 0/)
})

test('where no binary fits and none can be built, the installation says so and succeeds', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'hubbub-dtls-'))
  t.onTestFinished(() => rmSync(folder, { recursive: true }))
  cpSync(join(ADDON, 'lib'), join(folder, 'lib'), { recursive: true })
  const noGyp = { ...process.env, npm_config_node_gyp: join(folder, 'no-gyp.js') }
  const { stderr } = await run(process.execPath, [join(folder, 'lib', 'install.cjs')], { env: noGyp })
  expect(stderr).toContain('no DTLS listeners here')
  const load = run(process.execPath, ['-e', `require(${JSON.stringify(folder)} + '/lib/index.cjs')`])
  await expect(load).rejects.toThrow(/DTLS is not available for .*: there is no .*build/)
})
