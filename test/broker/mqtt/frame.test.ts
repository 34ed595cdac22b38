import { expect, test } from 'vitest'
import { frameLength, MAX_PACKET_BYTES } from '../../../broker/mqtt/frame.ts'
import { frame, packet, refusal } from './support.ts'

const ANY = MAX_PACKET_BYTES

test.each([
  ['an empty body', 'c0 00', 2],
  ['one length byte', `40 02 00 07`, 4],
  ['another packet behind it', 'c0 00 c0 00', 2],
])('%s', (_, text, length) => {
  const buf = frame(text)
  expect(frameLength(buf, 0, buf.length, ANY)).toBe(length)
})

test('the packet does not have to be at the start of the buffer', () => {
  const buf = frame('ff ff ff 40 02 00 07 ff')
  expect(frameLength(buf, 3, 8, ANY)).toBe(4)
  expect(frameLength(buf, 3, 7, ANY)).toBe(4)
  expect(frameLength(buf, 3, 6, ANY)).toBe(-4)
  expect(frameLength(buf, 3, 4, ANY)).toBe(0)
  expect(frameLength(buf, 3, 3, ANY)).toBe(0)
})

test.each([0, 1, 127, 128, 16_383, 16_384])(
  'every prefix of a packet with %i bytes of body needs more',
  (bytes) => {
    const buf = packet('30', '00'.repeat(bytes))
    const headerBytes = buf.length - bytes
    for (let end = 0; end < buf.length; end++) {
      const expected = end < headerBytes ? 0 : -buf.length
      // Announced lengths are told as soon as the header is there.
      expect(frameLength(buf, 0, end, ANY), `${end} bytes`).toBe(expected === 0 ? 0 : expected)
    }
    expect(frameLength(buf, 0, buf.length, ANY)).toBe(buf.length)
  },
)

test('the largest length there is can be announced', () => {
  expect(frameLength(frame('30 ff ff ff 7f'), 0, 5, ANY)).toBe(-MAX_PACKET_BYTES)
  expect(frameLength(frame('30 80 80 80 01'), 0, 5, ANY)).toBe(-(2_097_152 + 5))
})

test.each([
  ['a fifth length byte', '30 80 80 80 80 01'],
  ['a fourth length byte that announces a fifth', '30 ff ff ff ff'],
  ['zero in two bytes', '30 80 00'],
  ['127 in two bytes', '30 ff 00'],
  ['128 in three bytes', '30 80 81 00'],
  ['four bytes where three do', '30 ff ff ff 00'],
])('[MQTT-1.5.5-1] %s is malformed', (_, text) => {
  const buf = frame(text)
  expect(refusal(() => frameLength(buf, 0, buf.length, ANY)).slice(0, 2)).toEqual(['FRAME_MALFORMED', 0x81])
})

test('a packet larger than the limit is refused on its header alone', () => {
  expect(refusal(() => frameLength(frame('30 80 08'), 0, 3, 1026))).toEqual([
    'FRAME_TOO_LARGE',
    0x95,
    'packet of 1027 bytes, at most 1026 are accepted',
  ])
  expect(refusal(() => frameLength(frame('30 7f'), 0, 2, 128)).slice(0, 2)).toEqual(['FRAME_TOO_LARGE', 0x95])
  expect(frameLength(frame('30 80 08'), 0, 3, 1027)).toBe(-1027)
})
