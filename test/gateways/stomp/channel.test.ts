// biome-ignore-all lint/suspicious/noTemplateCurlyInString: placeholders as operators write them
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { Message, type MessageProperties, type QoS } from '../../../model/message.ts'
import { ReasonCode } from '../../../model/reason-codes.ts'
import { type StompBed, type StompPeer, stompBed } from '../support/stomp-peer.ts'

let bed: StompBed

beforeEach(() => {
  bed = stompBed()
})

afterEach(() => {
  vi.useRealTimers()
})

function publish(topic: string, payload: string, qos: QoS = 0, properties?: MessageProperties): void {
  bed.broker.publish(Message.of(topic, Buffer.from(payload), qos, false, properties, undefined, Date.now()))
}

function subscribe(peer: StompPeer, id: string, destination: string, ack = 'auto'): void {
  peer.send('SUBSCRIBE', { id, destination, ack })
}

/** The ERROR a peer was sent, and that it was closed. */
function lastWords(peer: StompPeer): string | undefined {
  expect(peer.isClosed).toBe(true)
  const last = peer.frames().at(-1)
  return last?.command === 'ERROR' ? last.body : undefined
}

describe('login', () => {
  test('the newest version both know is agreed, and heart-beats are promised back', () => {
    const peer = bed.peer()
    peer.send('CONNECT', {
      'accept-version': '1.0,1.1,1.2',
      host: '127.0.0.1:61613',
      login: 'guest',
      passcode: 'secret',
      'heart-beat': '1000,2000',
    })
    const session = bed.broker.client.info.clientId
    expect(peer.transport.outbox.take().toString()).toBe(
      `CONNECTED\nserver:hubbub-stomp/1.2\nversion:1.2\nheart-beat:2000,1000\nsession:${session}\n\n\0`,
    )
    const [login] = bed.broker.logins
    expect(login?.password?.toString()).toBe('secret')
    expect(login?.client).toMatchObject({
      key: `stomp\0${session}`,
      username: 'guest',
      protocol: 'stomp',
      protocolName: 'STOMP',
      protocolVersion: '1.2',
      keepAliveSeconds: 1,
      cleanStart: true,
    })
    expect(bed.broker.client.options).toEqual({ cleanStart: true, expiryIntervalMs: 0, receiveMaximum: 32 })
    expect(bed.broker.client.isStarted).toBe(true)
  })

  test.each([
    [undefined, '1.0'],
    ['1.0', '1.0'],
    ['1.1,1.0', '1.1'],
    ['1.0, 2.0', '1.0'],
    ['1.2', '1.2'],
  ])('accept-version %s gives %s', (offered, agreed) => {
    const peer = bed.peer().send('STOMP', offered === undefined ? {} : { 'accept-version': offered })
    expect(peer.frames()[0]?.headers.version).toBe(agreed)
  })

  test.each(['2.0,2.1', '0.9', ''])('accept-version "%s" is refused with the versions we know', (offered) => {
    const peer = bed.peer().send('CONNECT', { 'accept-version': offered })
    const [error] = peer.frames()
    expect(error).toMatchObject({ command: 'ERROR', headers: { version: '1.0,1.1,1.2' } })
    expect(error?.body).toBe('Login Failed: Supported protocol versions < 1.2')
    expect(peer.isClosed).toBe(true)
  })

  test('a refusal names its reason', () => {
    bed.broker.refusal = ReasonCode.BadUserNameOrPassword
    const peer = bed.peer().send('CONNECT', { 'accept-version': '1.2' })
    expect(peer.frames()[0]).toMatchObject({
      headers: { message: 'Login Failed', 'content-type': 'text/plain' },
      body: 'Login Failed: bad_username_or_password',
    })
    expect(peer.isClosed).toBe(true)
  })

  test('without login nobody is called "undefined"', () => {
    bed.peer().connect()
    expect(bed.broker.client.info.username).toBeUndefined()
    expect(bed.broker.logins[0]?.password).toBeUndefined()
    expect(bed.broker.client.info.clientId).toMatch(/^[0-9a-f]{16}$/)
  })

  test('the client id may come from a header, and a second login of it ends the first', () => {
    bed = stompBed({ clientinfo_override: { clientid: 'usp-${Packet.headers.endpoint-id}' } })
    const first = bed.peer().connect('1.2', { 'endpoint-id': 'os::1' })
    expect(bed.broker.client.info.clientId).toBe('usp-os::1')
    bed.peer().connect('1.2', { 'endpoint-id': 'os::1' })
    expect(lastWords(first)).toBe('Discarded')
    expect(bed.broker.clients[0]?.closings).toEqual(['discarded'])
  })

  test('a second CONNECT is an error', () => {
    const peer = bed.peer().connect().send('CONNECT', { 'accept-version': '1.2' })
    expect(lastWords(peer)).toBe('Already connected')
    expect(bed.broker.client.closings).toEqual(['protocol_error'])
  })

  test.each([
    'SEND',
    'SUBSCRIBE',
    'UNSUBSCRIBE',
    'ACK',
    'NACK',
    'BEGIN',
    'COMMIT',
    'ABORT',
    'DISCONNECT',
    'FOO',
  ])('%s before CONNECT is refused', (command) => {
    const peer = bed.peer()
    peer.send(command, { destination: '/q', id: '1', transaction: 't', receipt: 'r' }, 'x')
    expect(peer.isClosed).toBe(true)
    expect(peer.frames()).toMatchObject([
      { command: 'ERROR', headers: { 'receipt-id': 'r' }, body: 'Not connected' },
    ])
    expect(bed.broker.published).toEqual([])
  })

  test('frame errors before the login close without a word, afterwards with ERROR', () => {
    const headers = Object.fromEntries(Array.from({ length: 11 }, (_, i) => [`h${i}`, 'v']))
    const stranger = bed.peer().send('CONNECT', headers)
    expect(stranger.isClosed).toBe(true)
    expect(stranger.frames()).toEqual([])

    const client = bed.peer().connect().send('SEND', headers)
    expect(lastWords(client)).toBe(
      'Frame error: {too_many_headers,#{max_header_num => 10,received_headers_num => 11}}',
    )
    expect(bed.broker.client.closings).toEqual(['frame_too_large'])
  })

  test.each(['1000', 'a,b', '-1,5', '1,2,3', ''])('heart-beat "%s" is refused', (value) => {
    const peer = bed.peer().send('CONNECT', { 'accept-version': '1.2', 'heart-beat': value })
    expect(lastWords(peer)).toBe(`Invalid heart-beat: ${value}`)
  })

  test('a peer without login is closed after idle_timeout, one with login is not', () => {
    vi.useFakeTimers()
    const silent = bed.peer()
    const client = bed.peer().connect()
    vi.advanceTimersByTime(30_000)
    expect(silent.isClosed).toBe(true)
    expect(client.isClosed).toBe(false)
  })

  test('a login that is answered after the peer has gone is closed at once', async () => {
    bed.broker.isAsync = true
    const peer = bed.peer().send('CONNECT', {})
    const { signal } = bed.broker.logins[0] as { signal: AbortSignal }
    peer.transport.close()
    expect(signal.aborted).toBe(true)
    await peer.settled()
    expect(bed.broker.client.closings).toEqual(['tcp_closed'])
    expect(bed.broker.client.isStarted).toBe(false)
  })

  test('the mountpoint is filled in again with what authentication gave', () => {
    bed = stompBed({ mountpoint: '${client_attrs.tenant}/${username}/' })
    bed.broker.attributes = new Map([['tenant', 'acme']])
    bed.peer().connect('1.2', { login: 'ann' }).send('SEND', { destination: 'a' }, 'x')
    expect(bed.broker.published[0]?.topic).toBe('acme/ann/a')
  })

  test('the mountpoint of the listener wins', () => {
    bed = stompBed({ mountpoint: 'gateway/' })
    const peer = bed.peer({ mountpoint: 'listener/' }).connect()
    subscribe(peer, '0', 'a')
    peer.send('SEND', { destination: 'a' }, 'x')
    expect(bed.broker.published[0]?.topic).toBe('listener/a')
    expect(peer.frames()).toMatchObject([{ command: 'MESSAGE', headers: { destination: 'a' } }])
  })
})

