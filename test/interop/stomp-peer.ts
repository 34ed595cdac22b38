/** STOMP clients for the interop tests: stompit over TCP and TLS, @stomp/stompjs over WebSocket. */
import { Client as StompJs } from '@stomp/stompjs'
import stompit, { type IncomingMessage, type StompError, type Client as StompitClient } from 'stompit'
import { expect, onTestFinished } from 'vitest'
import { WebSocket } from 'ws'
import type { Ports } from '../support/broker.ts'
import { Inbox, within } from '../support/inbox.ts'
import { authority, type Transport } from './mqtt-peer.ts'

export type Headers = Record<string, string>

export interface StompMessage {
  headers: Headers
  body: string
}

export interface StompOptions {
  via?: Transport
  /** Of CONNECT. */
  headers?: Headers
  /** What is agreed on is what the client asks for: milliseconds it sends and wants to hear something. */
  heartbeat?: [sends: number, wants: number]
}

/** The same words for both libraries. */
interface StompLibrary {
  /** Of CONNECTED. */
  connected: Headers
  frame(
    command: 'SEND' | 'SUBSCRIBE' | 'BEGIN' | 'COMMIT' | 'ABORT' | 'UNSUBSCRIBE',
    headers: Headers,
    body?: string,
  ): void
  /** The same, resolved by its RECEIPT. */
  confirmed(command: 'SEND' | 'UNSUBSCRIBE', headers: Headers, body?: string): Promise<void>
  answer(verb: 'ack' | 'nack', message: StompMessage): void
  end(): Promise<void>
  breakOff(): void
}

/** What a library tells about its connection. */
interface Events {
  message(message: StompMessage): void
  /** The connection is gone. @param error - the text of the ERROR frame, if there was one */
  closed(error: string | undefined): void
}

/** One connected STOMP client and everything it got. */
export class StompPeer {
  readonly library: StompLibrary
  readonly messages: Inbox<StompMessage>
  /** Resolves when the connection is gone, with the body of the ERROR that the broker sent before. */
  readonly closed: Promise<string | undefined>
  #subscriptions = 0

  constructor(library: StompLibrary, messages: Inbox<StompMessage>, closed: Promise<string | undefined>) {
    this.library = library
    this.messages = messages
    this.closed = closed
  }

  /** Resolves when the broker has it. */
  async send(destination: string, body: string, headers: Headers = {}): Promise<void> {
    await within(this.library.confirmed('SEND', { destination, ...headers }, body), 'the RECEIPT of a SEND')
  }

  async subscribe(
    destination: string,
    ack: 'auto' | 'client' | 'client-individual' = 'auto',
  ): Promise<string> {
    const id = `sub-${this.#subscriptions++}`
    this.library.frame('SUBSCRIBE', { destination, ack, id })
    await this.sync()
    return id
  }

  async transaction(command: 'BEGIN' | 'COMMIT' | 'ABORT', transaction: string): Promise<void> {
    this.library.frame(command, { transaction })
    await this.sync()
  }

  /** A SEND that waits for COMMIT. */
  async sendIn(transaction: string, destination: string, body: string): Promise<void> {
    this.library.frame('SEND', { destination, transaction }, body)
    await this.sync()
  }

  async answer(verb: 'ack' | 'nack', message: StompMessage): Promise<void> {
    this.library.answer(verb, message)
    await this.sync()
  }

  next(): Promise<StompMessage> {
    return this.messages.next()
  }

  async bodies(count: number): Promise<string[]> {
    return (await this.messages.take(count)).map(({ body }) => body)
  }

  /** Everything sent to it before has arrived, and everything it sent is done, when this resolves. */
  async sync(): Promise<void> {
    const closed = this.closed.then((error) => {
      throw new Error(`closed instead of RECEIPT: ${error}`)
    })
    const receipt = this.library.confirmed('UNSUBSCRIBE', { id: 'there is none' })
    await within(Promise.race([receipt, closed]), 'a RECEIPT')
  }

  /** A frame is answered and nothing came before the answer. */
  async expectSilence(): Promise<void> {
    await this.sync()
    expect(this.messages.drain()).toEqual([])
  }

  /** Waits until the broker has closed the connection. @returns the text of its ERROR, if it sent one */
  gone(): Promise<string | undefined> {
    return within(this.closed, 'the end of a STOMP connection')
  }
}

/** @throws Error with the text of the ERROR frame when the login is refused */
export async function connectStomp(ports: Ports, options: StompOptions = {}): Promise<StompPeer> {
  const { via = 'tcp' } = options
  const messages = new Inbox<StompMessage>(`a message over ${via}`)
  let close = (_: string | undefined) => {}
  const closed = new Promise<string | undefined>((resolve) => (close = resolve))
  const events: Events = { message: (message) => messages.put(message), closed: (error) => close(error) }
  const connecting = via === 'tcp' || via === 'tls' ? openStompit : openStompJs
  const library = await within(connecting(ports, options, events), `CONNECTED over ${via}`)
  onTestFinished(() => library.breakOff())
  return new StompPeer(library, messages, closed)
}

