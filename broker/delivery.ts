import type { Message, QoS } from '../model/message.ts'
import type { Delivery } from './broker.ts'
import type { SharedGroup } from './routing/shared-groups.ts'

/** How far a QoS 1 or 2 delivery has come. */
export type DeliveryState = 'queued' | 'sent' | 'released' // released: the peer has answered PUBREC, PUBREL is out

/** A delivery as its session keeps it: in the queue, in flight, or only while it is encoded. */
export class SessionDelivery implements Delivery {
  readonly message: Message
  readonly qos: QoS
  readonly retain: boolean
  readonly subscriptionIds: readonly number[] | undefined
  /** The shared group whose copy this is: it goes to another member if this session ends. */
  readonly group: SharedGroup | undefined
  dup: boolean
  packetId: number
  state: DeliveryState
  /** What a durable storage knows it by; undefined where it is not kept. Owned by the storage. */
  kept: unknown

  constructor(
    message: Message,
    qos: QoS,
    retain: boolean,
    subscriptionIds: readonly number[] | undefined,
    group?: SharedGroup,
  ) {
    this.message = message
    this.qos = qos
    this.retain = retain
    this.subscriptionIds = subscriptionIds
    this.group = group
    this.dup = false // [MQTT-4.3.2-2] [MQTT-4.3.3-2]
    this.packetId = 0
    this.state = 'queued'
    this.kept = undefined
  }

  /** The same delivery of a changed message. */
  with(message: Message): SessionDelivery {
    const changed = new SessionDelivery(message, this.qos, this.retain, this.subscriptionIds, this.group)
    changed.dup = this.dup
    changed.packetId = this.packetId
    changed.state = this.state
    changed.kept = this.kept
    return changed
  }
}

/** A delivery at QoS 0. All plain subscribers of a message share one. */
export function qos0Delivery(
  message: Message,
  retain: boolean,
  subscriptionIds: readonly number[] | undefined,
): SessionDelivery {
  if (retain || subscriptionIds !== undefined) return new SessionDelivery(message, 0, retain, subscriptionIds)
  const shared = message.plain as SessionDelivery | undefined
  if (shared !== undefined) return shared
  const delivery = new SessionDelivery(message, 0, false, undefined)
  message.plain = delivery
  return delivery
}
