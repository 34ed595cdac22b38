/**
 * The fixed header (MQTT 5.0 §2.1), the same in all versions:
 *
 *     byte 1     packet type (4 bits) | flags (4 bits)
 *     byte 2..5  remaining length, a variable byte integer: 7 bits each, lowest first, bit 7 = one more follows
 */
import { ReasonCode } from '../../model/reason-codes.ts'
import { malformed, mqttError } from './mqtt-error.ts'

/** The largest whole packet MQTT can express: 5 bytes of header and 2^28 - 1 bytes of body. */
export const MAX_PACKET_BYTES = 268_435_460

/**
 * Cuts one packet off the front of `buf[offset..end)`. Allocates nothing.
 * @param maxBytes - largest whole packet accepted. Tested on the header alone, so a
 *   peer cannot make us buffer more than this by announcing a big length.
 * @returns > 0: length of the whole packet, header included, which is there completely;
 *   0: not even the header is complete; < 0: the header announces a packet of that
 *   many bytes (negated), of which some are missing. So `<= 0` means: wait for more.
 * @throws MqttError FRAME_MALFORMED (0x81), FRAME_TOO_LARGE (0x95)
 */
export function frameLength(buf: Buffer, offset: number, end: number, maxBytes: number): number {
  if (end - offset < 2) return 0
  const first = buf[offset + 1] as number
  const total = first < 0x80 ? first + 2 : longFrameLength(buf, offset, end)
  if (total === 0) return 0
  if (total > maxBytes) {
    throw mqttError(
      'FRAME_TOO_LARGE',
      ReasonCode.PacketTooLarge,
      `packet of ${total} bytes, at most ${maxBytes} are accepted`,
    )
  }
  return total > end - offset ? -total : total
}

/** Where the body of the packet at `start` begins. Only for packets that `frameLength` has found whole. */
export function bodyStart(buf: Buffer, start: number): number {
  let at = start + 1
  while ((buf[at] as number) >= 0x80) at++
  return at + 1
}

function longFrameLength(buf: Buffer, offset: number, end: number): number {
  let length = 0
  for (let i = 0; i < 4; i++) {
    const at = offset + 1 + i
    if (at >= end) return 0
    const byte = buf[at] as number
    length |= (byte & 0x7f) << (7 * i)
    if (byte >= 0x80) continue
    // [MQTT-1.5.5-1] the shortest form has no empty last byte
    if (byte === 0) throw malformed('remaining length is not in its shortest form')
    return length + 2 + i
  }
  throw malformed('remaining length is longer than 4 bytes')
}
