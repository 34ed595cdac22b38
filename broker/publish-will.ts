import { andThen, isPromise, type MaybePromise, nextTurn } from '../model/async.ts'
import type { ClientInfo } from '../model/client-info.ts'
import { Message } from '../model/message.ts'
import { ReasonCode } from '../model/reason-codes.ts'
import { isAllowed, publishing } from './authorizing.ts'
import type { Will } from './broker.ts'
import type { Hub } from './hub.ts'
import { isReserved } from './reserved-topics.ts'
import type { DurableStore } from './storage/storage.ts'

/**
 * Publishes the will as if its client did so now: authorization and hooks have their say [MQTT-3.1.2-8].
 * @returns once it has got where it had to, or is given up. While the storage cannot be written it waits, if it is for
 *   somebody who is away: nobody is there to publish it again. Never rejects
 */
export function publishWill(hub: Hub, info: ClientInfo, will: Will): MaybePromise<void> {
  const { qos, retain } = will
  // Not even hooks are to take it for the broker's own.
  if (isReserved(info.mountpoint + will.topic)) return
  const published = andThen(isAllowed(hub, info, publishing(qos, retain), will.topic), (allowed) =>
    allowed ? publishOnce(hub, info, will) : undefined,
  )
  if (!isPromise(published)) return
  return published.catch((error: unknown) => hub.log.error({ client: info.key, error }, 'will not published'))
}

function publishOnce(hub: Hub, info: ClientInfo, will: Will): MaybePromise<void> {
  const { topic, payload, qos, retain, properties } = will
  // [MQTT-3.1.2-14] [MQTT-3.1.2-15] retained or not, as the will says
  const message = Message.of(info.mountpoint + topic, payload, qos, retain, properties, info, Date.now())
  return andThen(hub.publish(message), (code) => {
    const { durable } = hub.kernel.storage
    if (code !== ReasonCode.QuotaExceeded || durable?.refusal === undefined) return
    return writable(durable).then(() => publishOnce(hub, info, will))
  })
}

/** Resolves when the storage takes something again. */
async function writable(durable: DurableStore): Promise<void> {
  while (durable.refusal !== undefined) {
    await durable.unsafe?.catch(() => {}) // it tries again, with a delay
    await nextTurn()
  }
}