describe('SEND', () => {
  test('is published at QoS 0, headers become properties', () => {
    const peer = bed.peer().connect()
    peer.send(
      'SEND',
      {
        destination: '/queue/foo',
        'user-defined': 'emq',
        'content-type': 'text/html',
        receipt: '1',
        ack: '9',
      },
      'hello',
    )
    const [message] = bed.broker.published
    expect(message).toMatchObject({
      topic: '/queue/foo',
      qos: 0,
      retain: false,
      from: bed.broker.client.info.key,
    })
    expect(message?.properties).toEqual({
      contentType: 'text/html',
      userProperties: [['user-defined', 'emq']],
    })
    expect(peer.frames()).toMatchObject([{ command: 'RECEIPT', headers: { 'receipt-id': '1' } }])
  })

  test('qos and retain are extensions', () => {
    const peer = bed.peer().connect()
    peer.send('SEND', { destination: 'a', qos: '2', retain: 'true' }, 'x')
    expect(bed.broker.published[0]).toMatchObject({ qos: 2, retain: true, properties: undefined })
    peer.send('SEND', { destination: 'a', qos: '3' })
    expect(lastWords(peer)).toBe('Invalid qos: 3')
  })

  test('the first of repeated headers counts', () => {
    bed.peer().connect().raw('SEND\ndestination:a\ndestination:b\nfoo:1\nfoo:2\n\nx\0')
    expect(bed.broker.published[0]).toMatchObject({
      topic: 'a',
      properties: { userProperties: [['foo', '1']] },
    })
  })

  test('a frame may come in pieces', () => {
    const peer = bed.peer().connect()
    peer.raw('SEND\ncontent-length:3\ndestination:/queue/foo\n')
    peer.raw('\nfo').raw('o').raw('\0')
    expect(bed.broker.published.map((one) => one.payload.toString())).toEqual(['foo'])
  })

  test('1000 of them back to back are all published, in order, also when the broker takes its time', async () => {
    const peer = bed.peer().connect()
    const many = Array.from({ length: 1000 }, (_, i) => `SEND\ndestination:q\nreceipt:${i}\n\n${i}\0`).join(
      '',
    )
    const order = Array.from({ length: 1000 }, (_, i) => String(i))
    peer.raw(many)
    expect(peer.frames().map((one) => one.headers['receipt-id'])).toEqual(order)

    bed.broker.isAsync = true
    peer.raw(many.slice(0, 5000)).raw(many.slice(5000))
    await vi.waitFor(() => expect(bed.broker.published.length).toBe(2000))
    await peer.settled()
    expect(bed.broker.published.slice(1000).map((one) => one.payload.toString())).toEqual(order)
  })

  test.each([
    [{}, 'Missing header destination in SEND'],
    [{ destination: 'a/+' }, 'Invalid destination a/+'],
    [{ destination: '#' }, 'Invalid destination #'],
    [{ destination: '' }, 'Invalid destination '],
  ])('%j is refused', (headers, text) => {
    const peer = bed
      .peer()
      .connect()
      .send('SEND', { receipt: 'r', ...headers } as Record<string, string>, 'x')
    expect(lastWords(peer)).toBe(text)
    expect(bed.broker.published).toEqual([])
  })

  test('a publish that is denied ends the connection', () => {
    bed.broker.denied.set('secret', ReasonCode.NotAuthorized)
    const peer = bed.peer().connect().send('SEND', { destination: 'secret', receipt: '7' }, 'x')
    expect(peer.frames()).toMatchObject([
      { command: 'ERROR', headers: { 'receipt-id': '7' }, body: 'Insufficient permissions for secret' },
    ])
    expect(peer.isClosed).toBe(true)
  })

  test('an unknown command is an error', () => {
    expect(lastWords(bed.peer().connect().send('PUT'))).toBe('Unknown command PUT')
  })
})

