import { andThen, isPromise } from '../model/async.ts'
import type { ClientInfo } from '../model/client-info.ts'
import { Message } from '../model/message.ts'
import { isAllowed, publishing } from './authorizing.ts'
import type { Will } from './broker.ts'
import type { Hub } from './hub.ts'
import { isReserved } from './reserved-topics.ts'

/** Publishes the will as if its client did so now: authorization and hooks have their say [MQTT-3.1.2-8]. */
export function publishWill(hub: Hub, info: ClientInfo, will: Will): void {
  const { payload, qos, retain, properties } = will
  const topic = info.mountpoint + will.topic
  // Not even hooks are to take it for the broker's own.
  if (isReserved(topic)) return
  const published = andThen(isAllowed(hub, info, publishing(qos, retain), will.topic), (allowed) => {
    // [MQTT-3.1.2-14] [MQTT-3.1.2-15] retained or not, as the will says
    const message = new Message(topic, payload, qos, retain, properties, info, Date.now())
    return allowed ? hub.publish(message) : undefined
  })
  if (isPromise(published))
    published.catch((error: unknown) => hub.log.error({ client: info.key, error }, 'will not published'))
}
