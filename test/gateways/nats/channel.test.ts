// biome-ignore-all lint/suspicious/noTemplateCurlyInString: placeholders as operators write them
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { silentLogger } from '../../../model/log.ts'
import { Message, type MessageProperties } from '../../../model/message.ts'
import { ReasonCode } from '../../../model/reason-codes.ts'
import { Random } from '../../support/random.ts'
import { type NatsBed, natsBed } from '../support/nats-peer.ts'

let bed: NatsBed

beforeEach(() => {
  bed = natsBed()
})

afterEach(() => {
  vi.useRealTimers()
})

function publish(topic: string, payload: string, properties?: MessageProperties, retain = false): void {
  bed.broker.publish(Message.of(topic, Buffer.from(payload), 0, retain, properties, undefined, Date.now()))
}

describe('INFO', () => {
  test('says what the gateway is and can', () => {
    const peer = natsBed({
      server_name: 'n1',
      connect_urls: ['a:4222'],
      protocol: { max_payload_size: 77 },
    }).peer()
    expect(peer.info).toEqual({
      server_id: 'hubbub',
      server_name: 'n1',
      version: '2.10.0',
      proto: 1,
      host: '127.0.0.1',
      port: 61_613,
      headers: true,
      jetstream: false,
      max_payload: 77,
      client_id: 1,
      client_ip: '192.0.2.7',
      auth_required: false,
      tls_required: false,
      connect_urls: ['a:4222'],
    })
  })

  test('asks for a login where there is somebody to check it', () => {
    expect(bed.peer({ isGuarded: true }).info.auth_required).toBe(true)
    expect(bed.peer({ isGuarded: true, enableAuthn: false }).info.auth_required).toBe(false)
    const withToken = natsBed({ internal_authn: [{ type: 'token', token: 't' }] })
    expect(withToken.peer().info).toMatchObject({ auth_required: true })
    expect(withToken.peer().info.nonce).toBeUndefined()
    const nkeys = ['UB4G32YJ2GVZG3KTC3Z7BLIU3PXPJC2Y4QF6SNJUN2XIF3M3E3NDEUCZ']
    expect(natsBed({ internal_authn: [{ type: 'nkey', nkeys }] }).peer().info.nonce).toMatch(/^[\w-]{24}$/)
  })

  test('comes once more, with ldm, when the server stops', () => {
    const peer = bed.peer().connect()
    bed.gateway.endAll?.('server_shutting_down')
    expect(peer.said()).toMatch(/^INFO \{.*"ldm":true\}\|-ERR 'Server Shutdown'\|$/)
    expect(peer.isClosed).toBe(true)
  })
})

