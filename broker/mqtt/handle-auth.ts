/** AUTH: challenges and answers before CONNACK, and authenticating again after it (MQTT 5.0 §3.15, §4.12). */
import type { Login } from '../../model/access.ts'
import { andThen, type MaybePromise } from '../../model/async.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import { Deadline } from '../../model/timers.ts'
import { isChallenge, reauthenticate } from '../authentication.ts'
import type { Admission, Challenge } from '../broker.ts'
import type { HubClient } from '../client.ts'
import type { MqttConnection } from './connection.ts'
import { decodePacket } from './decode.ts'
import { protocolError } from './mqtt-error.ts'
import { type AuthPacket, PacketType, type Properties } from './packets.ts'

type Answer = (data: Uint8Array | undefined) => MaybePromise<void>

/** What a connection whose CONNECT names an authentication method has besides; others have none. */
export class EnhancedAuth {
  readonly method: string
  readonly #connection: MqttConnection
  readonly #leaving = new AbortController()
  /** There while the client is to answer a challenge. */
  #answer: Answer | undefined
  #deadline: Deadline | undefined

  constructor(connection: MqttConnection, method: string) {
    this.#connection = connection
    this.method = method
  }

  /** Aborts when the connection ends. */
  get signal(): AbortSignal {
    return this.#leaving.signal
  }

  /** A challenge was sent and is not answered yet. */
  get isWaiting(): boolean {
    return this.#answer !== undefined
  }

  /** Sends a challenge. The client has as long for its answer as it has for its CONNECT. */
  challenge(data: Uint8Array | undefined, answer: Answer): void {
    const { client, context, options } = this.#connection
    if (!this.send(ReasonCode.ContinueAuthentication, data)) return // [MQTT-4.12.0-2]
    this.#answer = answer
    // Until CONNACK nobody else knows of it, so a broker that stops would wait for it.
    if (client === undefined) context.newcomers.add(this.#connection)
    this.#deadline = new Deadline(options.idleTimeoutMs, () =>
      this.#connection.close(client === undefined ? 'idle_timeout' : 'not_authorized'),
    )
  }

  /** [MQTT-4.12.0-3] what the client says to the challenge. */
  answered(data: Uint8Array | undefined): MaybePromise<void> {
    const answer = this.#answer
    if (answer === undefined) throw protocolError('AUTH answers no challenge')
    this.#answer = undefined
    this.#deadline?.clear()
    this.#connection.context.newcomers.delete(this.#connection)
    return answer(data)
  }

  /** [MQTT-4.12.0-5] for AUTH, and for CONNACK 0x00. */
  properties(data: Uint8Array | undefined): Properties {
    return data === undefined
      ? { authenticationMethod: this.method }
      : { authenticationMethod: this.method, authenticationData: data }
  }

  /** @returns false if the client cannot take it, and then the connection is closed */
  send(code: ReasonCode, data: Uint8Array | undefined): boolean {
    const isSent = this.#connection.send({ type: PacketType.AUTH, code, properties: this.properties(data) })
    if (!isSent) this.#connection.close('frame_too_large')
    return isSent
  }

  close(): void {
    this.#answer = undefined
    this.#deadline?.clear()
    this.#leaving.abort()
  }
}

/** Has the client answer as many challenges as there are, then goes on with what they have led to. */
export function converse<A extends { kind: string }>(
  connection: MqttConnection,
  outcome: A | Challenge<A>,
  next: (decided: A) => MaybePromise<void>,
): MaybePromise<void> {
  if (!isChallenge(outcome)) return next(outcome)
  if (!connection.isOpen) return
  connection.auth?.challenge(outcome.data, (data) =>
    andThen(outcome.answer(data), (later) => converse(connection, later, next)),
  )
}

/** [MQTT-3.1.2-30] what may come while CONNECT waits for an answer to a challenge. */
export function handleUnderWay(
  connection: MqttConnection,
  bytes: Buffer,
  start: number,
  end: number,
): MaybePromise<void> {
  const type = (bytes[start] as number) >> 4
  if (type !== PacketType.AUTH && type !== PacketType.DISCONNECT)
    throw protocolError('only AUTH and DISCONNECT may come before CONNACK')
  const packet = decodePacket(connection.version, bytes, start, end)
  if (packet.type === PacketType.AUTH) return handleAuth(connection, packet)
  return connection.closeQuietly('normal')
}

export function handleAuth(connection: MqttConnection, { code, properties }: AuthPacket): MaybePromise<void> {
  connection.context.hub.metrics.packetsAuthReceived++
  const { auth, client } = connection
  if (auth === undefined) throw protocolError('AUTH without an authentication method in CONNECT') // [MQTT-4.12.0-7]
  // [MQTT-4.12.0-5] [MQTT-4.12.1-1]
  if (properties?.authenticationMethod !== auth.method)
    throw protocolError('AUTH with another authentication method than CONNECT')
  const data = properties.authenticationData
  if (code === ReasonCode.ContinueAuthentication) return auth.answered(data)
  if (client === undefined) throw protocolError('authenticating again before CONNACK')
  if (auth.isWaiting) throw protocolError('authenticating again before the last time has ended')
  return authenticateAgain(connection, auth, client, data)
}

/** The client stays what it was until the verdict; what it sends while it is to answer a challenge is handled as ever. */
function authenticateAgain(
  connection: MqttConnection,
  auth: EnhancedAuth,
  client: HubClient,
  authData: Uint8Array | undefined,
): MaybePromise<void> {
  const login: Login = {
    client: client.info,
    password: undefined,
    authMethod: auth.method,
    authData,
    enableAuthn: connection.listener.enableAuthn,
    signal: auth.signal,
  }
  return andThen(reauthenticate(connection.context.hub, client, login), (outcome) =>
    converse(connection, outcome, (admission) => conclude(connection, auth, admission)),
  )
}

function conclude(connection: MqttConnection, auth: EnhancedAuth, admission: Admission): void {
  if (!connection.isOpen) return
  if (admission.kind === 'admitted') auth.send(ReasonCode.Success, admission.data)
  else connection.close('not_authorized') // [MQTT-4.12.1-2] [MQTT-4.12.0-4]
}