describe('SUBSCRIBE and MESSAGE', () => {
  test('headers of the sender come with the message', () => {
    const peer = bed.peer().connect()
    peer.send('SUBSCRIBE', { id: '0', destination: '/queue/foo', receipt: 'r' })
    peer.send(
      'SEND',
      { destination: '/queue/foo', 'user-defined': 'emq', 'content-type': 'text/html' },
      'hello',
    )
    const [receipt, message] = peer.frames()
    expect(receipt).toMatchObject({ command: 'RECEIPT', headers: { 'receipt-id': 'r' } })
    expect(message?.headers).toEqual({
      subscription: '0',
      'message-id': expect.stringMatching(/^[0-9a-f]{12}-1$/),
      destination: '/queue/foo',
      'content-type': 'text/html',
      'user-defined': 'emq',
      'content-length': '5',
    })
    expect(message?.body).toBe('hello')
  })

  test('what an MQTT client publishes cannot forge our headers', () => {
    const peer = bed.peer().connect()
    subscribe(peer, '0', 'a')
    publish('a', 'x', 0, {
      contentType: 'application/json',
      userProperties: [
        ['subscription', 'evil'],
        ['message-id', 'evil'],
        ['destination', 'evil'],
        ['content-length', '999'],
        ['content-type', 'evil'],
        ['ack', 'evil'],
        ['', 'nameless'],
        ['a:b\n', 'c\n\nd\0'],
      ],
    })
    const [message] = peer.frames()
    expect(message).toMatchObject({ headers: { subscription: '0', destination: 'a' }, body: 'x' })
    expect(message?.headers).toMatchObject({ 'content-type': 'application/json', 'a:b\n': 'c\n\nd ' })
    expect(message?.headers).not.toHaveProperty('ack')
    expect(message?.headers['content-length']).toBe('1')
  })

  test('the content type is text/plain when nobody said otherwise, and an empty body has no length', () => {
    const peer = bed.peer().connect()
    subscribe(peer, '0', 'a')
    publish('a', '')
    const [message] = peer.frames()
    expect(message?.headers).toMatchObject({ 'content-type': 'text/plain' })
    expect(message?.headers).not.toHaveProperty('content-length')
  })

  test('wildcards and shared subscriptions get their messages; each match gives one MESSAGE', () => {
    const peer = bed.peer().connect()
    subscribe(peer, 'wild', 'a/+')
    subscribe(peer, 'all', 'a/#')
    subscribe(peer, 'group', '$share/g/b')
    publish('a/1', 'x')
    publish('b', 'y')
    expect(peer.frames().map((one) => [one.headers.subscription, one.headers.destination])).toEqual([
      ['wild', 'a/1'],
      ['all', 'a/1'],
      ['group', 'b'],
    ])
  })

  test('binary payloads are byte exact', () => {
    const peer = bed.peer().connect()
    subscribe(peer, '0', 'a')
    peer.send('SEND', { destination: 'a' }, Buffer.from([0, 1, 0, 255, 10, 0]))
    expect(Buffer.from(bed.broker.published[0]?.payload ?? [])).toEqual(Buffer.from([0, 1, 0, 255, 10, 0]))
    expect(peer.transport.outbox.take().subarray(-7)).toEqual(Buffer.from([0, 1, 0, 255, 10, 0, 0]))
  })

  test('an id is used once', () => {
    const peer = bed.peer().connect()
    subscribe(peer, '0', '/queue/foo')
    subscribe(peer, '0', '/queue/bar')
    expect(lastWords(peer)).toBe('Subscription id 0 is in used')
  })

  test('a destination is subscribed once', () => {
    const peer = bed.peer().connect()
    subscribe(peer, '0', '/queue/foo')
    subscribe(peer, '1', '/queue/foo')
    expect(lastWords(peer)).toBe('Topic /queue/foo already in subscribed')
  })

  test.each([
    [ReasonCode.NotAuthorized, 'Insufficient permissions for x'],
    [ReasonCode.TopicFilterInvalid, 'Invalid destination x'],
    [ReasonCode.ImplementationSpecificError, 'The client.subscribe hook blocked the x subscription request'],
    [ReasonCode.QuotaExceeded, 'Subscription to x not accepted: quota_exceeded'],
  ])('code %i from the broker ends the connection', (code, text) => {
    bed.broker.denied.set('x', code)
    const peer = bed.peer().connect()
    subscribe(peer, '0', 'x')
    expect(lastWords(peer)).toBe(text)
  })

  test('without id is an error from 1.1 on', () => {
    const peer = bed.peer().connect('1.1').send('SUBSCRIBE', { destination: 'a' })
    expect(lastWords(peer)).toBe('Missing header id in SUBSCRIBE')
  })

  test('in 1.0 the destination is enough, to subscribe and to unsubscribe', () => {
    const peer = bed.peer().connect('1.0').send('SUBSCRIBE', { destination: 'a' })
    publish('a', 'x')
    const [message] = peer.frames()
    expect(message?.command).toBe('MESSAGE')
    expect(message?.headers).not.toHaveProperty('subscription')
    peer.send('UNSUBSCRIBE', { destination: 'a', receipt: 'r' })
    publish('a', 'y')
    expect(peer.frames().map((one) => one.command)).toEqual(['RECEIPT'])
  })

  test('UNSUBSCRIBE of an unknown id is fine', () => {
    const peer = bed.peer().connect().send('UNSUBSCRIBE', { id: '9', receipt: 'r' })
    expect(peer.frames().map((one) => one.command)).toEqual(['RECEIPT'])
    expect(peer.isClosed).toBe(false)
  })

  test('an id can be used again after UNSUBSCRIBE', () => {
    const peer = bed.peer().connect()
    subscribe(peer, '0', 'a')
    peer.send('UNSUBSCRIBE', { id: '0' })
    subscribe(peer, '0', 'b')
    publish('a', 'x')
    publish('b', 'y')
    expect(peer.frames().map((one) => one.body)).toEqual(['y'])
  })

  test('while the peer does not read, QoS 0 messages are dropped and its frames wait', () => {
    const peer = bed.peer().connect()
    subscribe(peer, '0', 'a')
    peer.transport.outbox.congested = true
    publish('a', 'lost')
    expect(bed.broker.client.dropped).toBe(1)

    peer.send('SEND', { destination: 'b', receipt: '1' }, 'first')
    peer.send('SEND', { destination: 'b', receipt: '2' }, 'second')
    expect(bed.broker.published.map((one) => one.payload.toString())).toEqual(['lost', 'first'])
    peer.transport.drain()
    expect(bed.broker.client.drains).toBe(1)
    expect(bed.broker.published).toHaveLength(3)
    expect(peer.frames().map((one) => one.headers['receipt-id'])).toEqual(['1', '2'])
  })
})