describe('login', () => {
  test('user and pass go to the broker, the client id is random', () => {
    bed.peer().send('CONNECT {"user":"u","pass":"secret","verbose":false}')
    const [login] = bed.broker.logins
    expect(login?.password?.toString()).toBe('secret')
    expect(login?.client).toMatchObject({
      username: 'u',
      protocol: 'nats',
      protocolName: 'NATS',
      protocolVersion: '1',
      keepAliveSeconds: 30,
    })
    expect(login?.client.clientId).toMatch(/^[0-9a-f]{16}$/)
  })

  test('fields of CONNECT may be taken for client id and user name; what is missing is empty', () => {
    const clientinfo_override = { clientid: 'prefix-${Packet.clientid}', username: '${Packet.name}' }
    bed = natsBed({ clientinfo_override })
    bed.peer().send('CONNECT {"name":"n"}')
    expect(bed.broker.logins[0]?.client).toMatchObject({ clientId: 'prefix-', username: 'n' })
  })

  test('a refusal is an Authorization Violation', () => {
    bed.broker.refusal = ReasonCode.BadUserNameOrPassword
    const peer = bed.peer({ isGuarded: true }).send('CONNECT {"user":"u"}')
    expect(peer.said()).toBe("-ERR 'Authorization Violation'|")
    expect(peer.isClosed).toBe(true)
  })

  test('nothing but PING works before it where it is required', () => {
    const peer = bed.peer({ isGuarded: true }).send('PING', 'SUB a 1')
    expect(peer.said()).toBe("PONG|-ERR 'Authorization Violation'|")
    expect(peer.isClosed).toBe(true)
  })

  test('who takes too long is told', () => {
    vi.useFakeTimers()
    const peer = bed.peer({ isGuarded: true })
    const silent = bed.peer()
    const alive = bed.peer().send('PONG')
    vi.advanceTimersByTime(29_999)
    expect(peer.isClosed || silent.isClosed).toBe(false)
    alive.send('PONG')
    vi.advanceTimersByTime(2)
    expect(peer.said()).toBe("-ERR 'Authentication Timeout'|")
    expect([peer.isClosed, silent.isClosed, alive.isClosed]).toEqual([true, true, false])
  })

  test('anonymous clients may work at once, are clients of the broker, and keep their subscriptions at CONNECT', () => {
    const peer = bed.peer().send('SUB a 1', 'PUB a 2', 'hi')
    expect(peer.said()).toBe('+OK|+OK|MSG a 1 2|hi|')
    const anonymous = bed.broker.client
    peer.send('CONNECT {"user":"u","verbose":true}')
    expect(peer.said()).toBe('+OK|')
    expect(anonymous.closings).toEqual(['normal'])
    expect(bed.broker.client.info.username).toBe('u')
    publish('a', 'x')
    expect(peer.said()).toBe('MSG a 1 1|x|')
    bed.broker.client.receiver.end('kicked')
    expect(peer.said()).toBe("-ERR 'Kicked out'|")
  })

  test('a second CONNECT replaces options only', () => {
    const peer = bed.peer().connect({ user: 'u' })
    peer.send('CONNECT {"user":"other","verbose":true}')
    expect(peer.said()).toBe('+OK|')
    expect(bed.broker.logins.length).toBe(1)
    peer.send('CONNECT {"no_responders":true}')
    expect(peer.said()).toBe("-ERR 'no responders requires headers support'|")
    expect(peer.isClosed).toBe(false)
    expect(bed.peer().send('CONNECT {"no_responders":true}').isClosed).toBe(true)
  })

  test('a second CONNECT with other wishes holds for what is subscribed already', () => {
    const peer = bed.peer().connect().send('SUB a 1', 'SUB a g 2', 'SUB b 3')
    peer.connect({ echo: false, verbose: true })
    const wishes = [...bed.broker.client.subscriptions.values()]
    expect(wishes.map(({ noLocal, qos, retainHandling }) => [noLocal, qos, retainHandling])).toEqual([
      [true, 1, 2],
      [true, 1, 2],
      [true, 1, 2],
    ])
  })

  test('a level of the protocol that is not spoken closes', () => {
    for (const protocol of [2, -1]) {
      const peer = bed.peer().send(`CONNECT {"protocol":${protocol}}`)
      expect(peer.said()).toBe("-ERR 'invalid client protocol'|")
      expect(peer.isClosed).toBe(true)
    }
    expect(bed.peer().send('CONNECT {"protocol":1}').said()).toBe('+OK|')
    expect(bed.peer().send('CONNECT {"protocol":0,"user":null}').said()).toBe('+OK|')
  })

  test('a field of another type than the protocol gives it closes', () => {
    for (const field of ['"verbose":"false"', '"echo":0', '"user":5', '"auth_token":{}', '"protocol":"1"']) {
      const peer = bed.peer().send(`CONNECT {${field}}`)
      expect(peer.said(), field).toBe("-ERR 'Parser Error'|")
      expect([peer.isClosed, bed.broker.logins.length]).toEqual([true, 0])
    }
  })

  test('what is no JSON object closes', () => {
    for (const text of ['CONNECT {bad', 'CONNECT 5', 'CONNECT []', 'CONNECT']) {
      const peer = bed.peer().send(text)
      expect(peer.said()).toBe("-ERR 'Parser Error'|")
      expect(peer.isClosed).toBe(true)
    }
  })
})

