import type { Client, Will } from '../../broker/broker.ts'
import { andThen, type MaybePromise } from '../../model/async.ts'
import { isValidTopicName } from '../../model/topic.ts'
import { Code, encodeByte, Type, type WillTopicFrame } from './frame.ts'

type Send = (datagram: Buffer) => void

/** WILLTOPICUPD (§5.4.22): answers once it is safe. */
export function updateWillTopic(client: Client, frame: WillTopicFrame, send: Send): MaybePromise<void> {
  const will = willOf(frame, client.will?.payload)
  if (will === 'wrong') return send(encodeByte(Type.WILLTOPICRESP, Code.NotSupported))
  return setWill(client, will, Type.WILLTOPICRESP, send)
}

/** WILLMSGUPD (§5.4.23). */
export function updateWillMessage(client: Client, payload: Buffer, send: Send): MaybePromise<void> {
  if (client.will === undefined) return send(encodeByte(Type.WILLMSGRESP, Code.NotSupported))
  return setWill(client, { ...client.will, payload: Buffer.from(payload) }, Type.WILLMSGRESP, send)
}

/** @returns undefined: there is to be none */
export function willOf(
  { topic, qos, retain }: WillTopicFrame,
  payload: Uint8Array = new Uint8Array(0),
): Will | undefined | 'wrong' {
  if (topic === undefined) return undefined
  if (qos === -1 || !isValidTopicName(topic)) return 'wrong'
  return { topic, qos, retain, payload, delaySeconds: 0, properties: undefined }
}

function setWill(client: Client, will: Will | undefined, answer: number, send: Send): MaybePromise<void> {
  return andThen(client.setWill(will), (isKept) =>
    send(encodeByte(answer, isKept ? Code.Accepted : Code.Congestion)),
  )
}
