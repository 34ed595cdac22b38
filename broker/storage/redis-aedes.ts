import type RedisPersistence from 'aedes-persistence-redis/asyncPersistence.js'
import { messageOf } from '../../model/errors.ts'
import type { Logger } from '../../model/log.ts'
import type { RedisConnection } from './redis-connection.ts'

type Done = (error?: Error | null) => void
type Listener = (packet: object, done: () => void) => void

/** What Aedes' kernel, or its suite, hands to `setup`. Without the functions, a node has nobody to tell. */
export interface NodeBroker {
  readonly id: string
  publish?(packet: object, done: Done): void
  subscribe?(topic: string, listener: Listener, done: Done): void
  unsubscribe?(topic: string, listener: Listener, done: Done): void
}

/**
 * Aedes' own Redis persistence, under `<prefix>:aedes:`: subscriptions by topic, queues for clients that are away. Its
 * subscriptions are kept current between nodes through the broker's emitter.
 */
export async function openAedes(
  connection: RedisConnection,
  prefix: string,
  broker: NodeBroker,
  log: Logger,
): Promise<RedisPersistence> {
  const { default: Persistence } = await import('aedes-persistence-redis/asyncPersistence.js')
  const conn = await connection.another(keyPrefixOf(prefix))
  const persistence = new Persistence({ conn, cluster: connection.isCluster })
  await persistence.setup(guarded(broker, log))
  return persistence
}

/** Takes away the inbound QoS 2 packets of a client, which Aedes' own Redis persistence cannot. */
export async function forgetIncoming(
  connection: RedisConnection,
  prefix: string,
  clientId: string,
): Promise<void> {
  const id = encodeURIComponent(clientId).replaceAll('*', String.raw`\*`)
  for (const master of connection.masters) {
    const pattern = `${keyPrefixOf(prefix)}incoming:${id}:*`
    for await (const keys of master.scanStream({ match: pattern, count: 1000 }) as AsyncIterable<string[]>) {
      for (const key of keys) await connection.client.del(key)
    }
  }
}

function keyPrefixOf(prefix: string): string {
  return `${prefix}:aedes:`
}

/** What arrives on its topics may come from anybody: one that it cannot read must not end the process. */
function guarded(broker: NodeBroker, log: Logger): Required<NodeBroker> {
  const guards = new Map<Listener, Listener>()
  const guard = (listener: Listener): Listener => {
    const guardian: Listener = (packet, done) => {
      try {
        listener(packet, done)
      } catch (error) {
        log.debug({ error: messageOf(error) }, 'news of subscriptions that cannot be read')
        done()
      }
    }
    guards.set(listener, guardian)
    return guardian
  }
  return {
    id: broker.id,
    publish(packet, done) {
      if (broker.publish !== undefined) return broker.publish(packet, done)
      for (const guardian of guards.values()) guardian(packet, () => {})
      done()
    },
    subscribe(topic, listener, done) {
      const guardian = guard(listener)
      if (broker.subscribe === undefined) done()
      else broker.subscribe(topic, guardian, done)
    },
    unsubscribe(topic, listener, done) {
      const guardian = guards.get(listener)
      guards.delete(listener)
      // Not waited for: the broker may be closing, and then it answers nobody.
      if (guardian !== undefined) broker.unsubscribe?.(topic, guardian, () => {})
      done()
    },
  }
}
