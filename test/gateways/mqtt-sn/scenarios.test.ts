/** The conversations of the protocol with a whole broker; every frame is literal. */
import { expect, test } from 'vitest'
import type { HubClient } from '../../../broker/client.ts'
import { statsOf } from '../../../broker/client-stats.ts'
import {
  connectFrame,
  hex,
  overhear,
  publishTo as publish,
  type SnPeer,
  sized,
  startSn,
} from '../support/sn-peer.ts'

async function register(peer: SnPeer, name: string): Promise<string> {
  const answer = await peer.ask(sized(`0a00000001${hex(name)}`))
  expect(answer).toMatch(/^070b....000100$/)
  return answer.slice(4, 8)
}

test('vectors of the specification: discovery, register, publish, subscribe, ping and goodbye', async () => {
  const { peer: open } = await startSn({ predefined: [{ id: 1, topic: 'pre/one' }] })
  const peer = await open()
  expect(await peer.ask('030100')).toBe('030201')
  await peer.connect('client01', '04', '000a')
  expect(await peer.ask('0216')).toBe('0217')
  expect(await peer.ask(sized(`16${hex('client01')}`))).toBe('0217')
  expect(await peer.ask('080a000000016162')).toBe('070b0401000100')
  expect(await peer.ask('080a000000026162')).toBe('070b0401000200')
  expect(await peer.ask(sized(`0a00000003${hex('abc/#')}`))).toBe('070b0000000303')
  expect(await peer.ask(sized(`0a00000004${hex('pre/one')}`))).toBe('070b0001000400')
  expect(await peer.ask(sized(`12000001${hex('abc')}`))).toBe('081300040200 0100'.replace(' ', ''))
  expect(await peer.ask(sized(`12200001${hex('u/+/k')}`))).toBe('0813200000000100')
  expect(await peer.ask('07122100010001')).toBe('0813200001000100')
  expect(await peer.ask('07122100010009')).toBe('0813000000000102')
  expect(await peer.ask('07120200015452')).toBe('0813000000000100')
  expect(await peer.ask('07120300015452')).toBe('0813000000000103')
  expect(await peer.ask('071262000154 52'.replace(' ', ''))).toBe('0813000000000103')
  // Loops: the copy has the same bytes.
  expect(await peer.ask('0b0c000402000014151617')).toBe('0b0c000402000014151617')
  expect(await peer.ask('0b0c010001000014151617')).toBe('0b0c010001000014151617')
  expect(await peer.ask('0b0c025452000014151617')).toBe('0b0c025452000014151617')
  expect(await peer.ask('0b0c200401000114151617')).toBe('070d0401000100')
  expect(await peer.ask('0b0c200400000114151617')).toBe('070d0400000102')
  expect(await peer.ask('0b0c000400000014151617')).toBe('070d0400000002')
  expect(await peer.ask('0b0c220223000114151617')).toBe('070d0223000103')
  expect(await peer.ask('0b0c230001000114151617')).toBe('070d0001000103')
  expect(await peer.ask('0b0c400401000714151617')).toBe('040f0007')
  expect(await peer.ask('0b0cc00401000714151617')).toBe('040f0007')
  expect(await peer.ask('04100007')).toBe('040e0007')
  expect(await peer.ask('04100063')).toBe('040e0063')
  expect(await peer.ask(sized(`14000005${hex('abc')}`))).toBe('04150005')
  expect(await peer.ask('07140100060009')).toBe('04150006')
  expect(await peer.ask('0218')).toBe('0218')
  expect(await peer.ask('0218')).toBe('0218')
})

