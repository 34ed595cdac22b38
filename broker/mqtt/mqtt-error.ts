import { BrokerError, type ErrorCode } from '../../model/errors.ts'
import { ReasonCode } from '../../model/reason-codes.ts'

/** A peer broke the protocol. `reasonCode` is what an MQTT 5 peer is told in CONNACK or DISCONNECT (§4.13). */
export class MqttError extends BrokerError {
  readonly reasonCode: ReasonCode

  constructor(code: ErrorCode, reasonCode: ReasonCode, message: string) {
    super(code, message)
    this.reasonCode = reasonCode
  }
}

export function mqttError(code: ErrorCode, reasonCode: ReasonCode, message: string): MqttError {
  return new MqttError(code, reasonCode, message)
}

/** The bytes cannot be read as the specification wants them (0x81). */
export function malformed(message: string): MqttError {
  return new MqttError('FRAME_MALFORMED', ReasonCode.MalformedPacket, message)
}

/** A field ends behind the end of what holds it. */
export function cutShort(field: string): MqttError {
  return malformed(`${field} is cut short`)
}

/** The bytes can be read, but say something that is not allowed (0x82). */
export function protocolError(message: string): MqttError {
  return new MqttError('PROTOCOL_VIOLATED', ReasonCode.ProtocolError, message)
}

/** A topic name that cannot be published to (0x90). */
export function topicInvalid(message: string): MqttError {
  return new MqttError('TOPIC_INVALID', ReasonCode.TopicNameInvalid, message)
}
