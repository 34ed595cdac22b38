/**
 * Publishers and subscribers in a closed loop: at most `window` deliveries are on their way, so that what is
 * measured is what the broker can do, not how fast it can drop.
 */
import { setTimeout as wait } from 'node:timers/promises'
import { planOf } from './modes.mjs'
import { openAll } from './peer.mjs'

const BURST = 10
const BURSTS_PER_TURN = 64
const PACE_MS = 5
const STALL_MS = 1000
const MAX_CATCH_UP_MS = 50

/** @param report - told 'begin' and 'end' when the counting begins and ends */
export async function flow(load, report) {
  const plan = planOf(load)
  const { peers, publishers } = await openPeers(load, plan.clients)
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

async function openPeers(load, clients) {
  const peers = []
  const publishers = []
  await openAll(clients.length, async (i) => {
    const { id, filters, packets, isSlow } = clients[i]
    const peer = load.peer()
    peers.push(peer)
    peer.payloadBytes = load.spec.payloadBytes
    await peer.open(load.target, id)
    for (const some of filters) await peer.subscribe(some)
    if (isSlow) peer.socket.pause()
    if (packets.length > 0) publishers.push({ peer, packets, next: 0 })
  })
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
  let [turn, lost, isRunning, isPlanned, seen] = [0, 0, true, false, 0]
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
