/** Whatever bytes come: a packet, a wish for more, or a peer's fault. Never anything else. */
import { generate } from 'mqtt-packet'
import { expect, test } from 'vitest'
import { decodePacket } from '../../../broker/mqtt/decode.ts'
import { connectVersion, decodeConnect } from '../../../broker/mqtt/decode-connect.ts'
import { decodePublish, emptyPublish } from '../../../broker/mqtt/decode-publish.ts'
import { frameLength } from '../../../broker/mqtt/frame.ts'
import { MqttError } from '../../../broker/mqtt/mqtt-error.ts'
import type { ProtocolVersion } from '../../../broker/mqtt/packets.ts'
import { TopicCache } from '../../../broker/mqtt/topic-cache.ts'
import { CLIENT_COMMANDS, randomConnect, randomPacket } from './random-packets.ts'
import { Random, VERSIONS } from './support.ts'

const MAX_BYTES = 4096

type Outcome = 'packet' | 'need' | 'refused'

/** Reads as many packets as there are, as a connection would. */
function read(version: ProtocolVersion, buf: Buffer, connected: boolean, topics: TopicCache): Outcome {
  const into = emptyPublish()
  let at = 0
  let isConnected = connected
  try {
    while (at < buf.length) {
      const length = frameLength(buf, at, buf.length, MAX_BYTES)
      if (length <= 0) return 'need'
      const end = at + length
      if (!isConnected) decodeConnect(buf, at, end)
      else if ((buf[at] as number) >> 4 === 3) decodePublish(version, buf, at, end, into, topics)
      else decodePacket(version, buf, at, end)
      expect(into.payloadEnd - into.payloadStart).toBeLessThanOrEqual(length)
      isConnected = true
      at = end
    }
    return 'packet'
  } catch (error) {
    if (!(error instanceof MqttError)) throw error
    if (error.fault !== 'peer' || error.reasonCode < 0x80) throw error
    connectVersion(buf, at, buf.length)
    return 'refused'
  }
}

test('20,000 streams of random bytes', () => {
  const random = new Random(20_000)
  const topics = new TopicCache(16)
  const seen = new Map<Outcome, number>()
  for (let i = 0; i < 20_000; i++) {
    const buf = random.bytes(40)
    // Half of them with a header that lets the body be looked at.
    if (buf.length > 2 && i % 2 === 0) {
      buf[0] = (random.int(15) + 1) * 16 + (random.int(3) === 0 ? random.int(16) : random.pick([0, 2]))
      buf[1] = buf.length - 2
    }
    const outcome = read(random.pick(VERSIONS), buf, i % 5 !== 0, topics)
    seen.set(outcome, (seen.get(outcome) ?? 0) + 1)
  }
  expect([...seen.keys()].sort()).toEqual(['need', 'packet', 'refused'])
})

function mutate(random: Random, valid: Buffer): Buffer {
  const buf = Buffer.from(valid)
  switch (random.int(5)) {
    case 0: // one bit
      buf[random.int(buf.length)] = (buf[random.int(buf.length)] as number) ^ (1 << random.int(8))
      return buf
    case 1: // one byte
      buf[random.int(buf.length)] = random.pick([0, 1, 0x23, 0x2b, 0x7f, 0x80, 0xc0, 0xed, 0xff])
      return buf
    case 2: // cut off
      return buf.subarray(0, random.int(buf.length))
    case 3: // a piece out of the middle, header kept
      return Buffer.concat([buf.subarray(0, 2), buf.subarray(2 + random.int(buf.length))])
    default: // something put in
      return Buffer.concat([
        buf.subarray(0, random.int(buf.length)),
        random.bytes(4),
        buf.subarray(random.int(buf.length)),
      ])
  }
}

/** The remaining length made right again, so that what follows is looked at. */
function relength(buf: Buffer): Buffer {
  if (buf.length < 2 || buf.length > 129) return buf
  buf[1] = buf.length - 2
  return buf
}

test('30,000 mutations of valid packets', () => {
  const random = new Random(30_000)
  const topics = new TopicCache(16)
  const seen = new Map<Outcome, number>()
  for (let i = 0; i < 3000; i++) {
    const version = random.pick(VERSIONS)
    const cmd = random.pick(['connect', ...CLIENT_COMMANDS] as const)
    if (cmd === 'auth' && version !== 5) continue
    const packet = cmd === 'connect' ? randomConnect(random, version) : randomPacket(random, version, cmd)
    const valid = generate(packet, { protocolVersion: version })
    expect(read(version, valid, cmd !== 'connect', topics)).toBe('packet')
    for (let j = 0; j < 12; j++) {
      const bad = mutate(random, valid)
      const outcome = read(version, j % 2 === 0 ? bad : relength(bad), cmd !== 'connect', topics)
      seen.set(outcome, (seen.get(outcome) ?? 0) + 1)
    }
  }
  expect([...seen.keys()].sort()).toEqual(['need', 'packet', 'refused'])
  expect([...seen.values()].reduce((sum, n) => sum + n, 0)).toBeGreaterThan(30_000)
})

test('every prefix of a valid packet needs more, and never fails', () => {
  const random = new Random(40_000)
  for (let i = 0; i < 300; i++) {
    const version = random.pick(VERSIONS)
    const valid = generate(randomPacket(random, version, 'publish'), { protocolVersion: version })
    for (let end = 0; end < valid.length; end++)
      expect(frameLength(valid, 0, end, MAX_BYTES)).toBeLessThanOrEqual(0)
  }
})