/** The text of the ERROR that refuses a login. */
export async function stompRefusal(ports: Ports, options: StompOptions): Promise<string> {
  return connectStomp(ports, options).then(
    () => 'the login was accepted',
    (error: Error) => error.message,
  )
}

// stompit ---------------------------------------------------------------------------

async function openStompit(ports: Ports, options: StompOptions, events: Events): Promise<StompLibrary> {
  const { via, headers = {}, heartbeat = [0, 0] } = options
  const secure = via === 'tls' ? { ssl: true, ca: authority() } : {}
  const client = await new Promise<StompitClient>((resolve, reject) => {
    const connectHeaders = { host: '/', 'heart-beat': heartbeat.join(), ...headers }
    const port = via === 'tls' ? ports.stompTlsPort : ports.stompPort
    const opened = stompit.connect(
      { host: '127.0.0.1', port, connectHeaders, ...secure },
      (error, connected) =>
        error === null ? resolve(connected) : reject(new Error(textOf(error), { cause: error })),
    )
    mendErrors(opened)
  })
  client.on('error', (error) => events.closed(error.longMessage))
  client.on('end', () => events.closed(undefined))
  return stompitLibrary(client, events)
}

function stompitLibrary(client: StompitClient, events: Events): StompLibrary {
  const receive = (error: Error | null, message: IncomingMessage) => {
    if (error !== null) return
    message.readString('utf8', (_, body = '') => events.message({ headers: message.headers, body }))
  }
  return {
    connected: client.headers,
    frame(command, headers, body) {
      if (command === 'SUBSCRIBE') client.subscribe(headers, receive)
      else client.sendFrame(command, withLength(headers, body)).end(body)
    },
    confirmed: (command, headers, body) =>
      new Promise((resolve) =>
        client.sendFrame(command, withLength(headers, body), { onReceipt: resolve }).end(body),
      ),
    answer: (verb, message) => client[verb](message),
    end: () => new Promise((resolve) => client.disconnect(() => resolve())),
    breakOff: () => client.destroy(),
  }
}

/** Without it a body ends at its first NUL; stompit leaves it to the caller. */
function withLength(headers: Headers, body: string | undefined): Headers {
  return body === undefined ? headers : { ...headers, 'content-length': String(Buffer.byteLength(body)) }
}

/** stompit 1.0 throws the error of an ERROR frame of text at nobody, which ends the process: its frame's, not the client's. */
function mendErrors(client: StompitClient): void {
  const setCommandHandlers = client.setCommandHandlers.bind(client)
  const handleError = (frame: IncomingMessage) =>
    frame.readString('utf8', (_, longMessage = '') =>
      client.destroy(Object.assign(new Error(frame.headers.message), { longMessage })),
    )
  client.setCommandHandlers = (handlers) => setCommandHandlers({ ...handlers, ERROR: handleError })
}

function textOf({ message, longMessage }: StompError): string {
  return longMessage ?? message
}

// @stomp/stompjs --------------------------------------------------------------------

async function openStompJs(ports: Ports, options: StompOptions, events: Events): Promise<StompLibrary> {
  const { via, headers = {}, heartbeat = [0, 0] } = options
  const url =
    via === 'wss'
      ? `wss://127.0.0.1:${ports.stompWssPort}/stomp`
      : `ws://127.0.0.1:${ports.stompWsPort}/stomp`
  const client: StompJs = new StompJs({
    webSocketFactory: () =>
      new WebSocket(url, client.stompVersions.protocolVersions(), { ca: authority() }) as never,
    connectHeaders: headers,
    heartbeatOutgoing: heartbeat[0],
    heartbeatIncoming: heartbeat[1],
    reconnectDelay: 0,
  })
  const connected = await new Promise<Headers>((resolve, reject) => {
    let error: string | undefined
    client.onConnect = (frame) => resolve(frame.headers)
    client.onStompError = (frame) => (error = frame.body)
    client.onWebSocketClose = () => {
      events.closed(error)
      reject(new Error(error ?? 'closed'))
    }
    client.activate()
  })
  return stompJsLibrary(client, connected, events)
}

function stompJsLibrary(client: StompJs, connected: Headers, events: Events): StompLibrary {
  const library: StompLibrary = {
    connected,
    frame(command, headers, body = '') {
      const { destination = '', transaction = '', id = '' } = headers
      if (command === 'SEND') client.publish({ destination, headers, body })
      else if (command === 'SUBSCRIBE')
        client.subscribe(destination, (message) => events.message(message), headers)
      else if (command === 'UNSUBSCRIBE') client.unsubscribe(id, headers)
      else if (command === 'BEGIN') client.begin(transaction)
      else if (command === 'COMMIT') client.commit(transaction)
      else client.abort(transaction)
    },
    confirmed: (command, headers, body) =>
      new Promise((resolve) => {
        const receipt = `receipt-${Math.random()}`
        client.watchForReceipt(receipt, () => resolve())
        library.frame(command, { ...headers, receipt }, body)
      }),
    answer(verb, { headers }) {
      client[verb](headers['message-id'] ?? '', headers.subscription ?? '', { id: headers.ack ?? '' })
    },
    end: () => client.deactivate(),
    breakOff: () => void client.deactivate({ force: true }),
  }
  return library
}
