import { type Static, Type } from 'typebox'
import { Duration, Strict } from '../../model/schema.ts'
import { type ClientinfoOverride, clientinfoOverrideSchema } from '../clientinfo-override.ts'
import type { GatewayConfig } from '../config.ts'
import type { OutgoingOptions } from './outgoing.ts'
import { PredefinedTopics } from './topics.ts'

/** The options of MQTT-SN alone, in the file's spelling. The common ones are in gateways/config.ts. */
export const mqttsnSchema = Strict({
  clientinfo_override: clientinfoOverrideSchema({ clientid: '${ConnInfo.clientid}' }),
  gateway_id: Type.Integer({
    minimum: 0,
    maximum: 255,
    default: 1,
    description: 'GwId in ADVERTISE and GWINFO',
  }),
  broadcast: Type.Boolean({
    default: false,
    description: 'Send ADVERTISE to the broadcast address of every network, every 15 minutes',
  }),
  enable_qos3: Type.Boolean({
    default: true,
    description: 'Take PUBLISH with QoS -1, from clients that are not connected too',
  }),
  subs_resume: Type.Boolean({
    default: false,
    description: 'Register the topics of a resumed session again before anything is delivered',
  }),
  predefined: Type.Array(
    Type.Object(
      {
        id: Type.Integer({ minimum: 1, maximum: 65_534, description: 'Topic id' }),
        topic: Type.String({ minLength: 1, description: 'Topic name, without wildcards' }),
      },
      { additionalProperties: false },
    ),
    { default: [], description: 'Topic ids that clients use without registering' },
  ),
  session_expiry_interval: Duration('2h', {
    description: 'How long a session without CleanSession outlives its connection',
  }),
  retry_interval: Duration('10s', {
    description: 'What a client has not answered is sent again after this time; REGISTER after 5 s at most',
  }),
  max_retries: Type.Integer({
    minimum: 0,
    maximum: 100,
    default: 3,
    description: 'Sent again so often; a client that is silent then is lost',
  }),
  max_awaiting_rel: Type.Integer({
    minimum: 1,
    maximum: 65_535,
    default: 100,
    description: 'Most QoS 2 messages of a client that wait for PUBREL',
  }),
  await_rel_timeout: Duration('300s', { description: 'How long they wait' }),
})

/** `gateway.mqttsn` as the loader hands it over. */
export type MqttsnConfig = Omit<GatewayConfig, 'clientinfo_override'> & Static<typeof mqttsnSchema>

export interface MqttsnOptions {
  readonly idleTimeoutMs: number
  readonly mountpoint: string
  readonly clientinfoOverride: ClientinfoOverride
  readonly gatewayId: number
  readonly advertises: boolean
  readonly takesQosMinus1: boolean
  readonly resumesTopics: boolean
  readonly predefined: PredefinedTopics
  readonly sessionExpiryMs: number
  readonly outgoing: OutgoingOptions
  readonly maxAwaitingRelease: number
  readonly awaitReleaseTimeoutMs: number
}

/**
 * File spelling on the right, code spelling on the left: the only place they meet.
 * @throws BrokerError CONFIG_INVALID for predefined topics that are none
 */
export function mqttsnOptions(config: MqttsnConfig): MqttsnOptions {
  return {
    idleTimeoutMs: config.idle_timeout,
    mountpoint: config.mountpoint,
    clientinfoOverride: config.clientinfo_override,
    gatewayId: config.gateway_id,
    advertises: config.broadcast,
    takesQosMinus1: config.enable_qos3,
    resumesTopics: config.subs_resume,
    predefined: new PredefinedTopics(config.predefined),
    sessionExpiryMs: config.session_expiry_interval,
    outgoing: { retryIntervalMs: config.retry_interval, maxRetries: config.max_retries },
    maxAwaitingRelease: config.max_awaiting_rel,
    awaitReleaseTimeoutMs: config.await_rel_timeout,
  }
}
