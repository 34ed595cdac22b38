/**
 * Publishers and subscribers in a closed loop: at most `window` deliveries are on their way, so that what is
 * measured is what the broker can do, not how fast it can drop.
 */
import { setTimeout as wait } from 'node:timers/promises'
import { openAll } from './peer.mjs'

const BURST = 16
const BURSTS_PER_TURN = 64
const PACE_MS = 5
const STALL_MS = 1000
const FILTERS_AT_ONCE = 100
const MAX_CATCH_UP_MS = 50

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

/** @param report - told 'begin' and 'end' when the counting begins and ends */
export async function flow(load, report) {
  const plan = MODES[load.spec.mode](load.spec)
  const { peers, publishers } = await openPeers(load, plan)
  const { tally, spec } = load
  const stop = spec.perSecond === undefined ? pump(load, publishers, plan) : pace(load, publishers)
  await wait(spec.warmUpMs)
  tally.forgetWaits()
  const [from, received, sent] = [performance.now(), tally.received, tally.sent]
  await report('begin')
  await wait(spec.seconds * 1000)
  const seconds = (performance.now() - from) / 1000
  const result = { seconds, deliveries: tally.received - received, published: tally.sent - sent }
  await report('end')
  const lost = stop()
  for (const peer of peers) peer.close()
  return { ...result, p50Ms: tally.percentile(0.5), p99Ms: tally.percentile(0.99), lost }
}

async function openPeers(load, { topics, filters }) {
  const { spec, codec } = load
  const { subscribers, publishers: count, payloadBytes, idle = 0, slow = 0 } = spec
  const peers = []
  const login = async (name, i) => {
    const peer = load.peer()
    peers.push(peer)
    peer.payloadBytes = payloadBytes
    await peer.open(load.target, `${name}-${i}`)
    return peer
  }
  await openAll(idle, (i) => login('idle', i))
  await openAll(subscribers, async (i) => {
    const peer = await login('subscriber', i)
    const wanted = filters(i)
    for (let at = 0; at < wanted.length; at += FILTERS_AT_ONCE)
      await peer.subscribe(wanted.slice(at, at + FILTERS_AT_ONCE))
  })
  for (let i = 0; i < slow; i++) {
    const peer = await login('slow', i)
    await peer.subscribe(filters(i))
    peer.socket.pause()
  }
  const encode = (topic) => codec.publish(topic, payloadBytes)
  const same = new Map()
  const packetsOf = (list) =>
    list.map((topic) => same.get(topic) ?? same.set(topic, encode(topic)).get(topic))
  const publishers = []
  for (let i = 0; i < count; i++) {
    publishers.push({ peer: await login('publisher', i), packets: packetsOf(topics(i)), next: 0 })
  }
  return { peers, publishers }
}

function publish(publisher, count, tally) {
  publisher.peer.publish(publisher.packets, publisher.next, count, performance.now())
  publisher.next = (publisher.next + count) % publisher.packets.length
  tally.sent += count
}

/** Sends as long as the window has room, once in a turn of the event loop in which something came. @returns stops it, and tells what was lost */
function pump(load, publishers, { fan }) {
  const { tally, spec } = load
  let [turn, lost, isRunning, isPlanned, seen] = [0, 0, true, false, -1]
  const room = () => (fan === 0 ? BURST : (spec.window + tally.received + lost - tally.sent * fan) / fan)
  const fill = () => {
    isPlanned = false
    if (!isRunning) return
    let [bursts, blocked] = [BURSTS_PER_TURN, 0]
    while (bursts > 0 && blocked < publishers.length && room() > 0) {
      const publisher = publishers[turn++ % publishers.length]
      const most = Math.min(BURST, publisher.peer.room)
      if (most <= 0) {
        blocked++
        continue
      }
      blocked = 0
      bursts--
      publish(publisher, Math.min(most, Math.ceil(room())), tally)
    }
    if (bursts === 0) plan()
  }
  const plan = () => {
    if (isPlanned) return
    isPlanned = true
    setImmediate(fill)
  }
  load.onTurn = plan
  plan()
  // What a broker drops would leave the window full for ever.
  const watch = setInterval(() => {
    if (fan > 0 && seen === tally.received && room() <= 0) lost = tally.sent * fan - tally.received
    seen = tally.received
    plan()
  }, STALL_MS)
  return () => {
    isRunning = false
    clearInterval(watch)
    return lost
  }
}

/** Sends so many messages a second, whatever comes of them. */
function pace(load, publishers) {
  const { tally, spec } = load
  const from = performance.now()
  let [paced, turn] = [0, 0]
  const timer = setInterval(() => {
    const due = Math.floor(((performance.now() - from) * spec.perSecond) / 1000) - paced
    paced += due
    for (let left = Math.min(due, spec.perSecond * (MAX_CATCH_UP_MS / 1000)); left > 0; left -= BURST) {
      const publisher = publishers[turn++ % publishers.length]
      if (publisher.peer.room >= BURST) publish(publisher, Math.min(BURST, left), tally)
    }
  }, PACE_MS)
  return () => {
    clearInterval(timer)
    return 0
  }
}
