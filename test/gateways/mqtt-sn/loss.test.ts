/** What the protocol promises when datagrams are lost, doubled and overtaken, each run the same ones. */
import { expect, onTestFinished, test } from 'vitest'
import { Message } from '../../../model/message.ts'
import { lossyRelay } from '../../support/lossy-relay.ts'
import { connectFrame, hex, type SnPeer, sized, snPeer, startSn } from '../support/sn-peer.ts'

const MISHAPS = { duplicated: 20, reordered: 20 }
const LOST_PERCENT = 20
const COUNT = 10
const PAYLOADS = Array.from({ length: COUNT }, (_, i) => `m${i + 1}`)
const idOf = (i: number) => i.toString(16).padStart(4, '0')

/** A client of the specification: asks until it is answered, marks repetitions, and takes each QoS 2 message once. */
class PatientPeer {
  readonly topics: string[] = []
  /** Payloads of QoS 2 once each, of QoS 1 as often as they come. */
  readonly got: string[] = []
  readonly #peer: SnPeer
  readonly #open = new Set<string>()
  #released = ''

  constructor(peer: SnPeer) {
    this.#peer = peer
  }

  async until(frame: string, isAnswer: RegExp): Promise<string> {
    const again = /^..0c[024]/.test(frame) ? markedAsCopy(frame) : frame
    const timer = setInterval(() => this.#peer.send(again), 30)
    this.#peer.send(frame)
    try {
      for (;;) {
        const one = await this.hear()
        if (isAnswer.test(one)) return one
      }
    } finally {
      clearInterval(timer)
    }
  }

  async hear(): Promise<string> {
    const frame = await this.#peer.next()
    const msgId = frame.slice(4, 8)
    if (frame.startsWith('0410')) {
      if (this.#open.delete(msgId)) this.#released = msgId
      this.#peer.send(`040e${msgId}`)
    } else if (/^..0a/.test(frame)) this.#register(frame)
    else if (/^..0c/.test(frame)) this.#take(frame)
    return frame
  }

  #register(frame: string): void {
    const topic = Buffer.from(frame.slice(12), 'hex').toString()
    if (!this.topics.includes(topic)) this.topics.push(topic)
    this.#peer.send(`070b${frame.slice(4, 12)}00`)
  }

  #take(frame: string): void {
    const flags = Number.parseInt(frame.slice(4, 6), 16)
    const [topicId, msgId] = [frame.slice(6, 10), frame.slice(10, 14)]
    const payload = Buffer.from(frame.slice(14), 'hex').toString()
    if ((flags & 0x60) === 0x20) {
      this.got.push(payload)
      this.#peer.send(`070d${topicId}${msgId}00`)
      return
    }
    const isLateCopy = (flags & 0x80) !== 0 && msgId === this.#released
    if (!isLateCopy && !this.#open.has(msgId)) {
      this.#open.add(msgId)
      this.got.push(payload)
    }
    this.#peer.send(`040f${msgId}`)
  }
}

function markedAsCopy(publish: string): string {
  const flags = Number.parseInt(publish.slice(4, 6), 16) | 0x80
  return publish.slice(0, 4) + flags.toString(16) + publish.slice(6)
}

const onceEach = (payloads: readonly string[]) => payloads.filter((one, i) => payloads.indexOf(one) === i)

async function start(seed: number) {
  const started = await startSn({ retry_interval: '50ms', max_retries: 100 })
  const relay = await lossyRelay(started.port, LOST_PERCENT, seed, MISHAPS)
  onTestFinished(() => relay.close())
  const published: string[] = []
  started.broker.hooks.put('message.publish', 'test', (message) => {
    if (typeof message === 'object' && message.topic === 't')
      published.push(Buffer.from(message.payload).toString())
    return undefined
  })
  const open = async () => new PatientPeer(await snPeer(relay.port))
  return { ...started, relay, published, open }
}

test.each([7, 42, 1234])(
  'QoS 2 arrives exactly once and in order, from and to a device (seed %i)',
  async (seed) => {
    const { open, relay, published } = await start(seed)
    const peer = await open()
    await peer.until(connectFrame('lossy'), /^030500$/)
    const suback = await peer.until(sized(`12400001${hex('t')}`), /^0813......000100$/)
    const topicId = suback.slice(6, 10)
    for (const [i, payload] of PAYLOADS.entries()) {
      const msgId = idOf(i + 1)
      await peer.until(sized(`0c40${topicId}${msgId}${hex(payload)}`), new RegExp(`^040f${msgId}$`))
      await peer.until(`0410${msgId}`, new RegExp(`^040e${msgId}$`))
    }
    while (peer.got.length < COUNT) await peer.hear()
    expect(published).toEqual(PAYLOADS)
    expect(peer.got).toEqual(PAYLOADS)
    expect(relay.dropped).toBeGreaterThan(5)
    expect(relay.duplicated).toBeGreaterThan(5)
    expect(relay.reordered).toBeGreaterThan(0)
  },
)

test('QoS 1 arrives at least once, and for the first time in order', async () => {
  const { open, published } = await start(99)
  const peer = await open()
  await peer.until(connectFrame('lossy'), /^030500$/)
  const suback = await peer.until(sized(`12200001${hex('t')}`), /^0813......000100$/)
  const topicId = suback.slice(6, 10)
  for (const [i, payload] of PAYLOADS.entries()) {
    const msgId = idOf(i + 1)
    const puback = new RegExp(`^070d${topicId}${msgId}00$`)
    await peer.until(sized(`0c20${topicId}${msgId}${hex(payload)}`), puback)
  }
  while (onceEach(peer.got).length < COUNT) await peer.hear()
  expect(onceEach(published)).toEqual(PAYLOADS)
  expect(onceEach(peer.got)).toEqual(PAYLOADS)
})

test('topics are registered, and a number means the same topic however often it was asked for', async () => {
  const { open, broker } = await start(5)
  const peer = await open()
  await peer.until(connectFrame('lossy'), /^030500$/)
  const ids = new Set<string>()
  for (let i = 1; i <= COUNT; i++) {
    const regack = await peer.until(
      sized(`0a0000${idOf(i)}${hex(`r/${i}`)}`),
      new RegExp(`^070b....${idOf(i)}00$`),
    )
    ids.add(regack.slice(4, 8))
  }
  expect(ids.size).toBe(COUNT)
  await peer.until(sized(`12200001${hex('w/+')}`), /^08132000000001/)
  const publish = (topic: string, payload: string) =>
    broker.hub.publish(Message.of(topic, Buffer.from(payload), 1, false, undefined, undefined, Date.now()))
  for (const [i, payload] of PAYLOADS.entries()) await publish(`w/${i}`, payload)
  while (onceEach(peer.got).length < COUNT) await peer.hear()
  expect(onceEach(peer.got)).toEqual(PAYLOADS)
  expect(peer.topics).toEqual(PAYLOADS.map((_, i) => `w/${i}`))
})

test('a CONNECT that comes twice or late does not take back what came after it', async () => {
  const { peer: open, broker } = await startSn()
  const peer = await (await open()).connect('a')
  expect(await peer.ask(sized(`12000001${hex('t')}`))).toBe('0813000401000100')
  expect(await peer.ask(connectFrame('a'))).toBe('030500')
  expect(broker.hub.session('mqttsn\0a')?.subscriptions.size).toBe(1)
  // Another one is another login.
  expect(await peer.ask(connectFrame('a', '04', '0001'))).toBe('030500')
  expect(broker.hub.session('mqttsn\0a')?.subscriptions.size).toBe(0)
})
