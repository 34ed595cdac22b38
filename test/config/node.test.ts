/** Options of `node` that only a whole broker shows. */
import { connectAsync } from 'mqtt'
import { expect, onTestFinished, test, vi } from 'vitest'
import { loadConfig } from '../../config/load.ts'
import { configSchema } from '../../config/schema.ts'
import { Moderation } from '../../listeners/moderation.ts'
import { Hubbub } from '../../main.ts'
import { createLog } from '../../observability/log.ts'
import { LogBook } from '../support/log-book.ts'
import { temporaryDirectory } from './sample.ts'

/** A broker that has answered a login. */
async function serve(node: object): Promise<void> {
  const dir = temporaryDirectory()
  const listeners = { tcp: { default: { bind: '127.0.0.1:0' } } }
  const overrides = { node: { data_dir: dir, ...node }, listeners }
  const { config } = loadConfig({ schema: configSchema(), file: undefined, env: {}, overrides })
  const log = new LogBook()
  const stream = { write: (line: string) => log.write(line) }
  const broker = await Hubbub.start(config, dir, createLog({ level: 'info', format: 'json', stream }))
  onTestFinished(() => broker.stop())
  const port = log.portOf('tcp:default')
  const client = await connectAsync({ host: '127.0.0.1', port, reconnectPeriod: 0 })
  onTestFinished(() => void client.end(true))
}

test.each([
  ['looks after pauses', {}, true],
  ['makes none', { pause_under_load: false }, false],
])('a broker %s with node: %o', async (_, node, isTold) => {
  const turnEnded = vi.spyOn(Moderation.prototype, 'turnEnded')
  onTestFinished(() => turnEnded.mockRestore())
  await serve(node)
  expect(turnEnded.mock.calls.length > 0).toBe(isTold)
})