describe('ACK and NACK', () => {
  function acking(ack: string, changes = {}): StompPeer {
    bed = stompBed(changes)
    const peer = bed.peer().connect()
    subscribe(peer, '0', 'a', ack)
    return peer
  }

  test('ack:auto is QoS 0 without ack header', () => {
    const peer = acking('auto')
    publish('a', 'x', 1)
    expect(peer.frames()[0]?.headers).not.toHaveProperty('ack')
    expect(bed.broker.client.subscriptions.get('a')?.qos).toBe(0)
  })

  test('ack:client-individual answers one message, in any order', () => {
    const peer = acking('client-individual')
    for (const body of ['x', 'y', 'z']) publish('a', body, 1)
    const acks = peer.frames().map((one) => one.headers.ack as string)
    peer.send('ACK', { id: acks[1] as string, receipt: '12345' })
    peer.send('NACK', { id: acks[0] as string, receipt: '12346' })
    expect(bed.broker.client.acknowledged).toEqual([2, 1])
    expect(peer.frames().map((one) => one.headers['receipt-id'])).toEqual(['12345', '12346'])
    expect(bed.context.counters.get('messages.nacked')).toBe(1)
  })

  test('ack:client answers all earlier ones too', () => {
    const peer = acking('client')
    for (const body of ['x', 'y', 'z']) publish('a', body, 1)
    const acks = peer.frames().map((one) => one.headers.ack as string)
    peer.send('ACK', { id: acks[1] as string })
    expect(bed.broker.client.acknowledged).toEqual([1, 2])
  })

  test('no more than max_unacked are on their way', () => {
    const peer = acking('client', { max_unacked: 2 })
    for (const body of ['x', 'y', 'z']) publish('a', body, 1)
    const first = peer.frames()
    expect(first.map((one) => one.body)).toEqual(['x', 'y'])
    peer.send('ACK', { id: first[1]?.headers.ack as string })
    expect(peer.frames().map((one) => one.body)).toEqual(['z'])
  })

  test('a message for two subscriptions is done when both have answered', () => {
    const peer = acking('client')
    subscribe(peer, '1', '#', 'client')
    publish('a', 'x', 1)
    const [one, other] = peer.frames()
    peer.send('ACK', { id: one?.headers.ack as string })
    expect(bed.broker.client.acknowledged).toEqual([])
    peer.send('ACK', { id: other?.headers.ack as string })
    expect(bed.broker.client.acknowledged).toEqual([1])
  })

  test('1.1 and 1.0 answer by message-id', () => {
    for (const version of ['1.1', '1.0'] as const) {
      bed = stompBed()
      const peer = bed.peer().connect(version)
      subscribe(peer, '0', 'a', 'client')
      publish('a', 'x', 1)
      const [message] = peer.frames()
      peer.send('ACK', { 'message-id': message?.headers['message-id'] as string, subscription: '0' })
      expect(bed.broker.client.acknowledged).toEqual([1])
    }
  })

  test('unknown ids are harmless, a missing one is not', () => {
    const peer = acking('client')
    for (const id of ['0', '99', '-1', '1e3', 'abc', '']) peer.send('ACK', { id })
    expect(peer.isClosed).toBe(false)
    peer.send('ACK')
    expect(lastWords(peer)).toBe('Missing header message-id in ACK')
  })

  test('NACK is unknown in 1.0', () => {
    expect(lastWords(bed.peer().connect('1.0').send('NACK', { 'message-id': '1' }))).toBe(
      'Unknown command NACK',
    )
  })

  test('UNSUBSCRIBE frees the window', () => {
    const peer = acking('client', { max_unacked: 1 })
    publish('a', 'x', 1)
    publish('a', 'late', 1)
    subscribe(peer, '1', 'b', 'client')
    peer.frames()
    peer.send('UNSUBSCRIBE', { id: '0' })
    publish('b', 'y', 1)
    expect(peer.frames().map((one) => one.body)).toEqual(['y'])
  })

  test('an unknown ack mode is refused', () => {
    expect(lastWords(acking('sometimes'))).toBe('Invalid ack mode sometimes')
  })
})