describe('publish and subscribe', () => {
  test('verbose means QoS 1 and +OK before the message that it caused, also when the broker takes its time', async () => {
    for (const isAsync of [false, true]) {
      bed.broker.isAsync = isAsync
      const peer = bed.peer().connect({ verbose: true })
      await peer.settled()
      peer.send('SUB a 1', 'PUB a 1', 'x')
      expect(await peer.settled()).toBe('+OK|+OK|MSG a 1 1|x|')
      expect(bed.broker.published.at(-1)?.qos).toBe(1)
      expect(bed.broker.client.acknowledged.length).toBe(1)
      peer.transport.close()
    }
  })

  test('what comes and goes is counted by operation', () => {
    bed.peer().send('CONNECT {}', 'SUB a 1', 'PUB a 1', 'x', 'PUB a 0', '', 'UNSUB 1', 'PING', 'PONG', 'FOO')
    const { counters } = bed.context
    const names = ['connect', 'sub', 'pub', 'hpub', 'unsub', 'ping', 'pong']
    expect(names.map((name) => counters.get(`packets.${name}.received`))).toEqual([1, 1, 2, 0, 1, 1, 1])
    expect(
      ['messages.delivered', 'packets.ok.sent', 'packets.err.sent'].map((name) => counters.get(name)),
    ).toEqual([2, 5, 1])
  })

  test('not verbose means QoS 0 and silence', () => {
    const peer = bed.peer().connect().send('SUB a.> 1', 'PUB a.b 1', 'x', 'UNSUB 1', 'PUB a.b 1', 'y')
    expect(peer.said()).toBe('MSG a.b 1 1|x|')
    expect(bed.broker.published.map(({ topic, qos }) => [topic, qos])).toEqual([
      ['a/b', 0],
      ['a/b', 0],
    ])
  })

  test('every sid gets its message, one sid of a queue group does', () => {
    const peer = bed.peer().connect().send('SUB a 1', 'SUB a 2', 'SUB * 3')
    const worker = bed.peer().connect().send('SUB a g 4', 'SUB a g 5')
    expect([...bed.broker.client.subscriptions.keys()]).toEqual(['$share/g/a'])
    publish('a', 'x')
    publish('a', 'y')
    expect(
      peer
        .said()
        .match(/MSG a \d 1\|x/g)
        ?.toSorted(),
    ).toEqual([1, 2, 3].map((sid) => `MSG a ${sid} 1|x`))
    expect(worker.said()).toBe('MSG a 4 1|x|MSG a 5 1|y|')
  })

  test('UNSUB with a number counts all messages since SUB', () => {
    const peer = bed.peer().connect().send('SUB a 1', 'UNSUB 1 2')
    for (const text of ['x', 'y', 'z']) publish('a', text)
    expect(peer.said()).toBe('MSG a 1 1|x|MSG a 1 1|y|')
    expect(bed.broker.client.subscriptions.size).toBe(0)
    peer.send('SUB a 1')
    publish('a', 'x')
    peer.send('UNSUB 1 1', 'UNSUB 9')
    expect(bed.broker.client.subscriptions.size).toBe(0)
    expect(peer.isClosed).toBe(false)
  })

  test('with echo off nothing comes back', () => {
    bed.peer().connect({ echo: false }).send('SUB a 1', 'SUB a g 2')
    expect([...bed.broker.client.subscriptions.values()].every(({ noLocal }) => noLocal)).toBe(true)
  })

  test('foo.> does not stand for foo', () => {
    const peer = bed.peer().connect().send('SUB foo.> 1', 'SUB *.b.> 2')
    publish('foo', 'no')
    publish('x/b', 'no')
    publish('foo/a', 'yes')
    publish('x/b/c', 'yes')
    expect(peer.said()).toBe('MSG foo.a 1 3|yes|MSG x.b.c 2 3|yes|')
  })

  test('a topic that is no subject is counted and not delivered', () => {
    const peer = bed.peer().connect().send('SUB > 1')
    for (const topic of ['/a', 'a//b', 'a b', 'a/', '*/a', 'a/>', 'a..b']) publish(topic, 'x')
    publish('a.b/c', 'x')
    expect(peer.said()).toBe('MSG a.b.c 1 1|x|')
    expect(bed.context.counters.get('delivery.dropped.no_subject')).toBe(7)
    expect(bed.context.counters.values.get('messages.delivered')).toBe(1)
  })

  test('what is no subject is refused and the connection stays', () => {
    const peer = bed.peer().connect()
    for (const subject of ['a..b', '.a', 'a.', 'a.>.b', 'fo*o', 'a+', '#']) {
      peer.send(`SUB ${subject} 1`, `PUB ${subject} 0`, '')
      expect(peer.said(), subject).toBe("-ERR 'Invalid Subject'|-ERR 'Invalid Publish Subject'|")
    }
    peer.send('SUB $share.g.a 1')
    expect(peer.said()).toBe("-ERR 'Invalid Subject'|")
    peer.send('SUB a g/h 1')
    expect(peer.said()).toBe("-ERR 'Invalid Queue Name'|")
    peer.send('PUB foo.* 1', 'x')
    expect(bed.broker.published.at(-1)?.topic).toBe('foo/*')
    peer.connect({ pedantic: true }).send('PUB foo.* 1', 'x')
    expect(peer.said()).toBe("-ERR 'Invalid Publish Subject'|")
    expect(peer.isClosed).toBe(false)
  })

  test('what is not allowed is told and the connection stays', () => {
    bed.broker.denied.set('a/b', ReasonCode.NotAuthorized)
    bed.broker.denied.set('$share/g/a/b', ReasonCode.NotAuthorized)
    const peer = bed.peer().connect().send('SUB a.b 1', 'SUB a.b g 1', 'PUB a.b 0', '')
    expect(peer.said()).toBe(
      '-ERR \'Permissions Violation for Subscription to "a.b"\'|' +
        '-ERR \'Permissions Violation for Subscription to "a.b" using queue "g"\'|' +
        '-ERR \'Permissions Violation for Publish to "a.b"\'|',
    )
    expect(peer.isClosed).toBe(false)
  })

  test('too large and too many close', () => {
    bed = natsBed({ protocol: { max_payload_size: 10, max_control_line_size: 50 }, max_subscriptions: 1 })
    const large = bed.peer().connect().send('PUB a 11')
    expect(large.said()).toBe("-ERR 'Maximum Payload Violation'|")
    const many = bed.peer().connect().send('SUB a 1', 'SUB b 2')
    expect(many.said()).toBe("-ERR 'maximum subscriptions exceeded'|")
    const long = bed
      .peer()
      .connect()
      .send(`SUB ${'a'.repeat(50)} 1`)
    expect(long.said()).toBe("-ERR 'maximum control line exceeded'|")
    expect([large.isClosed, many.isClosed, long.isClosed]).toEqual([true, true, true])
  })

  test('the mountpoint is before topics, not before subjects', () => {
    bed = natsBed({ mountpoint: 'nats/' })
    const peer = bed.peer().connect().send('SUB a.* 1', 'PUB a.b r.1 1', 'x')
    expect(bed.broker.published[0]).toMatchObject({
      topic: 'nats/a/b',
      properties: { responseTopic: 'nats/r/1' },
    })
    expect(peer.said()).toBe('MSG a.b 1 r.1 1|x|')
    publish('nats/a/b', 'x', { responseTopic: 'elsewhere' })
    expect(peer.said()).toBe('MSG a.b 1 1|x|')
  })
})

