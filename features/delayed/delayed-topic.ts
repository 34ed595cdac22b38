/**
 * Topics of messages to be published later:
 *
 *     $delayed / number / topic
 *
 * A number below 42949670 counts seconds from now. From there on it is a Unix time in seconds, at most
 * as far ahead. A time that is over means now.
 */

export const DELAYED_PREFIX = '$delayed/'

/** 497 days. */
const MAX_DELAY_SECONDS = 42_949_670
const DELAYED = /^\$delayed\/(\d+)\/(.+)$/s

export interface DelayedTopic {
  /** Where it is to be published. */
  topic: string
  /** Unix time in milliseconds. */
  dueAtMs: number
}

/**
 * @param topic - begins with `$delayed/`, without mountpoint
 * @returns undefined if parts are missing, the number is none, or the time is too far ahead
 */
export function parseDelayed(topic: string, nowMs: number): DelayedTopic | undefined {
  const [, digits, inner = ''] = DELAYED.exec(topic) ?? []
  // One in another would be published to a topic that authorization was not asked about.
  if (digits === undefined || inner.startsWith(DELAYED_PREFIX)) return undefined
  const number = Number(digits)
  if (number < MAX_DELAY_SECONDS) return { topic: inner, dueAtMs: nowMs + number * 1000 }
  return number - nowMs / 1000 > MAX_DELAY_SECONDS ? undefined : { topic: inner, dueAtMs: number * 1000 }
}