describe('transactions', () => {
  function begun(changes = {}): StompPeer {
    bed = stompBed(changes)
    const peer = bed.peer().connect()
    subscribe(peer, '0', 'a')
    return peer.send('BEGIN', { transaction: 'tx1' })
  }

  test.each([false, true])(
    'COMMIT does what was kept, in order, then come the receipts (async: %s)',
    async (isAsync) => {
      const peer = begun()
      bed.broker.isAsync = isAsync
      peer.send('SEND', { destination: 'a', transaction: 'tx1', receipt: 'r1' }, 'hello')
      peer.send('SEND', { destination: 'a', transaction: 'tx1', receipt: 'r2' }, 'hello again')
      expect(peer.frames()).toEqual([])
      peer.send('COMMIT', { transaction: 'tx1', receipt: 'c' })
      const frames = await peer.settled()
      expect(frames.map((one) => one.headers['receipt-id'] ?? one.body)).toEqual([
        'hello',
        'hello again',
        'r1',
        'r2',
        'c',
      ])
    },
  )

  test('ABORT forgets', () => {
    const peer = begun()
    peer.send('SEND', { destination: 'a', transaction: 'tx1' }, 'hello')
    peer.send('ABORT', { transaction: 'tx1', receipt: 'r' })
    expect(peer.frames().map((one) => one.command)).toEqual(['RECEIPT'])
    expect(bed.broker.published).toEqual([])
  })

  test('an unknown transaction is an error that does not close', () => {
    const peer = bed.peer().connect()
    for (const command of ['ABORT', 'COMMIT']) peer.send(command, { transaction: 'tx1', receipt: '12345' })
    peer.send('SEND', { destination: 'a', transaction: 'tx1', receipt: '12345' }, 'x')
    peer.send('ACK', { id: '1', transaction: 'tx1', receipt: '12345' })
    const frames = peer.frames()
    expect(frames).toHaveLength(4)
    for (const frame of frames) {
      expect(frame).toMatchObject({
        command: 'ERROR',
        headers: { 'receipt-id': '12345' },
        body: 'Transaction tx1 not found',
      })
    }
    expect(peer.isClosed).toBe(false)
  })

  test('BEGIN twice is an error that does not close', () => {
    const peer = begun().send('BEGIN', { transaction: 'tx1' })
    expect(peer.frames()[0]?.body).toBe('Transaction tx1 already started')
    expect(peer.isClosed).toBe(false)
  })

  test('ACK waits for COMMIT too', () => {
    bed = stompBed()
    const peer = bed.peer().connect()
    subscribe(peer, '0', 'a', 'client')
    publish('a', 'x', 1)
    const id = peer.frames()[0]?.headers.ack as string
    peer.send('BEGIN', { transaction: 't' }).send('ACK', { id, transaction: 't' })
    expect(bed.broker.client.acknowledged).toEqual([])
    peer.send('COMMIT', { transaction: 't' })
    expect(bed.broker.client.acknowledged).toEqual([1])
  })

  test('a SEND that is not allowed is refused at once, not at COMMIT', () => {
    const peer = begun()
    bed.broker.denied.set('secret', ReasonCode.NotAuthorized)
    peer.send('SEND', { destination: 'secret', transaction: 'tx1' }, 'x')
    expect(lastWords(peer)).toBe('Insufficient permissions for secret')
    expect(peer.isClosed).toBe(true)
  })

  test('a COMMIT that fails says why and closes', () => {
    const peer = begun()
    peer.send('SEND', { destination: 'secret', transaction: 'tx1' }, 'x')
    bed.broker.denied.set('secret', ReasonCode.NotAuthorized)
    peer.send('COMMIT', { transaction: 'tx1' })
    expect(lastWords(peer)).toBe('Execute transaction tx1 failed: Insufficient permissions for secret')
  })

  test('after transaction_timeout it is forgotten', () => {
    vi.useFakeTimers()
    const peer = begun()
    vi.advanceTimersByTime(59_999)
    peer.send('SEND', { destination: 'a', transaction: 'tx1' }, 'x')
    vi.advanceTimersByTime(1)
    peer.send('COMMIT', { transaction: 'tx1' })
    expect(peer.frames()[0]?.body).toBe('Transaction tx1 not found')
    expect(bed.broker.published).toEqual([])
  })

  test('their number, frames and bytes are limited', () => {
    const many = begun({ max_transactions: 1 }).send('BEGIN', { transaction: 'tx2' })
    expect(lastWords(many)).toBe('Too many transactions')
    const frames = begun({ max_transaction_frames: 1 })
    for (let i = 0; i < 2; i++) frames.send('SEND', { destination: 'a', transaction: 'tx1' }, 'x')
    expect(lastWords(frames)).toBe('Too many frames in transactions')
    const bytes = begun({ max_transaction_bytes: 5 })
    for (let i = 0; i < 2; i++) bytes.send('SEND', { destination: 'a', transaction: 'tx1' }, 'xxx')
    expect(lastWords(bytes)).toBe('Too many frames in transactions')
  })

  test('a SEND that could never be done is refused at once', () => {
    const peer = begun().send('SEND', { destination: 'a/#', transaction: 'tx1' }, 'x')
    expect(lastWords(peer)).toBe('Invalid destination a/#')
  })
})