test('1: at QoS 2 a subscriber hears its own message before it has released it, and copies are not published', async () => {
  const started = await startSn()
  const peer = await (await started.peer()).connect('a')
  const id = (await peer.ask(sized(`12400001${hex('t')}`))).slice(6, 10)
  const seen = overhear(started)
  peer.send(`080c40${id}000778`, `080c40${id}000778`)
  const heard = await peer.heard()
  expect(heard.filter((one) => one === '040f0007')).toHaveLength(2)
  expect(heard).toContain(`080c40${id}000178`)
  expect(seen).toEqual(['t=x q2'])
  expect(await peer.ask('040f0001')).toBe('04100001')
  expect(await peer.ask('04100007')).toBe('040e0007')
  expect(await peer.send('040e0001').heard()).toEqual([])
})

test('2, 3: a silent client loses its connection, and its will is published in its mountpoint if it may', async () => {
  const started = await startSn({ mountpoint: 'm/' })
  const peer = await started.peer()
  expect(await peer.ask(sized(`040c010001${hex('w')}`))).toBe('0206')
  expect(await peer.ask(sized(`040c010001${hex('w')}`))).toBe('0206')
  expect(await peer.ask(sized(`0730${hex('abc')}`))).toBe('0208')
  expect(await peer.ask(sized('090a0b0c'))).toBe('030500')
  expect(await peer.ask(sized(`1a20${hex('/XYZ')}`))).toBe('031b00')
  expect(await peer.ask(sized(`1c${hex('gone')}`))).toBe('031d00')
  const seen = overhear(started)
  expect(await peer.next()).toBe('0218')
  expect(seen).toEqual(['m//XYZ=gone q1'])
  expect(await peer.ask('0218')).toBe('0218')
})

test('a will may be taken back, is forgotten by a goodbye and kept by a session', async () => {
  const started = await startSn()
  const seen = overhear(started)
  const peer = await started.peer()
  expect(await peer.ask(sized(`0408010000${hex('w')}`))).toBe('0206')
  expect(await peer.ask(sized(`0700${hex('abc')}`))).toBe('0208')
  expect(await peer.ask(sized(`09${hex('x')}`))).toBe('030500')
  expect(await peer.ask('0218')).toBe('0218')
  expect(seen).toEqual([])
  await peer.connect('w', '00')
  const other = await (await started.peer()).connect('w', '00')
  expect(await peer.next()).toBe('0218')
  expect(await other.ask(sized(`1c${hex('y')}`))).toBe('031d00')
  expect(await other.ask('021a')).toBe('031b00')
  expect(await other.ask(sized(`1c${hex('z')}`))).toBe('031d03')
  const third = await started.peer()
  expect(await third.ask(sized(`040c010000${hex('v')}`))).toBe('0206')
  expect(await third.ask('0207')).toBe('030500')
  expect(seen).toEqual([])
})

test('4: a sleeper that does not come back loses its session and its will is published', async () => {
  const started = await startSn()
  const peer = await (await started.peer()).connect('s', '04', '0000')
  expect(await peer.ask('0418 0001'.replace(' ', ''))).toBe('0218')
  expect(await peer.ask(sized(`16${hex('s')}`))).toBe('0217')
  expect(await peer.next()).toBe('0218')
  expect(started.broker.hub.clientCount).toBe(0)
})

test('the statistics of a client are of all addresses that it has had', async () => {
  const { peer, broker } = await startSn()
  const first = await (await peer()).connect('s')
  const publishFrame = sized(`0c0261620000${hex('x')}`)
  const sleep = '041800c8'
  expect(await first.send(publishFrame).ask(sleep)).toBe('0218')
  const ping = sized(`16${hex('s')}`)
  expect(await (await peer()).ask(ping)).toBe('0217')
  const client = broker.hub.client('mqttsn\0s') as HubClient
  expect(statsOf(client, broker.hub.options)).toMatchObject({
    recv_oct: [connectFrame('s'), publishFrame, sleep, ping].join('').length / 2,
    send_oct: '030500 0218 0217'.replaceAll(' ', '').length / 2,
    recv_msg: 1,
    send_msg: 0,
  })
})

