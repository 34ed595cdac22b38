/**
 * SEND -> message -> MESSAGE: which header is which property.
 *
 *     content-type   MQTT 5 Content Type
 *     qos, retain    of the message itself (extensions)
 *     hop by hop     destination, content-length, transaction, receipt, ... end here
 *     all others     MQTT 5 user properties, both ways
 */
import type { Delivery } from '../../broker/broker.ts'
import type { ClientInfo } from '../../model/client-info.ts'
import { BrokerError } from '../../model/errors.ts'
import { Message, type MessageProperties, type QoS } from '../../model/message.ts'
import { isValidTopicName } from '../../model/topic.ts'
import { type FrameSink, type StompFrame, writeFrame } from './frame.ts'
import { escapeHeader, type StompHeaders, type StompVersion } from './headers.ts'
import type { StompSubscription } from './subscriptions.ts'

const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'destination',
  'content-length',
  'content-type',
  'transaction',
  'receipt',
  'qos',
  'retain',
  'message-id',
  'subscription',
  'ack',
])

/**
 * The topic a SEND goes to, verbatim.
 * @throws BrokerError PROTOCOL_VIOLATED when there is none, or it is no topic: empty, or with a wildcard
 */
function destinationOf(frame: StompFrame): string {
  const destination = required(frame, 'destination')
  if (!isValidTopicName(destination)) throw violated(`Invalid destination ${destination}`)
  return destination
}

/** @throws BrokerError PROTOCOL_VIOLATED */
export function required(frame: StompFrame, name: string): string {
  const value = frame.headers.get(name)
  if (value === undefined) throw violated(`Missing header ${name} in ${frame.command}`)
  return value
}

export function violated(text: string): BrokerError {
  return new BrokerError('PROTOCOL_VIOLATED', text)
}

/** @throws BrokerError PROTOCOL_VIOLATED when a header makes no sense */
export function messageOfSend(frame: StompFrame, publisher: ClientInfo, nowMs: number): Message {
  const { headers, body } = frame
  const topic = destinationOf(frame)
  return Message.of(topic, body, qosOf(headers), retainOf(headers), propertiesOf(headers), publisher, nowMs)
}

function qosOf(headers: StompHeaders): QoS {
  const text = headers.get('qos')
  if (text === undefined || text === '0') return 0
  if (text === '1') return 1
  if (text === '2') return 2
  throw violated(`Invalid qos: ${text}`)
}

function retainOf(headers: StompHeaders): boolean {
  const text = headers.get('retain')
  if (text === undefined || text === 'false' || text === '0') return false
  if (text === 'true' || text === '1') return true
  throw violated(`Invalid retain: ${text}`)
}

function propertiesOf(headers: StompHeaders): MessageProperties | undefined {
  // Most SENDs of devices have a destination and nothing else.
  if (headers.size === 1) return undefined
  const userProperties: [string, string][] = []
  headers.forEach((name, value) => {
    if (!HOP_BY_HOP.has(name)) userProperties.push([name, value])
  })
  const contentType = headers.get('content-type')
  if (userProperties.length === 0 && contentType === undefined) return undefined
  return {
    ...(contentType === undefined ? {} : { contentType }),
    ...(userProperties.length === 0 ? {} : { userProperties }),
  }
}

/** One MESSAGE to one subscription. */
export interface Outgoing {
  readonly delivery: Delivery
  /** Without mountpoint. */
  readonly destination: string
  readonly subscription: StompSubscription
  readonly messageId: string
  /** Value of the `ack` header, undefined with `ack:auto`. */
  readonly ack: string | undefined
}

/**
 * Writes MESSAGE frames. The part that depends on the message alone is remembered for the
 * last one, because a message to many subscribers comes in one run.
 */
export class MessageWriter {
  #message: Message | undefined
  #version: StompVersion | undefined
  #contentType = ''
  #userHeaders = ''

  write(sink: FrameSink, outgoing: Outgoing, version: StompVersion): void {
    const { delivery, destination, subscription, messageId, ack } = outgoing
    this.#prepare(delivery.message, version)
    let head = 'MESSAGE'
    if (subscription.id !== undefined) head += `\nsubscription:${escapeHeader(subscription.id, version)}`
    head += `\nmessage-id:${messageId}\ndestination:${escapeHeader(destination, version)}${this.#contentType}`
    if (ack !== undefined) head += `\nack:${ack}`
    if (delivery.retain) head += '\nretain:true'
    writeFrame(sink, head + this.#userHeaders, delivery.message.payload)
  }

  #prepare(message: Message, version: StompVersion): void {
    if (this.#message === message && this.#version === version) return
    const { properties } = message
    this.#message = message
    this.#version = version
    this.#contentType = `\ncontent-type:${escapeHeader(properties?.contentType ?? 'text/plain', version)}`
    this.#userHeaders = ''
    for (const [name, value] of properties?.userProperties ?? []) {
      // An MQTT publisher must not be able to say another message-id, or where the body ends.
      if (name === '' || HOP_BY_HOP.has(name)) continue
      this.#userHeaders += `\n${escapeHeader(name, version, 'name')}:${escapeHeader(value, version)}`
    }
  }
}
