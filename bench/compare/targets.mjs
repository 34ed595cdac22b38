/** What Hubbub is held against. Each target names the figures it needs; without them nothing is said about it. */

/** CPU per delivery, as a share of Mosquitto's in the same run. */
const OF_MOSQUITTO = {
  'pair-qos0': 10,
  'pair-qos1': 11,
  'pair-qos2': 14,
  'fan-out-qos0': 12,
  'fan-out-qos1': 12,
  'fan-in-qos0': 9,
  'wildcard-qos0': 7,
  'shared-qos1': 8,
}
/** CPU per delivery in one scenario, against the same without what it adds. */
const OF_ANOTHER = [
  ...[0, 1, 2].map((qos) => [`pair5-qos${qos}`, `pair-qos${qos}`, 1.2]),
  ...['access', 'looks'].flatMap((id) => [0, 1, 2].map((qos) => [`${id}-qos${qos}`, `bare-qos${qos}`, 1.25])),
  ['beside-15000-idle', 'beside-10-idle', 1.2],
]
const MAX_IDLE_BYTES = 8 * 1024
const MIN_CONNECTS_PER_CORE_SECOND = 10_000
const MAX_SLOW_RATIO = 2
/** Its outbox and queue take 5 MB; the heap comes and goes. */
const MAX_SLOW_GROWTH_BYTES = 64 * 1024 * 1024
const MAX_DELAY_MS = 20
const MAX_NOBODY_GROWTH_BYTES = 256 * 1024 * 1024

/**
 * @param figure - looks up a median: scenario, broker, name; undefined if it was not measured
 * @returns what was looked at: `text`, and whether it `holds`
 */
export function checkTargets(figure) {
  const ours = (scenario, name) => figure(scenario, 'Hubbub', name)
  const checked = []
  const check = (values, judge) => {
    if (values.every((value) => value !== undefined && !Number.isNaN(value))) checked.push(judge(...values))
  }
  for (const [id, share] of Object.entries(OF_MOSQUITTO)) {
    check([figure(id, 'Mosquitto', 'cpuUs'), ours(id, 'cpuUs')], (theirs, own) =>
      verdict(
        `${id}: CPU 1/${(theirs / own).toFixed(1)} of Mosquitto's, target 1/${share}`,
        theirs / own >= share,
      ),
    )
  }
  for (const [id, base, limit] of OF_ANOTHER) {
    check([ours(id, 'cpuUs'), ours(base, 'cpuUs')], (own, without) =>
      verdict(
        `${id}: CPU ${(own / without).toFixed(2)} times ${base}'s, target ${limit}`,
        own / without <= limit,
      ),
    )
  }
  check([ours('idle', 'rssPerClient')], (bytes) =>
    verdict(
      `idle: ${bytes.toFixed(0)} bytes of memory for each client, target ${MAX_IDLE_BYTES}`,
      bytes <= MAX_IDLE_BYTES,
    ),
  )
  check([ours('connect', 'cpuUs')], (cpuUs) =>
    verdict(
      `connect: ${(1e6 / cpuUs).toFixed(0)} per second of a core, target ${MIN_CONNECTS_PER_CORE_SECOND}`,
      1e6 / cpuUs >= MIN_CONNECTS_PER_CORE_SECOND,
    ),
  )
  check([ours('slow-with', 'p99Ms'), ours('slow-without', 'p99Ms')], (slow, fast) =>
    verdict(
      `slow: the others' p99 is ${(slow / fast).toFixed(2)} times what it is without the slow one, target ${MAX_SLOW_RATIO}`,
      slow / fast <= MAX_SLOW_RATIO,
    ),
  )
  check([ours('slow-with', 'growthBytes')], (bytes) =>
    verdict(
      `slow: memory grew by ${mega(bytes)} MB, target ${mega(MAX_SLOW_GROWTH_BYTES)}`,
      bytes <= MAX_SLOW_GROWTH_BYTES,
    ),
  )
  check([ours('nobody', 'growthBytes')], (bytes) =>
    verdict(
      `nobody: memory grew by ${mega(bytes)} MB, target ${mega(MAX_NOBODY_GROWTH_BYTES)}`,
      bytes <= MAX_NOBODY_GROWTH_BYTES,
    ),
  )
  check([ours('nobody', 'delayMs')], (delay) =>
    verdict(
      `nobody: event-loop delay ${delay.toFixed(1)} ms (99 %), target ${MAX_DELAY_MS}`,
      delay < MAX_DELAY_MS,
    ),
  )
  return checked
}

function verdict(text, holds) {
  return { text, holds }
}

function mega(bytes) {
  return (bytes / 1024 / 1024).toFixed(0)
}