test.each([1, 2] as const)(
  '5, 6, 11: what waits for a sleeper is registered and delivered at QoS %i when it asks, from another address too',
  async (qos) => {
    const started = await startSn()
    const first = await (await started.peer()).connect('s', '04')
    const flags = qos === 1 ? '20' : '40'
    expect(await first.ask(sized(`12${flags}0001${hex('u/+/k')}`))).toBe(`0813${flags}0000000100`)
    const elsewhere = await started.peer()
    expect(await elsewhere.send(sized(`16${hex('s')}`)).heard()).toEqual([])
    expect(await first.ask('041800c8')).toBe('0218')
    for (const payload of ['1', '2', '3']) await publish(started, 'u/v/k', payload, qos)
    await publish(started, 'u/v/k', '0')
    expect(await first.heard()).toEqual([])
    const peer = elsewhere
    expect(await peer.ask(sized(`16${hex('s')}`))).toBe(sized(`0a04010001${hex('u/v/k')}`))
    peer.send('070b0401000100')
    const payloads: string[] = []
    for (;;) {
      const one = await peer.next()
      if (one === '0217') break
      payloads.push(Buffer.from(one.slice(14), 'hex').toString())
      const msgId = one.slice(10, 14)
      if (msgId === '0000') continue
      if (qos === 1) peer.send(`070d0401${msgId}00`)
      else {
        expect(await peer.ask(`040f${msgId}`)).toBe(`0410${msgId}`)
        peer.send(`040e${msgId}`)
      }
    }
    expect(payloads.toSorted()).toEqual(['0', '1', '2', '3'])
    expect(payloads.filter((one) => one !== '0')).toEqual(['1', '2', '3'])
    expect(await peer.ask(sized(`16${hex('s')}`))).toBe('0217')
  },
)

test('7: a resumed session registers its topics first, then hands over what came meanwhile, in order', async () => {
  const started = await startSn({ subs_resume: true })
  const peer = await (await started.peer()).connect('r', '00')
  expect(await peer.ask(sized(`12400001${hex('topic-a')}`))).toBe('0813400401000100')
  expect(await peer.ask(sized(`12400002${hex('topic-b')}`))).toBe('0813400402000200')
  expect(await peer.ask('0218')).toBe('0218')
  for (const topic of ['topic-a', 'topic-b'])
    for (const qos of [0, 1, 2] as const) await publish(started, topic, `m${qos}`, qos)
  await peer.connect('r', '00')
  expect(await peer.next()).toBe(sized(`0a04010001${hex('topic-a')}`))
  expect(await peer.ask('070b0401000100')).toBe(sized(`0a04020002${hex('topic-b')}`))
  peer.send('070b0402000200')
  for (const id of ['0401', '0402']) {
    const base = id === '0401' ? 1 : 3
    expect(await peer.next()).toBe(`090c00${id}0000${hex('m0')}`)
    expect(await peer.next()).toBe(`090c20${id}000${base}${hex('m1')}`)
    expect(await peer.ask(`070d${id}000${base}00`)).toBe(`090c40${id}000${base + 1}${hex('m2')}`)
    expect(await peer.ask(`040f000${base + 1}`)).toBe(`0410000${base + 1}`)
    peer.send(`040e000${base + 1}`)
  }
  expect(await peer.heard()).toEqual([])
})

test('8: an unfinished PUBREL comes first after a resume; a forgotten id is registered again and its message repeated', async () => {
  const started = await startSn()
  const peer = await (await started.peer()).connect('r', '00')
  expect(await peer.ask(sized(`12400001${hex('topic-a')}`))).toBe('0813400401000100')
  await publish(started, 'topic-a', 'm0', 2)
  expect(await peer.next()).toBe(`090c4004010001${hex('m0')}`)
  expect(await peer.ask('040f0001')).toBe('04100001')
  expect(await peer.ask('0218')).toBe('0218')
  await publish(started, 'topic-a', 'm1', 1)
  await peer.connect('r', '00')
  expect(await peer.next()).toBe('04100001')
  expect(await peer.ask('040e0001')).toBe(`090c2004010002${hex('m1')}`)
  expect(await peer.ask('070d0401000202')).toBe(sized(`0a04010001${hex('topic-a')}`))
  expect(await peer.ask('070b0401000100')).toMatch(/^090c.004010002/)
  expect(await peer.send('070d0401000200').heard()).toEqual([])
})

