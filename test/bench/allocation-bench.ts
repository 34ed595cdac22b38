/** Publishers and subscribers on one hub in memory, and what each delivery allocates. */
import { createHook } from 'node:async_hooks'
import { getHeapStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
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
}

/** Of one delivery. */
export interface Allocations {
  bytes: number
  promises: number
}

/** Messages in one chunk of a publisher. */
const PER_CHUNK = 16
/** Until caches are filled and types are known. */
const WARM_UP_DELIVERIES = 10_000
/** So few that no garbage collection falls into a sample. */
const DELIVERIES_PER_SAMPLE = 800
const SAMPLES = 25
const MAX_ATTEMPTS = 4
/** A low one counts, but not the lowest: what the engine does meanwhile adds to a sample, a collection makes it low. */
const RANK = 4
const PAYLOAD = `"${'x'.repeat(64)}"`

// What optimized code allocates depends on when, and how, it was optimized: it differs from run to run.
setFlagsFromString('--no-opt')
setFlagsFromString('--no-maglev')
setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

/**
 * What `load` costs each delivery. The hub must have nothing else to do.
 * @param enough - bytes at which no further attempt is made: now and then the engine adds some of its own for a
 *   while, what the broker allocates is there at every attempt
 */
export async function measureAllocations(hub: Hub, load: Load, enough: number): Promise<Allocations> {
  const { peers, subscribers, publish } = await connectAll(hub, load)
  const perRound = load.publishers * PER_CHUNK * load.subscribersEach
  const deliver = (deliveries: number) => run(Math.ceil(deliveries / perRound), publish, peers)
  const delivered = () => subscribers.reduce((sum, peer) => sum + peer.delivered, 0)
  const sample = async () => {
    collectGarbage()
    const before = delivered()
    const bytes = await deliver(DELIVERIES_PER_SAMPLE)
    return bytes / (delivered() - before)
  }
  let bytes = Number.POSITIVE_INFINITY
  for (let attempt = 0; attempt < MAX_ATTEMPTS && bytes > enough; attempt++) {
    await deliver(WARM_UP_DELIVERIES)
    const samples: number[] = []
    for (let i = 0; i < SAMPLES; i++) samples.push(await sample())
    bytes = Math.min(bytes, samples.toSorted((a, b) => a - b)[RANK] ?? bytes)
  }
  const before = delivered()
  const promises = await countPromises(() => deliver(DELIVERIES_PER_SAMPLE))
  return { bytes, promises: promises / (delivered() - before) }
}

async function connectAll(hub: Hub, { version, qos, publishers, subscribersEach }: Load) {
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
    const topic = text(`bench/${p}/data`)
    for (let s = 0; s < subscribersEach; s++) {
      const peer = login(`s${p}-${s}`)
      subscribers.push(peer)
      await nextTurn()
      peer.arrive(packet('82', '0001', version === 5 ? '00' : '', topic, `0${qos}`))
    }
    senders.push({ peer: login(`p${p}`), chunk: chunkOf(version, qos, topic) })
  }
  await nextTurn()
  const publish = () => {
    for (const { peer, chunk } of senders) peer.arrive(chunk)
  }
  return { peers: [...subscribers, ...senders.map(({ peer }) => peer)], subscribers, publish }
}

/** The packet ids are free again when it comes the next time. */
function chunkOf(version: 4 | 5, qos: number, topic: string): Buffer {
  const properties = version === 5 ? '00' : ''
  const header = (0x30 | (qos << 1)).toString(16)
  const id = (i: number) => (qos > 0 ? u16(i + 1) : '')
  return Buffer.concat(
    Array.from({ length: PER_CHUNK }, (_, i) => packet(header, topic, id(i), properties, PAYLOAD)),
  )
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

/**
 * Publishes, and goes on when everything is acknowledged. Without promises of its own.
 * @returns bytes of heap that were allocated, if nothing was collected
 */
function run(rounds: number, publish: () => void, peers: readonly MemoryPeer[]): Promise<number> {
  return new Promise((resolve) => {
    let left = rounds
    const from = getHeapStatistics().used_heap_size
    const turn = () => {
      let isQuiet = true
      for (const peer of peers) if (peer.acknowledge()) isQuiet = false
      if (isQuiet) {
        if (left-- === 0) return resolve(getHeapStatistics().used_heap_size - from)
        publish()
      }
      setImmediate(turn)
    }
    turn()
  })
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