describe('heart-beats', () => {
  test('the server sends LF, and closes a client that is silent twice', () => {
    vi.useFakeTimers()
    const peer = bed.peer().connect('1.2', { 'heart-beat': '500,800' })
    vi.advanceTimersByTime(800)
    expect(peer.transport.outbox.take().toString()).toBe('\n')
    vi.advanceTimersByTime(199)
    expect(peer.isClosed).toBe(false)
    vi.advanceTimersByTime(1)
    expect(peer.isClosed).toBe(true)
    expect(bed.broker.client.closings).toEqual(['keepalive_timeout'])
  })

  test('any byte keeps the client alive', () => {
    vi.useFakeTimers()
    const peer = bed.peer().connect('1.2', { 'heart-beat': '500,0' })
    for (let i = 0; i < 20; i++) {
      vi.advanceTimersByTime(450)
      peer.raw('\n')
    }
    expect(peer.isClosed).toBe(false)
    expect(peer.transport.outbox.take().toString()).toBe('')
  })

  test('0,0 means none, and a client may send LF all the same', () => {
    vi.useFakeTimers()
    const peer = bed.peer().connect().raw('\n').raw('\n\r\n\n')
    vi.advanceTimersByTime(3_600_000)
    expect(peer.isClosed).toBe(false)
    peer.send('SEND', { destination: 'a' }, 'x')
    expect(bed.broker.published).toHaveLength(1)
  })

  test('a client is not called silent while the broker does not listen to it', async () => {
    const peer = bed.peer().connect('1.2', { 'heart-beat': '100,0' })
    vi.useFakeTimers()
    peer.transport.outbox.congested = true
    const other = bed.peer().connect('1.2', { 'heart-beat': '100,0' })
    other.transport.outbox.congested = true
    other.send('SEND', { destination: 'a' }, 'x')
    vi.advanceTimersByTime(10_000)
    expect(other.isClosed).toBe(false)
  })

  test('intervals too short for a server are made longer', () => {
    const peer = bed.peer().send('CONNECT', { 'accept-version': '1.2', 'heart-beat': '1,5' })
    expect(peer.frames()[0]?.headers['heart-beat']).toBe('100,100')
    peer.transport.close()
  })

  test('no timer is left when the connection is over', () => {
    vi.useFakeTimers()
    const peer = bed.peer().connect('1.2', { 'heart-beat': '1000,1000' }).send('BEGIN', { transaction: 't' })
    expect(vi.getTimerCount()).toBe(3)
    peer.send('DISCONNECT')
    expect(vi.getTimerCount()).toBe(0)
  })
})