test('9: REGISTER is repeated, and a client that never answers is lost; a topic it refuses is skipped', async () => {
  const started = await startSn({ retry_interval: '100ms', max_retries: 2 })
  const peer = await (await started.peer()).connect('r')
  await peer.ask(sized(`12200001${hex('#')}`))
  await publish(started, 'topic-a', 'a', 1)
  await publish(started, 'topic-b', 'b', 0)
  expect(await peer.next()).toBe(sized(`0a04010001${hex('topic-a')}`))
  peer.send('070b0401000102')
  const asked = sized(`0a04020002${hex('topic-b')}`)
  expect(await peer.next()).toBe(asked)
  expect(await peer.next()).toBe(asked)
  expect(await peer.ask('0216')).toBe('0217')
  expect(await peer.next()).toBe(asked)
  expect(await peer.next()).toBe('0218')
})

test('10: a predefined topic that the client has forgotten is registered by its id', async () => {
  const started = await startSn({ predefined: [{ id: 1, topic: 'pre/one' }], subs_resume: true })
  const peer = await (await started.peer()).connect('r', '00')
  expect(await peer.ask('07122100010001')).toBe('0813200001000100')
  expect(await peer.ask('0218')).toBe('0218')
  await publish(started, 'pre/one', 'x', 1)
  await peer.connect('r', '00')
  expect(await peer.next()).toBe(sized(`0a00010001${hex('pre/one')}`))
  expect(await peer.ask('070b0001000100')).toBe(`080c21000100 01${hex('x')}`.replace(' ', ''))
})

test('12: an address that another client uses now is that client', async () => {
  const started = await startSn()
  const peer = await (await started.peer()).connect('one', '04')
  await peer.connect('two', '04')
  expect(started.broker.hub.clientCount).toBe(1)
  expect(await peer.ask('041800c8')).toBe('0218')
  await peer.connect('three', '04')
  expect(started.broker.hub.clientCount).toBe(2)
  expect(await peer.ask(sized(`16${hex('two')}`))).toBe('0217')
  expect(started.broker.hub.clientCount).toBe(1)
})

test('13: the mountpoint of attributes holds for publishing and subscribing', async () => {
  const started = await startSn({ mountpoint: 'm/${client_attrs.x}/' })
  started.broker.hooks.put('client.authenticate', 'test', () => ({
    stop: { kind: 'allow', principal: { isSuperuser: false, attributes: new Map([['x', 'y']]) } },
  }))
  const seen = overhear(started)
  const peer = await (await started.peer()).connect('a')
  const id = (await peer.ask(sized(`12000001${hex('t')}`))).slice(6, 10)
  expect(await peer.ask(`080c00${id}000078`)).toBe(`080c00${id}000078`)
  expect(seen).toEqual(['m/y/t=x q0'])
})

test('14: QoS -1 needs no connection, but passes authentication and authorization', async () => {
  const started = await startSn({
    mountpoint: 'm/',
    predefined: [{ id: 1, topic: 'pre/one' }],
    clientinfo_override: { username: 'u' },
  })
  const logins: string[] = []
  started.broker.hooks.put('client.authenticate', 'test', (_verdict, { client }) => {
    logins.push(`${client.clientId} ${client.username}`)
    return undefined
  })
  started.broker.hooks.put('client.authenticate', 'allow', () => ({
    stop: { kind: 'allow', principal: { isSuperuser: false } },
  }))
  started.broker.hooks.put('client.authorize', 'test', (_value, _client, _action, topic) =>
    topic === 'no' ? { stop: { result: 'deny', from: 'test' } } : undefined,
  )
  const seen = overhear(started)
  const peer = await started.peer()
  peer.send('080c610001000078', '080c722d2d000078', '080c626e6f000078', '080c600401000078')
  expect(await peer.heard()).toEqual([])
  expect(seen).toEqual(['m/pre/one=x q0', 'm/--=x q0 r'])
  expect(logins).toEqual(['NegQoS-Client u'])
})

