/**
 * What is measured. `needs` names what a broker must be able to do; `spec` is the task of the load generator; those of one
 * `group` take turns, as one of them is a bound for another.
 */

const FLOW = { kind: 'flow', version: 4, payloadBytes: 64, window: 2000, warmUpMs: 1000 }
const PAIR = { ...FLOW, mode: 'pair', publishers: 10, subscribers: 10 }

/** Scenarios of 10 publishers with a subscriber each, at each QoS. */
function pairs(id, name, changes = {}, more = {}) {
  return [0, 1, 2].map((qos) => ({
    id: `${id}-qos${qos}`,
    name: `${name}, QoS ${qos}`,
    spec: { ...PAIR, ...changes, qos },
    group: `pairs-qos${qos}`,
    ...more,
  }))
}

/** All of them, in the order in which they are run. */
export const SCENARIOS = [
  ...pairs('pair', '10 pairs'),
  ...pairs('pair5', '10 pairs, MQTT 5', { version: 5 }, { needs: ['mqtt5'] }),
  ...[0, 1].map((qos) => ({
    id: `fan-out-qos${qos}`,
    name: `fan-out, 1 to 50, QoS ${qos}`,
    spec: { ...FLOW, mode: 'fanout', publishers: 1, subscribers: 50, qos },
  })),
  {
    id: 'fan-in-qos0',
    name: 'fan-in, 50 to 1, QoS 0',
    spec: { ...FLOW, mode: 'fanin', publishers: 50, subscribers: 1, qos: 0 },
  },
  {
    id: 'wildcard-qos0',
    name: 'wildcards, 10 publishers, 10,000 topics, 50 subscribers, QoS 0',
    spec: { ...FLOW, mode: 'wildcard', publishers: 10, subscribers: 50, topics: 10_000, qos: 0 },
  },
  {
    id: 'shared-qos1',
    name: 'shared subscription, 10 to a group of 10, QoS 1',
    spec: { ...FLOW, mode: 'share', publishers: 10, subscribers: 10, qos: 1 },
    needs: ['shared'],
  },
  ...[1000, 100_000].map((subscriptions) => ({
    id: `trie-${subscriptions}`,
    name: `${subscriptions.toLocaleString('en')} subscriptions with wildcards, 10,000 topics, QoS 0`,
    spec: { ...FLOW, mode: 'trie', publishers: 10, subscribers: 50, topics: 10_000, subscriptions, qos: 0 },
  })),
  ...pairs('bare', '10 pairs, nobody asked for access', {}, { needs: ['bare'], access: 'none' }),
  ...pairs('access', '10 pairs, with access rules and a hook', {}, { needs: ['access'], access: 'rules' }),
  ...pairs(
    'looks',
    '10 pairs, with access rules and a hook that keeps nothing',
    {},
    { needs: ['bare'], access: 'looks' },
  ),
  ...pairs('tls', '10 pairs over TLS', { transport: 'tls' }, { needs: ['tls'], group: undefined }).slice(
    0,
    2,
  ),
  ...pairs('ws', '10 pairs over WebSocket', { transport: 'ws' }, { needs: ['ws'], group: undefined }).slice(
    0,
    2,
  ),
  ...[10, 15_000].map((idle) => ({
    id: `beside-${idle}-idle`,
    name: `10 pairs beside ${idle.toLocaleString('en')} idle clients, QoS 0`,
    spec: { ...PAIR, qos: 0, idle },
    group: 'beside',
  })),
  {
    id: 'idle',
    name: '15,000 idle clients',
    spec: { kind: 'connects', version: 4, qos: 0, clients: 15_000, warmUpClients: 2000, settles: true },
    unit: 'connects',
  },
  {
    id: 'connect',
    name: '5,000 clients that connect',
    // The first logins of a process cost twice as much.
    spec: { kind: 'connects', version: 4, qos: 0, clients: 5000, warmUpClients: 10_000 },
    unit: 'connects',
  },
  ...[0, 1].map((slow) => ({
    id: slow === 1 ? 'slow-with' : 'slow-without',
    name: `50 subscribers, ${slow === 1 ? 'one more that reads nothing' : 'all of them fast'}, 500 messages of 4 KB per second`,
    spec: {
      ...FLOW,
      mode: 'fanout',
      publishers: 1,
      subscribers: 50,
      payloadBytes: 4096,
      perSecond: 500,
      qos: 0,
      slow,
      seconds: 60,
    },
    rounds: 1,
  })),
  {
    id: 'nobody',
    name: '50 publishers, no subscriber, QoS 0',
    spec: { ...FLOW, mode: 'nobody', publishers: 50, subscribers: 0, qos: 0, seconds: 60 },
    watchesDelays: true,
    rounds: 1,
    unit: 'publishes',
  },
  {
    id: 'retained',
    name: '10,000 retained messages to 5 subscribers, again and again',
    spec: { ...FLOW, kind: 'retained', subscribers: 5, topics: 10_000, qos: 0 },
  },
  { id: 'stomp', name: '10 pairs, STOMP', spec: { ...PAIR, qos: 0, protocol: 'stomp' }, needs: ['stomp'] },
  { id: 'nats', name: '10 pairs, NATS', spec: { ...PAIR, qos: 0, protocol: 'nats' }, needs: ['nats'] },
]

/** Which are to take turns, in the order of the first of each. */
export function groupsOf(scenarios) {
  const groups = new Map()
  for (const scenario of scenarios) {
    const { id, group = id } = scenario
    groups.set(group, [...(groups.get(group) ?? []), scenario])
  }
  return [...groups.values()]
}

/** What a broker must support for a scenario. */
export function needsOf({ needs = ['mqtt'] }) {
  return needs
}

/** The port that a scenario uses. */
export function portNameOf({ spec }) {
  return spec.protocol ?? spec.transport ?? 'tcp'
}