describe('headers and requests', () => {
  test('headers are user properties, with duplicates, colons and order', () => {
    const peer = bed.peer().connect().send('SUB a 1')
    const block = 'NATS/1.0\r\nA: 1:2\r\nB:x\r\nA: 3\r\nContent-Type: text/html\r\n\r\n'
    peer.raw(`HPUB a ${block.length} ${block.length + 2}\r\n${block}hi\r\n`)
    expect(bed.broker.published[0]?.properties).toEqual({
      contentType: 'text/html',
      userProperties: [
        ['A', '1:2'],
        ['B', 'x'],
        ['A', '3'],
      ],
    })
    expect(peer.said()).toBe('HMSG a 1 57 59|NATS/1.0|Content-Type: text/html|A: 1:2|B: x|A: 3||hi|')
    publish('a', 'x', {
      userProperties: [
        ['evil\r\nX', 'y'],
        ['k', 'v\r\nX: 1'],
      ],
    })
    expect(peer.said()).toBe('HMSG a 1 23 24|NATS/1.0|k: v X: 1||x|')
    const without = bed.peer().connect({ headers: false }).send('SUB a 1')
    publish('a', 'x', { userProperties: [['k', 'v']] })
    expect(without.said()).toBe('MSG a 1 1|x|')
  })

  test('a status goes through as the user property NATS/1.0', () => {
    const peer = bed.peer().connect().send('SUB a 1')
    const block = 'NATS/1.0 404 No Messages\r\nA: 1\r\n\r\n'
    peer.raw(`HPUB a ${block.length} ${block.length + 2}\r\n${block}hi\r\n`)
    expect(bed.broker.published[0]?.properties?.userProperties).toEqual([
      ['NATS/1.0', '404 No Messages'],
      ['A', '1'],
    ])
    const same = `HMSG a 1 ${block.length} ${block.length + 2}|${block.replaceAll('\r\n', '|')}hi|`
    expect(peer.said()).toBe(same)
    publish('a', '', { userProperties: [['NATS/1.0', '503']] })
    expect(peer.said()).toBe('HMSG a 1 16 16|NATS/1.0 503|||')
    publish('a', 'x', { userProperties: [['NATS/1.0', 'no code']] })
    expect(peer.said()).toBe('HMSG a 1 31 32|NATS/1.0|NATS/1.0: no code||x|')
  })

  test('a request has its reply subject as response topic and as correlation data', () => {
    const peer = bed.peer().connect().send('SUB a 1', 'PUB a _INBOX.x 2', 'hi')
    expect(bed.broker.published[0]?.properties).toEqual({
      responseTopic: '_INBOX/x',
      correlationData: Buffer.from('_INBOX.x'),
    })
    expect(peer.said()).toBe('MSG a 1 _INBOX.x 2|hi|')
    peer.send('PUB a bad+reply 0', '')
    expect(peer.said()).toBe("-ERR 'Invalid Publish Subject'|")
  })

  test.each([
    ['c/7/replies', undefined, 'c.7.replies'],
    ['c/7/replies', Buffer.from([1, 0xff]), '_MQTT.reply.Af8.Yy83L3JlcGxpZXM'],
    ['/c/7', undefined, '_MQTT.reply.-.L2MvNw'],
    ['a.b', Buffer.from('id'), '_MQTT.reply.aWQ.YS5i'],
  ])('an answer to %s with %o goes back to it', (responseTopic, correlationData, reply) => {
    const peer = bed.peer().connect().send('SUB a 1')
    publish('a', '?', { responseTopic, ...(correlationData === undefined ? {} : { correlationData }) })
    expect(peer.said()).toBe(`MSG a 1 ${reply} 1|?|`)
    peer.send(`PUB ${reply} 1`, '!')
    const answer = bed.broker.published.at(-1)
    expect(answer?.topic).toBe(responseTopic)
    expect(answer?.properties?.correlationData).toEqual(correlationData)
  })

  test('a made-up reply subject goes nowhere', () => {
    const peer = bed.peer().connect()
    for (const subject of ['_MQTT.reply.x', '_MQTT.reply.-.Iw', '_MQTT.reply.-.YQ.b']) {
      peer.send(`PUB ${subject} 0`, '')
      expect(peer.said()).toBe("-ERR 'Invalid Publish Subject'|")
    }
  })
})

