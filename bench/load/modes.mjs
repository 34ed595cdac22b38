/** Who the clients of a scenario are, for both generators. */

const FILTERS_AT_ONCE = 100

/** Who publishes and subscribes where; `fan` is how many deliveries a message makes. */
const MODES = {
  pair: () => ({ topics: (p) => [`bench/${p}/data`], filters: (s) => [`bench/${s}/data`], fan: 1 }),
  fanout: ({ subscribers }) => ({
    topics: () => ['bench/fan'],
    filters: () => ['bench/fan'],
    fan: subscribers,
  }),
  fanin: ({ subscribers }) => ({
    topics: (p) => [`bench/${p}/data`],
    filters: () => ['bench/#'],
    fan: subscribers,
  }),
  wildcard: ({ subscribers, topics }) => {
    const all = range(topics).map((k) => `bench/${k % subscribers}/${k}/v`)
    return { topics: () => all, filters: (s) => [`bench/${s}/+/v`], fan: 1 }
  },
  share: () => ({ topics: () => ['bench/fan'], filters: () => ['$share/g/bench/fan'], fan: 1 }),
  /** `subscriptions` different filters in all, of which the published topics match one each. */
  trie: ({ subscribers, subscriptions, topics }) => {
    const all = range(topics).map((k) => `bench/${k % subscriptions}/value/v`)
    const own = (s) => range(subscriptions / subscribers).map((i) => `bench/${i * subscribers + s}/+/v`)
    return { topics: () => all, filters: own, fan: 1 }
  },
  nobody: () => ({ topics: (p) => [`bench/${p}/data`], filters: () => [], fan: 0 }),
}

function range(count) {
  return Array.from({ length: count }, (_, i) => i)
}

/**
 * All clients in the order in which they log in, publishers last: what each subscribes to, as many filters as go in one
 * packet, and the packets it publishes, encoded before the load starts. Publishers of the same topics share a list.
 */
export function planOf({ spec, codec }) {
  const { topics, filters, fan } = MODES[spec.mode](spec)
  const encoded = new Map()
  const packetOf = (topic) => codec.publish(topic, spec.payloadBytes)
  const packetsOf = (list) => encoded.get(list) ?? encoded.set(list, list.map(packetOf)).get(list)
  const clients = [
    ...range(spec.idle ?? 0).map((i) => ({ id: `idle-${i}` })),
    ...range(spec.subscribers).map((i) => ({ id: `subscriber-${i}`, filters: inParts(filters(i)) })),
    ...range(spec.slow ?? 0).map((i) => ({ id: `slow-${i}`, filters: inParts(filters(i)), isSlow: true })),
    ...range(spec.publishers).map((i) => ({ id: `publisher-${i}`, packets: packetsOf(topics(i)) })),
  ]
  return { clients: clients.map((client) => ({ filters: [], packets: [], ...client })), fan }
}

function inParts(filters) {
  const count = Math.ceil(filters.length / FILTERS_AT_ONCE)
  return range(count).map((i) => filters.slice(i * FILTERS_AT_ONCE, (i + 1) * FILTERS_AT_ONCE))
}
