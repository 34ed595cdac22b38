import type { Pace } from '../../listeners/pace.ts'
import { PacketType, type PublishPacket } from './packets.ts'

/**
 * Counts a packet that has been handled against the rates of its client: PUBLISH and its payload, whatever its
 * QoS and its fate, and SUBSCRIBE. Others cost less than their answer, and for answers the client must read.
 * @param first - the packet's first byte
 * @param publish - what a PUBLISH has been decoded into
 */
export function charge(pace: Pace, first: number, publish: PublishPacket): void {
  const type = first >> 4
  if (type === PacketType.PUBLISH) pace.message(publish.payloadEnd - publish.payloadStart)
  else if (type === PacketType.SUBSCRIBE) pace.subscribe()
}