describe('slow and silent peers', () => {
  test('a peer that reads nothing is a slow consumer once too much waits', () => {
    bed = natsBed({ max_pending_size: 1000 })
    const peer = bed.peer().connect().send('SUB a 1')
    peer.transport.outbox.congested = true
    publish('a', 'x'.repeat(1500))
    expect(peer.isClosed).toBe(false)
    publish('a', 'x')
    expect(peer.isClosed).toBe(true)
    expect(peer.said()).toMatch(/-ERR 'Slow Consumer'\|$/)
    expect(bed.context.counters.get('connections.slow_consumers')).toBe(1)
  })

  test('PING is sent and silence after it closes; any byte is an answer', () => {
    vi.useFakeTimers()
    bed = natsBed({ default_heartbeat_interval: '2s', heartbeat_wait_timeout: '1s' })
    const peer = bed.peer().connect()
    vi.advanceTimersByTime(2000)
    expect(peer.said()).toBe('PING|')
    peer.send('PONG')
    vi.advanceTimersByTime(2000)
    expect(peer.said()).toBe('PING|')
    expect(peer.isClosed).toBe(false)
    vi.advanceTimersByTime(1000)
    expect(peer.said()).toBe("-ERR 'Stale Connection'|")
    expect(peer.isClosed).toBe(true)
    expect(vi.getTimerCount()).toBe(0)
  })

  test('retained messages are asked for as configured', () => {
    bed.peer().connect().send('SUB a 1')
    expect(bed.broker.client.subscriptions.get('a')?.retainHandling).toBe(1)
    // Once more for the retained messages of another sid, which say by the identifier that they are for it.
    bed.peer().connect().send('SUB a 1', 'SUB a 2')
    expect(bed.broker.client.subscriptions.get('a')).toMatchObject({ retainHandling: 0, identifier: 1 })
    bed = natsBed({ retained_messages: false })
    bed.peer().connect().send('SUB a 1', 'SUB a 2')
    expect(bed.broker.client.subscriptions.get('a')).toMatchObject({ retainHandling: 2, identifier: 0 })
  })
})