describe('the end', () => {
  test('DISCONNECT is answered and closes as a clean goodbye', () => {
    const peer = bed.peer().connect().send('DISCONNECT', { receipt: '12345' })
    peer.send('SEND', { destination: 'a' }, 'too late')
    expect(peer.transport.outbox.take().toString()).toBe('RECEIPT\nreceipt-id:12345\n\n\0')
    expect(peer.isClosed).toBe(true)
    expect(bed.broker.client.closings).toEqual(['normal'])
    expect(bed.broker.published).toEqual([])
  })

  test.each([
    ['kicked', 'Kicked out'],
    ['takenover', 'Discarded'],
    ['server_shutting_down', 'Server shutting down'],
    ['connection_expired', undefined],
  ] as const)('%s', (reason, text) => {
    const peer = bed.peer().connect()
    bed.broker.client.receiver.end(reason)
    expect(lastWords(peer)).toBe(text)
    expect(bed.broker.client.closings).toEqual([reason])
  })

  test('a socket that breaks closes the client once', () => {
    const peer = bed.peer().connect()
    peer.transport.close({ kind: 'error', error: new Error('ECONNRESET') })
    expect(bed.broker.client.closings).toEqual(['socket_error'])
  })

  test('the gateway can end all its peers', () => {
    const peers = [bed.peer().connect(), bed.peer().connect()]
    bed.gateway.endAll?.('server_shutting_down')
    for (const peer of peers) expect(lastWords(peer)).toBe('Server shutting down')
  })
})
