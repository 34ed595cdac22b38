/** Publishers and subscribers on one hub in memory, and what each delivery allocates. */
import { createHook } from 'node:async_hooks'
import type { HeapProfiler } from 'node:inspector'
import { Session } from 'node:inspector/promises'
import { fileURLToPath } from 'node:url'
import { setFlagsFromString } from 'node:v8'
import type { Hub } from '../../broker/hub.ts'
import { MqttConnection } from '../../broker/mqtt/connection.ts'
import { FlushQueue } from '../../listeners/flush-queue.ts'
import { connectBytes, mqttContext, text, u16 } from '../broker/mqtt/raw-peer.ts'
import { packet } from '../broker/mqtt/support.ts'
import { MemoryPeer } from './memory-peer.ts'

export interface Load {
  version: 4 | 5
  qos: 0 | 1 | 2
  /** Publisher i publishes to topic i; every subscriber of it gets it. */
  publishers: number
  subscribersEach: number
  /** Its messages are about two topics in turns. */
  hasTwoTopics?: boolean
}

/** Of one delivery. */
export interface Allocations {
  bytes: number
  promises: number
}

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
/** Messages in one chunk of a publisher. */
const PER_CHUNK = 16
/** Until caches are filled and types are known. */
const WARM_UP_DELIVERIES = 10_000
const MEASURED_DELIVERIES = 10_000
/** Bytes between two allocations that are looked at, on average. */
const SAMPLING_INTERVAL = 64
const PAYLOAD = `"${'x'.repeat(64)}"`

// What optimized code allocates depends on when, and how, it was optimized: it differs from run to run.
setFlagsFromString('--no-opt')
setFlagsFromString('--no-maglev')

/** What `load` costs each delivery in the broker's own code and what that calls. */
export async function measureAllocations(hub: Hub, load: Load): Promise<Allocations> {
  const { peers, subscribers, publish } = await connectAll(hub, load)
  const perRound = load.publishers * PER_CHUNK * load.subscribersEach
  const deliver = (deliveries: number) => run(Math.ceil(deliveries / perRound), publish, peers)
  const delivered = () => subscribers.reduce((sum, peer) => sum + peer.delivered, 0)
  await deliver(WARM_UP_DELIVERIES)
  const sampled = delivered()
  const bytes = await sampleBytes(() => deliver(MEASURED_DELIVERIES))
  const counted = delivered()
  const promises = await countPromises(() => deliver(MEASURED_DELIVERIES))
  return { bytes: bytes / (counted - sampled), promises: promises / (delivered() - counted) }
}

async function connectAll(hub: Hub, load: Load) {
  const { version, qos, publishers, subscribersEach, hasTwoTopics } = load
  const flushQueue = new FlushQueue()
  const context = mqttContext(hub, { maxAwaitingRelease: 1000 })
  const login = (clientId: string) => {
    const peer = new MemoryPeer(flushQueue)
    new MqttConnection(peer, context, { enableAuthn: true, mountpoint: '', zone: 'default' })
    peer.arrive(connectBytes(version, clientId))
    return peer
  }
  const subscribers: MemoryPeer[] = []
  const senders: { peer: MemoryPeer; chunk: Buffer }[] = []
  for (let p = 0; p < publishers; p++) {
    const topics = [text(`bench/${p}/data`), text(`bench/${p}/more`)]
    const filter = text(hasTwoTopics ? `bench/${p}/+` : `bench/${p}/data`)
    for (let s = 0; s < subscribersEach; s++) {
      const peer = login(`s${p}-${s}`)
      subscribers.push(peer)
      await nextTurn()
      peer.arrive(packet('82', '0001', version === 5 ? '00' : '', filter, `0${qos}`))
    }
    senders.push({
      peer: login(`p${p}`),
      chunk: chunkOf(version, qos, hasTwoTopics ? topics : topics.slice(0, 1)),
    })
  }
  await nextTurn()
  const publish = () => {
    for (const { peer, chunk } of senders) peer.arrive(chunk)
  }
  return { peers: [...subscribers, ...senders.map(({ peer }) => peer)], subscribers, publish }
}

/** The packet ids are free again when it comes the next time. */
function chunkOf(version: 4 | 5, qos: number, topics: readonly string[]): Buffer {
  const properties = version === 5 ? '00' : ''
  const header = (0x30 | (qos << 1)).toString(16)
  const id = (i: number) => (qos > 0 ? u16(i + 1) : '')
  return Buffer.concat(
    Array.from({ length: PER_CHUNK }, (_, i) =>
      packet(header, topics[i % topics.length] as string, id(i), properties, PAYLOAD),
    ),
  )
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

/** Publishes, and goes on when everything is acknowledged. Without promises of its own. */
function run(rounds: number, publish: () => void, peers: readonly MemoryPeer[]): Promise<void> {
  return new Promise((resolve) => {
    let left = rounds
    const turn = () => {
      let isQuiet = true
      for (const peer of peers) if (peer.acknowledge()) isQuiet = false
      if (isQuiet) {
        if (left-- === 0) return resolve()
        publish()
      }
      setImmediate(turn)
    }
    turn()
  })
}

/** Bytes of heap that the broker allocates during `work`, collected or not. What the engine and the tests do is not in it. */
async function sampleBytes(work: () => Promise<unknown>): Promise<number> {
  const session = new Session()
  session.connect()
  const options = {
    samplingInterval: SAMPLING_INTERVAL,
    includeObjectsCollectedByMajorGC: true,
    includeObjectsCollectedByMinorGC: true,
  }
  await session.post('HeapProfiler.startSampling', options)
  await work()
  const { profile } = await session.post('HeapProfiler.stopSampling')
  session.disconnect()
  return brokerBytes(profile.head, false)
}

/** Of a function and all it calls. Functions of the engine and of Node count for who calls them. */
function brokerBytes(node: HeapProfiler.SamplingHeapProfileNode, isOfCaller: boolean): number {
  const { url } = node.callFrame
  const isOurs = url.includes(ROOT) ? !url.includes('/test/') && !url.includes('/node_modules/') : isOfCaller
  const own = isOurs ? node.selfSize : 0
  return node.children.reduce((sum, child) => sum + brokerBytes(child, isOurs), own)
}

async function countPromises(work: () => Promise<unknown>): Promise<number> {
  let count = 0
  const hook = createHook({
    init(_id, type) {
      if (type === 'PROMISE') count++
    },
  })
  hook.enable()
  const working = work()
  const own = count
  await working
  hook.disable()
  return count - own
}
