/**
 * An MQTT client that keeps its half of a session as the standard says (MQTT 5.0 §4.1, §4.3, §4.4), through any number
 * of connections: packet ids, unacknowledged messages, received ids of QoS 2. It connects when it is told to, resends
 * once per connection, and reports what a broker must never do. The codec is mqtt-packet.
 */
import { connect, type Socket } from 'node:net'
import { generate, type IConnectPacket, type IPublishPacket, type Packet, parser } from 'mqtt-packet'

export interface StrictOptions {
  clientId: string
  version: 4 | 5
  /** Its session ends with its connection. */
  clean?: boolean
  will?: NonNullable<IConnectPacket['will']>
  /** A message reached the application: at QoS 2 only once, as the protocol promises. */
  onMessage?: (topic: string, payload: Buffer) => void
  /** The broker has taken over a message or a subscription. */
  onAcked?: () => void
  /** What the broker must never do. */
  onViolation: (what: string) => void
}

interface Outgoing {
  topic: string
  payload: Buffer
  qos: 1 | 2
  retain: boolean
  /** PUBREC is there: only PUBREL may be sent again [MQTT-4.3.3-6]. */
  isReceived: boolean
  acked: () => void
}

const NEVER_EXPIRES = 0xffff_ffff
const RECEIVE_MAXIMUM = 50
const REFUSED = 0x80

export class StrictClient {
  readonly clientId: string
  /** Resolves when the connection it has now is gone. */
  lost: Promise<void> = Promise.resolve()
  readonly #options: StrictOptions
  readonly #outgoing = new Map<number, Outgoing>()
  readonly #receivedIds = new Set<number>()
  readonly #requests = new Map<number, (codes: readonly number[] | undefined) => void>()
  #pings: ((isAnswered: boolean) => void)[] = []
  #socket: Socket | undefined
  #isOnline = false
  #hasSession = false
  #lose = () => {}
  #lastId = 0

  constructor(options: StrictOptions) {
    this.clientId = options.clientId
    this.#options = options
  }

  get isOnline(): boolean {
    return this.#isOnline
  }

  /** Messages whose acknowledgement has not come to its end. */
  get unackedCount(): number {
    return this.#outgoing.size
  }

