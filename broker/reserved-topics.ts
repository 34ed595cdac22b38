/**
 * Topics that only the broker itself publishes to: `$SYS/...`, where it tells about itself, and `$events/...`,
 * which EMQX's rules name their events by. Nobody can subscribe to the latter: nothing is published there.
 */

import type { Message } from '../model/message.ts'

/** @param topic - as it is routed, with mountpoint */
export function isReserved(topic: string): boolean {
  return topic.charCodeAt(0) === DOLLAR && (isAt(topic, '$SYS') || isAt(topic, '$events'))
}

/** Whether its topic does, with or without the mountpoint of who has published it. */
export function beginsWithDollar({ topic, publisher }: Message): boolean {
  if (topic.charCodeAt(0) === DOLLAR) return true
  const start = publisher === undefined ? 0 : publisher.mountpoint.length
  return start > 0 && topic.charCodeAt(start) === DOLLAR
}

/** @param filter - without `$share/<group>/` and the like */
export function isEventFilter(filter: string): boolean {
  return isAt(filter, '$events')
}

export const DOLLAR = 0x24

function isAt(topic: string, root: string): boolean {
  return topic === root || topic.startsWith(`${root}/`)
}
