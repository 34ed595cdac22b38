/**
 * Topic names and topic filters (MQTT 5.0 §4.7, §4.8.2; the same in 3.1.1). Levels are
 * separated by `/`; in a filter `+` stands for one level and `#` for all that follow.
 * Compared character by character, never normalized [MQTT-4.7.3-4].
 */

/** A shared subscription taken apart. `$queue/f` is the group `$queue`. */
export interface SharedFilter {
  group: string
  filter: string
}

const MAX_BYTES = 65_535
const SLASH = 0x2f
const PLUS = 0x2b
const HASH = 0x23
const DOLLAR = 0x24

/** Whether a message may be published to `topic`: 1 to 65535 bytes, no wildcard, no U+0000. */
export function isValidTopicName(topic: string): boolean {
  if (!hasValidLength(topic)) return false
  for (let i = 0; i < topic.length; i++) {
    const c = topic.charCodeAt(i)
    // [MQTT-3.3.2-2] [MQTT-4.7.0-1] no wildcards in names; [MQTT-4.7.3-2] no U+0000
    if (c === HASH || c === PLUS || c === 0) return false
  }
  return true
}

/** Whether `filter` may be subscribed to; of a shared subscription the group and the inner filter are checked too. */
export function isValidFilter(filter: string): boolean {
  if (!hasValidLength(filter)) return false
  if (!isShared(filter)) return hasValidWildcards(filter)
  const shared = parseShared(filter)
  // A group in a group has no meaning: no message could ever match it.
  return shared !== undefined && !isShared(shared.filter) && hasValidWildcards(shared.filter)
}

/** Whether `filter` asks for a shared subscription, well-formed or not. */
export function isShared(filter: string): boolean {
  return filter.charCodeAt(0) === DOLLAR && (filter.startsWith('$share/') || filter.startsWith('$queue/'))
}

/**
 * Takes `$share/<group>/<filter>` and `$queue/<filter>` apart.
 * @returns undefined if `filter` is not shared, or has no group or no filter. The inner filter is not looked at.
 * @see MQTT 5.0 §4.8.2
 */
export function parseShared(filter: string): SharedFilter | undefined {
  if (!isShared(filter)) return undefined
  if (filter.startsWith('$queue/')) {
    return filter.length === 7 ? undefined : { group: '$queue', filter: filter.slice(7) }
  }
  const slash = filter.indexOf('/', 7)
  // [MQTT-4.8.2-1] the group has at least one character; [MQTT-4.8.2-2] a `/` and a filter follow it
  if (slash <= 7 || slash === filter.length - 1) return undefined
  const group = filter.slice(7, slash)
  // [MQTT-4.8.2-2] no wildcards in the group
  return group.includes('+') || group.includes('#') ? undefined : { group, filter: filter.slice(slash + 1) }
}

/** Whether a message published to `topic` goes to a subscriber of `filter`; both must be valid, and `filter` not shared. */
export function topicMatches(filter: string, topic: string): boolean {
  // [MQTT-4.7.2-1] a wildcard in the first level does not match `$SYS` and its like
  if (topic.charCodeAt(0) === DOLLAR && filter.charCodeAt(0) !== DOLLAR) return false
  let t = 0
  for (let f = 0; f < filter.length; f++) {
    const c = filter.charCodeAt(f)
    if (c === HASH) return true
    if (c === PLUS) t = levelEnd(topic, t)
    else if (t < topic.length && topic.charCodeAt(t) === c) t++
    // `a/#` matches its parent `a` as well (§4.7.1.2)
    else return t === topic.length && f === filter.length - 2 && filter.endsWith('/#')
  }
  return t === topic.length
}

/** Number of levels of a topic or filter: `a` has 1, `/a` has 2. */
export function topicLevels(topic: string): number {
  let levels = 1
  for (let i = 0; i < topic.length; i++) if (topic.charCodeAt(i) === SLASH) levels++
  return levels
}

/** Whether `filter` holds a wildcard. */
export function hasWildcard(filter: string): boolean {
  return filter.includes('+') || filter.includes('#')
}

function levelEnd(topic: string, from: number): number {
  let at = from
  while (at < topic.length && topic.charCodeAt(at) !== SLASH) at++
  return at
}

// [MQTT-4.7.3-1] at least one character; [MQTT-4.7.3-3] at most 65535 bytes
function hasValidLength(text: string): boolean {
  if (text.length === 0) return false
  return text.length * 3 <= MAX_BYTES || Buffer.byteLength(text) <= MAX_BYTES
}

function hasValidWildcards(filter: string): boolean {
  const last = filter.length - 1
  for (let i = 0; i <= last; i++) {
    const c = filter.charCodeAt(i)
    if (c === 0) return false
    if (c !== HASH && c !== PLUS) continue
    // [MQTT-4.7.1-1] `#` alone or after a `/`, and last; [MQTT-4.7.1-2] `+` is a whole level
    if (i > 0 && filter.charCodeAt(i - 1) !== SLASH) return false
    if (i < last && (c === HASH || filter.charCodeAt(i + 1) !== SLASH)) return false
  }
  return true
}