  /** @returns false if the connection ended before CONNACK */
  connect(port: number): Promise<boolean> {
    this.cut()
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    this.#socket = socket
    this.lost = new Promise((resolve) => {
      this.#lose = resolve
    })
    const parsing = parser({ protocolVersion: this.#options.version })
    return new Promise((resolve) => {
      parsing.on('packet', (packet) => {
        if (this.#socket !== socket) return
        if (packet.cmd === 'connack') resolve(this.#connected(packet))
        else this.#handle(packet)
      })
      parsing.on('error', (error) => this.#violated(`bytes that are no MQTT: ${error.message}`))
      socket.on('data', (chunk: Buffer) => parsing.parse(chunk))
      socket.on('error', () => {}) // 'close' follows
      socket.on('close', () => {
        if (this.#socket === socket) this.#disconnected()
        resolve(false)
      })
      socket.on('connect', () => this.#login())
    })
  }

  /** Ends the connection without a word. */
  cut(): void {
    this.#socket?.destroy()
    this.#disconnected()
  }

  /** Says goodbye: its will is void. */
  leave(): void {
    this.#send({ cmd: 'disconnect' })
    this.#socket?.end()
    this.#disconnected()
  }

  /** @param acked - the broker has taken it over: PUBACK, or PUBREC */
  publish(topic: string, payload: Buffer, qos: 1 | 2, retain: boolean, acked: () => void): void {
    const id = this.#nextId()
    const message: Outgoing = { topic, payload, qos, retain, isReceived: false, acked }
    this.#outgoing.set(id, message)
    this.#sendMessage(id, message, false)
  }

  /** @returns false if the connection ended before the answer */
  subscribe(filter: string, qos: 1 | 2): Promise<boolean> {
    return this.#request((messageId) => {
      this.#send({ cmd: 'subscribe', messageId, subscriptions: [{ topic: filter, qos }] })
    }, `SUBSCRIBE ${filter}`)
  }

  /** @returns false if the connection ended before the answer */
  unsubscribe(filter: string): Promise<boolean> {
    return this.#request((messageId) => {
      this.#send({ cmd: 'unsubscribe', messageId, unsubscriptions: [filter] })
    }, `UNSUBSCRIBE ${filter}`)
  }

  /** @returns false if the connection ended before the answer */
  ping(): Promise<boolean> {
    if (!this.#isOnline) return Promise.resolve(false)
    return new Promise((resolve) => {
      this.#pings.push(resolve)
      this.#send({ cmd: 'pingreq' })
    })
  }

  #login(): void {
    const { clientId, version, clean = false, will } = this.#options
    const properties = clean ? {} : { sessionExpiryInterval: NEVER_EXPIRES, receiveMaximum: RECEIVE_MAXIMUM }
    this.#send({
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: version,
      clientId,
      clean,
      keepalive: 0,
      ...(version === 5 ? { properties } : {}),
      ...(will === undefined ? {} : { will }),
    })
  }

  #connected({ returnCode, reasonCode, sessionPresent }: Extract<Packet, { cmd: 'connack' }>): boolean {
    const code = reasonCode ?? returnCode ?? 0
    if (code !== 0) {
      this.#violated(`CONNACK ${code}`)
      return false
    }
    if (this.#hasSession && !sessionPresent) this.#violated('its session is lost')
    this.#hasSession = this.#options.clean !== true
    if (!sessionPresent) this.#receivedIds.clear()
    this.#isOnline = true
    // [MQTT-4.4.0-1] in their order, with their packet ids
    for (const [messageId, message] of this.#outgoing) {
      if (message.isReceived) this.#send({ cmd: 'pubrel', messageId })
      else this.#sendMessage(messageId, message, sessionPresent)
    }
    return true
  }

  #disconnected(): void {
    this.#isOnline = false
    this.#socket = undefined
    this.#lose()
    for (const answered of this.#requests.values()) answered(undefined)
    this.#requests.clear()
    for (const answered of this.#pings.splice(0)) answered(false)
  }

  #handle(packet: Packet): void {
    const messageId = packet.messageId ?? 0
    switch (packet.cmd) {
      case 'publish':
        return this.#received(packet, messageId)
      case 'pubrel':
        this.#receivedIds.delete(messageId)
        return this.#send({ cmd: 'pubcomp', messageId })
      case 'puback':
        return this.#acked(messageId, 1, packet.reasonCode)
      case 'pubrec':
        return this.#acked(messageId, 2, packet.reasonCode)
      case 'pubcomp':
        if (!this.#outgoing.delete(messageId)) this.#violated(`PUBCOMP ${messageId} for nothing`)
        return
      case 'suback':
      case 'unsuback':
        return this.#answered(messageId, packet.granted as readonly number[] | undefined)
      case 'pingresp':
        return this.#pings.shift()?.(true)
      default:
        this.#violated(`${packet.cmd} ${'reasonCode' in packet ? packet.reasonCode : ''}`)
    }
  }

  #received({ topic, payload, qos, dup }: IPublishPacket, messageId: number): void {
    const bytes = payload as Buffer
    if (qos === 2) {
      const isCopy = this.#receivedIds.has(messageId)
      if (isCopy && !dup) this.#violated(`packet id ${messageId} used again before PUBREL`)
      this.#receivedIds.add(messageId)
      if (!isCopy) this.#options.onMessage?.(topic, bytes)
      this.#send({ cmd: 'pubrec', messageId })
    } else {
      this.#options.onMessage?.(topic, bytes)
      if (qos === 1) this.#send({ cmd: 'puback', messageId })
    }
  }

  #acked(messageId: number, qos: 1 | 2, code = 0): void {
    const message = this.#outgoing.get(messageId)
    if (message?.qos !== qos) return this.#violated(`acknowledgement ${messageId} for nothing`)
    if (code >= REFUSED) return this.#violated(`a message was refused with ${code}`)
    if (!message.isReceived) message.acked()
    message.isReceived = true
    if (qos === 1) this.#outgoing.delete(messageId)
    else this.#send({ cmd: 'pubrel', messageId })
    this.#options.onAcked?.()
  }

  #answered(messageId: number, codes: readonly number[] = []): void {
    const answered = this.#requests.get(messageId)
    this.#requests.delete(messageId)
    if (answered === undefined) this.#violated(`answer ${messageId} for nothing`)
    else answered(codes)
    this.#options.onAcked?.()
  }

  async #request(send: (messageId: number) => void, what: string): Promise<boolean> {
    if (!this.#isOnline) return false
    const id = this.#nextId()
    const codes = await new Promise<readonly number[] | undefined>((resolve) => {
      this.#requests.set(id, resolve)
      send(id)
    })
    if (codes?.some((code) => code >= REFUSED) === true) this.#violated(`${what}: ${codes.join()}`)
    return codes !== undefined
  }

  #sendMessage(messageId: number, { topic, payload, qos, retain }: Outgoing, dup: boolean): void {
    this.#send({ cmd: 'publish', messageId, topic, payload, qos, retain, dup })
  }

  #send(packet: Packet): void {
    if (packet.cmd !== 'connect' && !this.#isOnline) return
    this.#socket?.write(generate(packet, { protocolVersion: this.#options.version }))
  }

  #nextId(): number {
    do this.#lastId = (this.#lastId % 65_535) + 1
    while (this.#outgoing.has(this.#lastId) || this.#requests.has(this.#lastId))
    return this.#lastId
  }

  #violated(what: string): void {
    this.#options.onViolation(`${this.clientId}: ${what}`)
  }
}
