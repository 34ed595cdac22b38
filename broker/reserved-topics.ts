/**
 * Topics that only the broker itself publishes to: `$SYS/...`, where it tells about itself, and `$events/...`,
 * which EMQX's rules name their events by. Nobody can subscribe to the latter: nothing is published there.
 */

/** @param topic - as it is routed, with mountpoint */
export function isReserved(topic: string): boolean {
  return topic.charCodeAt(0) === DOLLAR && (isAt(topic, '$SYS') || isAt(topic, '$events'))
}

/** @param filter - without `$share/<group>/` and the like */
export function isEventFilter(filter: string): boolean {
  return isAt(filter, '$events')
}

const DOLLAR = 0x24

function isAt(topic: string, root: string): boolean {
  return topic === root || topic.startsWith(`${root}/`)
}