test('QoS -1 that is switched off is refused', async () => {
  const started = await startSn({ enable_qos3: false })
  const peer = await started.peer()
  expect(await peer.ask('0b0c600400000114151617')).toBe('070d0400000103')
  await peer.connect('a')
  expect(await peer.ask('0b0c600400000114151617')).toBe('070d0400000103')
})

test('a QoS 0 message on a topic without id is registered first and not lost; retained ones are marked', async () => {
  const started = await startSn()
  await publish(started, 'room/1', 'kept', 0, true)
  const peer = await (await started.peer()).connect('a')
  peer.send(sized(`12000001${hex('room/+')}`))
  expect(await peer.next()).toBe('0813000000000100')
  expect(await peer.next()).toBe(sized(`0a04010001${hex('room/1')}`))
  await publish(started, 'room/1', 'new')
  expect(await peer.ask('070b0401000100')).toBe(`0b0c1004010000${hex('kept')}`)
  expect(await peer.next()).toBe(`0a0c0004010000${hex('new')}`)
})

test('what is not acknowledged comes again, marked as a copy, and then the client is lost', async () => {
  const started = await startSn({ retry_interval: '100ms', max_retries: 1 })
  const peer = await (await started.peer()).connect('a')
  await peer.ask(sized(`12200001${hex('t')}`))
  await publish(started, 't', 'x', 1)
  expect(await peer.next()).toBe('080c200401000178')
  expect(await peer.next()).toBe('080ca00401000178')
  expect(await peer.next()).toBe('0218')
})

test('refusals: authentication, authorization, an unknown protocol, strangers, and too many QoS 2 messages', async () => {
  const started = await startSn({ max_awaiting_rel: 1 })
  const { hooks } = started.broker
  hooks.put('client.authenticate', 'test', (_verdict, { client }) => ({
    stop:
      client.clientId === 'bad'
        ? { kind: 'deny', reason: 0x87 }
        : { kind: 'allow', principal: { isSuperuser: false } },
  }))
  hooks.put('client.authorize', 'test', () => ({ stop: { result: 'deny', from: 'test' } }))
  const peer = await started.peer()
  expect(await peer.ask(sized(`0404010000${hex('bad')}`))).toBe('030580')
  expect(await peer.ask(sized(`0404020000${hex('a')}`))).toBe('030503')
  expect(await peer.ask('080a000000016162')).toBe('0218')
  await peer.connect('a')
  const id = await register(peer, 't')
  expect(await peer.ask(`080c20${id}000178`)).toBe(`070d${id}000180`)
  expect(await peer.ask(sized(`12000002${hex('t')}`))).toBe('0813000000000280')
  hooks.del('client.authorize', 'test')
  expect(await peer.ask(`080c40${id}000178`)).toBe('040f0001')
  expect(await peer.ask(`080c40${id}000278`)).toBe(`070d${id}000201`)
})

test('a second connection takes over; the first is told', async () => {
  const started = await startSn()
  const first = await (await started.peer()).connect('a', '00')
  await (await started.peer()).connect('a', '00')
  expect(await first.next()).toBe('0218')
  expect(started.broker.hub.kick('mqttsn\0a')).toBe(true)
})

test('long messages have the long form in both directions', async () => {
  const started = await startSn()
  const peer = await (await started.peer()).connect('a')
  const id = (await peer.ask(sized(`12000001${hex('t')}`))).slice(6, 10)
  const long = sized(`0c00${id}0000${hex('x'.repeat(1000))}`)
  expect(long.slice(0, 6)).toBe('0103f1')
  expect(await peer.ask(long)).toBe(long)
})
