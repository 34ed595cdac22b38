import type { ClientInfo } from '../../model/client-info.ts'
import { Message, type MessageProperties, type QoS } from '../../model/message.ts'
import { MessageHead } from '../../model/message-head.ts'
import type { NatsFrame } from './frame.ts'
import { headersOf } from './headers.ts'
import { answerTarget, isAnswer, requestProperties } from './request-reply.ts'
import { subjectOf } from './subject.ts'

/** The message of a PUB or HPUB; undefined if its subject, or that of the reply, cannot be a topic. */
export function messageOfPublish(
  frame: NatsFrame,
  qos: QoS,
  publisher: ClientInfo,
  nowMs: number,
): Message | undefined {
  const { subject, bytes, payload, end } = frame
  if (subject.topic === undefined) return undefined
  const isPlain = frame.text === '' && frame.op === 'PUB'
  if (isPlain && !isAnswer(subject)) {
    const { topic, known } = subject
    return new Message(
      new MessageHead(topic, qos, false, undefined, publisher, nowMs, known),
      bytes,
      payload,
      end,
    )
  }
  const target = isAnswer(subject)
    ? answerTarget(subject)
    : { topic: subject.topic, correlationData: undefined }
  const properties = propertiesOf(frame, publisher.mountpoint)
  if (target === undefined || properties === undefined) return undefined
  if (target.correlationData !== undefined) properties.correlationData = target.correlationData
  return Message.of(target.topic, bytes, qos, false, properties, publisher, nowMs, payload, end)
}

function propertiesOf(frame: NatsFrame, mountpoint: string): MessageProperties | undefined {
  const { text: reply, bytes, start, payload } = frame
  if (reply !== '' && !isReplyTopic(reply)) return undefined
  return {
    ...(payload > start ? headersOf(bytes.subarray(start, payload)) : {}),
    ...(reply === '' ? {} : requestProperties(reply, mountpoint)),
  }
}

/** Whether others can answer to it. */
function isReplyTopic(reply: string): boolean {
  return !/[+#]/.test(reply) && subjectOf(reply) !== undefined
}
