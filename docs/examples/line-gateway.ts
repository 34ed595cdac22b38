/**
 * The smallest gateway: lines of text over TCP or TLS. docs/write-a-gateway.md explains it.
 *
 *   peer: LOGIN name password    PUB topic text    SUB filter
 *   we:   OK    MSG topic text    ERR why    BYE why
 */
import type { Client, Delivery, Receiver, Traffic } from '../../broker/broker.ts'
import type { GatewayConfig } from '../../gateways/config.ts'
import type { FrameDecoder } from '../../gateways/frame-decoder.ts'
import { defineGateway, type GatewayContext, type ListenerSettings } from '../../gateways/gateway.ts'
import { type Connection, type StreamChannel, StreamConnection } from '../../gateways/stream-connection.ts'
import type { Login } from '../../model/access.ts'
import { andThen, type MaybePromise } from '../../model/async.ts'
import { arrivingClient, type ClientInfo } from '../../model/client-info.ts'
import type { DisconnectReason } from '../../model/disconnect-reason.ts'
import { BrokerError, messageOf } from '../../model/errors.ts'
import { Message } from '../../model/message.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import { Strict } from '../../model/schema.ts'
import { isValidTopicName } from '../../model/topic.ts'

const MAX_LINE_BYTES = 8192

export const line = defineGateway<GatewayConfig>({
  name: 'line',
  protocol: 'line',
  listenerTypes: ['tcp', 'tls'],
  schema: Strict({}), // no options of its own
  create(config, context) {
    let current = config
    return {
      accept(transport, listener) {
        const options = { idleTimeoutMs: current.idle_timeout, log: context.log }
        const channelFor = (connection: Connection) =>
          new LineChannel(connection, context, listener, listener.mountpoint ?? current.mountpoint)
        new StreamConnection(transport, new LineDecoder(), options, channelFor)
      },
      update(changed) {
        current = changed
      },
    }
  },
})

class LineDecoder implements FrameDecoder<string> {
  position = 0
  readonly wantedBytes = 0

  decode(bytes: Buffer, from: number): string | undefined {
    const end = bytes.indexOf('\n', from)
    if ((end < 0 ? bytes.length : end) - from > MAX_LINE_BYTES) {
      throw new BrokerError('FRAME_TOO_LARGE', `a line is longer than ${MAX_LINE_BYTES} bytes`)
    }
    this.position = end < 0 ? from : end + 1
    return end < 0 ? undefined : bytes.toString('utf8', from, end).trimEnd()
  }
}

class LineChannel implements StreamChannel<string>, Receiver {
  readonly #connection: Connection
  readonly #context: GatewayContext
  readonly #listener: ListenerSettings
  readonly #mountpoint: string
  #client: Client | undefined

  constructor(
    connection: Connection,
    context: GatewayContext,
    listener: ListenerSettings,
    mountpoint: string,
  ) {
    this.#connection = connection
    this.#context = context
    this.#listener = listener
    this.#mountpoint = mountpoint
  }

  // What the peer says: StreamChannel

  handle(text: string): MaybePromise<void> {
    const [verb, first = '', rest = ''] = split(text)
    const client = this.#client
    if (client === undefined) {
      if (verb !== 'LOGIN') throw new BrokerError('PROTOCOL_VIOLATED', 'LOGIN comes first')
      return this.#login(first, rest)
    }
    if (verb === 'PUB') return this.#publish(client, first, rest)
    if (verb === 'SUB') return this.#subscribe(client, first)
    throw new BrokerError('PROTOCOL_VIOLATED', 'only PUB and SUB are known')
  }

  failed(error: unknown): void {
    this.#say(`ERR ${error instanceof BrokerError ? messageOf(error) : 'internal error'}`)
  }

  closed(): void {}

  // What the broker says: Receiver

  get traffic(): Traffic {
    return this.#connection.transport
  }

  get congested(): boolean {
    return this.#connection.transport.outbox.congested
  }

  deliver({ message, packetId }: Delivery): boolean {
    const topic = this.#client?.unmounted(message.topic) ?? message.topic
    this.#say(
      `MSG ${topic} ${Buffer.from(message.payload)
        .toString()
        .replaceAll(/[\r\n]/g, ' ')}`,
    )
    // Nothing is subscribed above QoS 0, but upgrade_qos may raise it. Lines know no answer, so we give it.
    if (packetId !== 0) queueMicrotask(() => this.#client?.acked(packetId))
    return true
  }

  release(): void {}

  end(reason: DisconnectReason): void {
    this.#say(`BYE ${reason}`)
    this.#connection.end(reason)
  }

  // The verbs

  #login(name: string, password: string): MaybePromise<void> {
    const client = this.#clientInfo(name)
    const { enableAuthn } = this.#listener
    const { signal } = this.#connection
    const mountpoint = this.#mountpoint // a template: filled in once it is known who the client is
    const login: Login = { client, password: Buffer.from(password), mountpoint, enableAuthn, signal }
    const session = { cleanStart: true, expiryIntervalMs: 0, receiveMaximum: 1 }
    return andThen(this.#context.connect(login, session, this), (answer) => {
      if (answer.kind === 'refused') {
        this.#say('ERR login refused')
        return this.#connection.end('not_authorized')
      }
      if (!this.#connection.login(answer.client)) return // gone meanwhile
      this.#client = answer.client
      this.#say('OK')
      answer.client.start()
    })
  }

  #publish(client: Client, topic: string, text: string): MaybePromise<void> {
    if (!isValidTopicName(topic)) throw new BrokerError('TOPIC_INVALID', 'not a topic')
    const now = this.#context.now()
    const message = Message.of(topic, Buffer.from(text), 0, false, undefined, client.info, now)
    return andThen(client.publish(message), (code) => this.#answer(code))
  }

  #subscribe(client: Client, filter: string): MaybePromise<void> {
    const wish = { filter, qos: 0, noLocal: true, retainAsPublished: false, retainHandling: 0 } as const
    return andThen(client.subscribe([{ ...wish, identifier: 0 }]), ([code]) =>
      this.#answer(code ?? ReasonCode.UnspecifiedError),
    )
  }

  #answer(code: ReasonCode): void {
    this.#say(code < 0x80 ? 'OK' : `ERR reason code 0x${code.toString(16)}`)
  }

  #say(text: string): void {
    if (this.#connection.isOpen) this.#connection.transport.outbox.append(Buffer.from(`${text}\n`))
  }

  #clientInfo(name: string): ClientInfo {
    return arrivingClient(this.#connection.transport, {
      key: this.#context.keyOf(name), // the same name may live in another gateway too
      clientId: name,
      username: name,
      protocol: 'line',
      protocolName: 'LINE',
      protocolVersion: '1',
      gateway: 'line',
      keepAliveSeconds: 0,
      cleanStart: true,
      connectedAtMs: this.#context.now(),
    })
  }
}

/** Three words; the last one is the rest of the line. */
function split(text: string): string[] {
  return /^(\S*)(?: (\S*))?(?: (.*))?$/s.exec(text)?.slice(1) ?? []
}
