/** What operators are shown about one client. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { statsOf } from '../../broker/client-stats.ts'
import type { Hub } from '../../broker/hub.ts'
import { connected, publish as publishBytes, subscriber } from './mqtt/raw-peer.ts'
import { connect, HUB_OPTIONS, publish, startHub, subscription } from './support.ts'

const KEPT = { cleanStart: false, expiryIntervalMs: 60_000 }

let hub: Hub
beforeEach(async () => {
  hub = await startHub({
    maxSubscriptions: 7,
    session: { ...HUB_OPTIONS.session, maxInflight: 2, maxQueueLength: 1 },
  })
})
afterEach(() => hub.stop())

function statsNow(clientId: string) {
  const client = hub.client(clientId)
  return client === undefined ? undefined : statsOf(client, hub.limitsOf(client.info))
}

test('what waits and what was lost is counted by the names of EMQX', async () => {
  const { client } = await connect(hub, 'sub')
  const pub = await connect(hub, 'pub')
  await client.subscribe([subscription('t', 1)])
  for (let i = 0; i < 5; i++) await publish(pub, 't', 'x', 1)
  expect(statsNow('sub')).toEqual({
    recv_msg: 0,
    send_msg: 2,
    'send_msg.dropped': 2,
    subscriptions_cnt: 1,
    subscriptions_max: 7,
    inflight_cnt: 2,
    inflight_max: 2,
    mqueue_len: 1,
    mqueue_max: 1,
    mqueue_dropped: 2,
    awaiting_rel_cnt: 0,
  })
  expect(statsNow('pub')).toMatchObject({ recv_msg: 5, send_msg: 0, subscriptions_cnt: 0 })
})

test('a message that is lost for another reason than lack of room is not one of the queue', async () => {
  const sub = await connect(hub, 'sub')
  sub.receiver.maxPayloadBytes = 1
  await sub.client.subscribe([subscription('t')])
  await publish(sub, 't', 'long')
  expect(statsNow('sub')).toMatchObject({ send_msg: 0, 'send_msg.dropped': 1, mqueue_dropped: 0 })
})

test("messages are those of the connection, what waits is the session's", async () => {
  const first = await connect(hub, 'sub', KEPT)
  const pub = await connect(hub, 'pub')
  await first.client.subscribe([subscription('t', 1)])
  await publish(first, 't', 'sent', 1)
  first.client.close('tcp_closed')
  expect(statsNow('sub')).toBeUndefined()
  for (const text of ['lost', 'waits']) await publish(pub, 't', text, 1)
  await connect(hub, 'sub', KEPT)
  // The one in flight is sent again.
  expect(statsNow('sub')).toMatchObject({
    recv_msg: 0,
    send_msg: 2,
    'send_msg.dropped': 0,
    inflight_cnt: 2,
    mqueue_len: 0,
    mqueue_dropped: 1,
  })
})

test('no limit is 0, and the smaller window counts', async () => {
  const session = { ...HUB_OPTIONS.session, maxQueueLength: Number.POSITIVE_INFINITY }
  hub.update({ ...HUB_OPTIONS, session, maxSubscriptions: Number.POSITIVE_INFINITY })
  await connect(hub, 'sub', { receiveMaximum: 3 })
  expect(statsNow('sub')).toMatchObject({ subscriptions_max: 0, mqueue_max: 0, inflight_max: 3 })
})

test('an MQTT client has the bytes of its connection, and its QoS 2 messages that wait for PUBREL', () => {
  const sub = subscriber(hub, 't')
  const pub = connected(hub, 5, { id: 'pub' })
  const before = pub.transport.bytesReceived
  const bytes = publishBytes('4', 't', 'hi', 1)
  pub.send(bytes)
  expect(pub.said()).toEqual(['pubrec 1'])
  expect(sub.said()).toEqual(['publish t=hi q0'])
  expect(statsNow('pub')).toMatchObject({
    recv_oct: before + bytes.length,
    send_oct: pub.transport.bytesSent,
    recv_msg: 1,
    awaiting_rel_cnt: 1,
  })
  pub.send('62 02 0001')
  expect(statsNow('pub')).toMatchObject({ awaiting_rel_cnt: 0 })
  expect(statsNow('sub')).toMatchObject({ recv_msg: 0, send_msg: 1 })
})

test('there are none of a client whose way in keeps them to itself, and no PUBREL of other protocols', async () => {
  await connect(hub, 'quiet', { hasStats: false })
  expect(statsNow('quiet')).toBeUndefined()
  await connect(hub, 'other', {}, { protocol: 'nats', gateway: 'nats' })
  expect(statsNow('other')).not.toHaveProperty('awaiting_rel_cnt')
})
