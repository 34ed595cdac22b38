/** Wills that a client may change, and those that belong to its session. */
import { expect, onTestFinished, test } from 'vitest'
import type { Will } from '../../broker/broker.ts'
import type { Hub } from '../../broker/hub.ts'
import type { DisconnectReason } from '../../model/disconnect-reason.ts'
import { connect, startHub, subscription } from './support.ts'

const KEPT = { cleanStart: false, expiryIntervalMs: 60_000 }

function will(payload: string): Will {
  return {
    topic: 'w',
    payload: Buffer.from(payload),
    qos: 0,
    retain: false,
    delaySeconds: 0,
    properties: undefined,
  }
}

async function start() {
  const hub = await startHub()
  onTestFinished(() => hub.stop())
  const watcher = await connect(hub, 'watcher')
  await watcher.client.subscribe([subscription('w')])
  return { hub, published: () => watcher.receiver.texts }
}

test('a will is replaced, and taken back', async () => {
  const { hub, published } = await start()
  const first = await connect(hub, 'a', { will: will('old') })
  expect(first.client.setWill(will('new'))).toBe(true)
  first.client.close('tcp_closed')
  expect(published()).toEqual(['w=new'])
  const second = await connect(hub, 'a', { will: will('old') })
  expect(second.client.setWill(undefined)).toBe(true)
  second.client.close('tcp_closed')
  expect(second.client.setWill(will('late'))).toBe(false)
  expect(published()).toEqual(['w=new'])
})

test.each<DisconnectReason>(['normal', 'takenover'])(
  'a will of a session is left to the next connection (%s), and published once it is lost',
  async (reason) => {
    const { hub, published } = await start()
    const { client } = await connect(hub, 'a', { ...KEPT, keepsWill: true, will: will('x') })
    client.close(reason)
    const next = await connect(hub, 'a', { ...KEPT, keepsWill: true })
    expect(next.client.will).toEqual(will('x'))
    expect(published()).toEqual([])
    next.client.close('keepalive_timeout')
    expect(published()).toEqual(['w=x'])
    expect((await connect(hub, 'a', { ...KEPT, keepsWill: true })).client.will).toBeUndefined()
  },
)

test.each<[string, (hub: Hub) => unknown]>([
  ['is kicked', (hub) => hub.kick('a')],
  ['is begun anew', (hub) => connect(hub, 'a', { ...KEPT, cleanStart: true, keepsWill: true })],
])('a will of a session is gone without being published when the session %s', async (_how, end) => {
  const { hub, published } = await start()
  await connect(hub, 'a', { ...KEPT, keepsWill: true, will: will('x') })
  await end(hub)
  expect((await connect(hub, 'a', { ...KEPT, keepsWill: true })).client.will).toBeUndefined()
  expect(published()).toEqual([])
})
