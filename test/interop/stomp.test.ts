/** STOMP libraries over each transport. */
import { connect } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { startBroker } from '../support/broker.ts'
import { Inbox, within } from '../support/inbox.ts'
import { connectMqtt, TRANSPORTS } from './mqtt-peer.ts'
import { connectStomp } from './stomp-peer.ts'

for (const via of TRANSPORTS) {
  test(`STOMP over ${via}: what one client sends another one gets, receipts included`, async () => {
    const broker = await startBroker()
    const till = await connectStomp(broker, { via })
    const office = await connectStomp(broker, { via })
    expect(till.library.connected).toMatchObject({ version: '1.2', 'heart-beat': '0,0' })
    expect(till.library.connected.session).not.toBe(office.library.connected.session)
    const id = await office.subscribe('sales/#')

    const large = 'ä'.repeat(30_000)
    await till.send('sales/1', '12.50', { 'content-type': 'text/csv', currency: 'a:b\nc' })
    await till.send('sales/2', 'two\nlines\0and a NUL')
    await till.send('sales/3', large)

    const first = await office.next()
    expect(first.body).toBe('12.50')
    expect(first.headers).toMatchObject({
      destination: 'sales/1',
      subscription: id,
      'content-type': 'text/csv',
      currency: 'a:b\nc',
    })
    expect(first.headers['message-id']).not.toBe('')
    expect(await office.bodies(2)).toEqual(['two\nlines\0and a NUL', large])
    await till.library.end()
    await office.library.end()
    expect(broker.hub.clientCount).toBe(0)
  })

  test(`STOMP over ${via}: frames of a transaction take effect at COMMIT, or never`, async () => {
    const broker = await startBroker()
    const shop = await connectMqtt(broker)
    await shop.subscribe('orders')
    const client = await connectStomp(broker, { via })
    await client.transaction('BEGIN', 'tx1')
    await client.transaction('BEGIN', 'tx2')
    await client.sendIn('tx1', 'orders', 'one')
    await client.sendIn('tx2', 'orders', 'never')
    await client.sendIn('tx1', 'orders', 'two')
    await client.send('orders', 'at once')
    expect(await shop.payloads(1)).toEqual(['at once'])
    await shop.expectSilence()
    await client.transaction('ABORT', 'tx2')
    await client.transaction('COMMIT', 'tx1')
    expect(await shop.payloads(2)).toEqual(['one', 'two'])
    await shop.expectSilence()
  })

  test(`STOMP over ${via}: with ack:client one ACK answers all messages before it`, async () => {
    const broker = await startBroker({ gateway: { stomp: { max_unacked: 2 } } })
    const client = await connectStomp(broker, { via })
    await client.subscribe('jobs', 'client')
    const publisher = await connectMqtt(broker)
    for (const job of ['1', '2', '3', '4', '5']) await publisher.publish('jobs', job, { qos: 1 })
    const [, second] = await client.messages.take(2)
    await client.expectSilence()
    if (second !== undefined) await client.answer('ack', second)
    expect(await client.bodies(2)).toEqual(['3', '4'])
    await client.expectSilence()
  })

  test(`STOMP over ${via}: with ack:client-individual each message has its own ACK or NACK`, async () => {
    const broker = await startBroker({ gateway: { stomp: { max_unacked: 2 } } })
    const client = await connectStomp(broker, { via })
    await client.subscribe('jobs', 'client-individual')
    const publisher = await connectMqtt(broker)
    for (const job of ['1', '2', '3', '4', '5']) await publisher.publish('jobs', job, { qos: 1 })
    const [first, second] = await client.messages.take(2)
    if (second !== undefined) await client.answer('ack', second)
    expect(await client.bodies(1)).toEqual(['3'])
    await client.expectSilence()
    if (first !== undefined) await client.answer('nack', first)
    expect(await client.bodies(1)).toEqual(['4'])
    await client.expectSilence()
  })

  test(`STOMP over ${via}: heart-beats keep a quiet connection open in both directions`, async () => {
    const broker = await startBroker()
    const quiet = await connectStomp(broker, { via, heartbeat: [100, 100] })
    expect(quiet.library.connected['heart-beat']).toBe('100,100')
    // A peer that promised the same and breaks the promise is cut off after two intervals: by then the quiet one is still there.
    const silent = await connectSilent(broker.stompPort)
    await silent.closed
    const again = await connectSilent(broker.stompPort)
    await again.closed
    await quiet.sync()
    expect(broker.hub.clientCount).toBe(1)
  })
}

test('a peer that promised heart-beats gets them, and is closed when it sends none', async () => {
  const broker = await startBroker()
  const silent = await connectSilent(broker.stompPort)
  expect(await silent.beats.take(2)).toEqual(['\n', '\n'])
  await silent.closed
  expect(broker.hub.clientCount).toBe(0)
})

test('a frame that makes no sense is answered with an ERROR that says why', async () => {
  const broker = await startBroker()
  const wrong = await connectStomp(broker)
  wrong.library.frame('SEND', { destination: 'not/a/+/topic' }, 'x')
  expect(await wrong.gone()).toBe('Invalid destination not/a/+/topic')
  const overWs = await connectStomp(broker, { via: 'ws' })
  overWs.library.frame('SUBSCRIBE', { destination: 'd', id: 'i', ack: 'sometimes' })
  expect(await overWs.gone()).toBe('Invalid ack mode sometimes')
})

/** Says CONNECT, promises a heart-beat every 100 ms, and then nothing. */
async function connectSilent(port: number): Promise<{ beats: Inbox<string>; closed: Promise<void> }> {
  const socket = connect(port, '127.0.0.1')
  onTestFinished(() => void socket.destroy())
  const beats = new Inbox<string>('a heart-beat')
  const closed = new Promise<void>((resolve) => socket.on('close', () => resolve()))
  await new Promise<void>((resolve) => {
    socket.setEncoding('utf8').on('data', (text: string) => {
      if (text.startsWith('CONNECTED')) resolve()
      else beats.put(text)
    })
    socket.write('CONNECT\naccept-version:1.2\nhost:/\nheart-beat:100,100\n\n\0')
  })
  return { beats, closed: within(closed, 'the end of a silent connection') }
}