test('random streams end their own connection at most, and no bug is met on the way', () => {
  const errors: unknown[] = []
  const log = { ...silentLogger, error: (fields: object) => void errors.push(fields), child: () => log }
  bed = natsBed({}, { log })
  const random = new Random(4)
  const lines = [
    'PUB a.b 2\r\nhi',
    'PUB _MQTT.reply.x.y 0\r\n',
    'HPUB a r.s 12 13\r\nNATS/1.0\r\n\r\nx',
    'SUB > 1',
  ]
  lines.push(
    'SUB a.* g 2',
    'SUB a.* h 3',
    'UNSUB 1',
    'UNSUB 2 1',
    'PING',
    'PONG',
    'CONNECT {"verbose":false}',
  )
  lines.push(
    'CONNECT {"headers":true,"no_responders":true}',
    'CONNECT {"echo":false,"user":"5"}',
    'SUB a..b 4',
    'INFO {}',
  )
  for (let round = 0; round < 300; round++) {
    const peer = bed.peer()
    for (let i = 0; i < 20 && !peer.isClosed; i++) {
      if (random.int(10) === 0) peer.raw(random.bytes(random.int(8)))
      else peer.send(random.pick(lines))
    }
    peer.transport.close()
  }
  expect(errors).toEqual([])
  expect(bed.broker.clients.every(({ isClosed }) => isClosed)).toBe(true)
})
