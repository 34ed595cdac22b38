/** Logins: how many clients can connect, what they cost while they are there, and what a retained replay costs. */
import { setTimeout as wait } from 'node:timers/promises'
import { openAll } from './peer.mjs'

const WARM_UP_WAVE = 2000
const SETTLE_MS = 1500
const RETAINED_AT_ONCE = 100
const POLL_MS = 5

/** `clients` connect one after another, some at a time, and stay until the figures are taken; `warmUpClients` have come and gone before. */
export async function connects(load, report) {
  const { clients, warmUpClients } = load.spec
  for (let opened = 0; opened < warmUpClients; opened += WARM_UP_WAVE) await openAndClose(load, WARM_UP_WAVE)
  await wait(SETTLE_MS)
  await report('begin')
  const from = performance.now()
  const peers = []
  await openAll(clients, async (i) => {
    const peer = load.peer()
    peers.push(peer)
    await peer.open(load.target, `client-${i}`)
  })
  const seconds = (performance.now() - from) / 1000
  if (load.spec.settles) await wait(SETTLE_MS)
  await report('end')
  for (const peer of peers) peer.close()
  return { seconds, deliveries: clients, published: 0, lost: 0 }
}

async function openAndClose(load, count) {
  const peers = []
  await openAll(count, async (i) => {
    const peer = load.peer()
    await peer.open(load.target, `warm-up-${i}`)
    peers.push(peer)
  })
  for (const peer of peers) peer.close()
}

/** Subscribers that ask for all retained messages, and again as soon as they have come. */
export async function retained(load, report) {
  const { spec, tally, codec } = load
  const publisher = load.peer()
  await publisher.open(load.target, 'publisher')
  const packets = Array.from({ length: spec.topics }, (_, i) =>
    codec.publish(`bench/${i}`, spec.payloadBytes, true),
  )
  for (let at = 0; at < packets.length; at += RETAINED_AT_ONCE) {
    publisher.publish(packets, at, Math.min(RETAINED_AT_ONCE, packets.length - at), performance.now())
    while (publisher.room === 0) await wait(POLL_MS)
  }
  let isRunning = true
  const peers = []
  await openAll(spec.subscribers, async (i) => {
    const peer = load.peer()
    peers.push(peer)
    await peer.open(load.target, `subscriber-${i}`)
  })
  const replay = async () => {
    while (isRunning) {
      const wanted = tally.received + peers.length * packets.length
      await Promise.all(peers.map((peer) => peer.subscribe(['bench/#'])))
      while (isRunning && tally.received < wanted) await new Promise((resolve) => setImmediate(resolve))
      for (const peer of peers) peer.send(codec.unsubscribe(['bench/#']))
    }
  }
  const replaying = replay()
  await wait(spec.warmUpMs)
  const [from, received] = [performance.now(), tally.received]
  await report('begin')
  await wait(spec.seconds * 1000)
  const result = { seconds: (performance.now() - from) / 1000, deliveries: tally.received - received }
  await report('end')
  isRunning = false
  await replaying
  for (const peer of [publisher, ...peers]) peer.close()
  return { ...result, published: 0, lost: 0 }
}
