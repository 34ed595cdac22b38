import { createServer, type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { isIP } from 'node:net'
import type { Duplex } from 'node:stream'
import { type WebSocket, WebSocketServer } from 'ws'
import { BrokerError } from '../model/errors.ts'
import { plainHost } from './access-rules.ts'
import type { Address } from './transport.ts'

export interface DeflateOptions {
  /** zlib's -1 (default) to 9 */
  level: number
  /** 1 to 9 */
  memLevel: number
  /** zlib's number */
  strategy: number
  serverContextTakeover: boolean
  clientContextTakeover: boolean
  /** 8 to 15 */
  serverMaxWindowBits: number
}

export interface WebSocketOptions {
  /** '' = any path */
  path: string
  subprotocols: readonly string[]
  failIfNoSubprotocol: boolean
  idleTimeoutMs: number
  /** Largest message of a peer. `Infinity` = any. */
  maxFrameBytes: number
  /** Compress as told; undefined = not at all. */
  deflate: DeflateOptions | undefined
  /** Allowed origins; undefined = not checked. */
  origins: readonly string[] | undefined
  allowOriginAbsence: boolean
  /** Header names in lower case; undefined = the socket's own address. */
  proxyHeaders: { address: string; port: string } | undefined
}

export type Upgraded =
  | { kind: 'upgraded'; ws: WebSocket; url: string; told: Partial<Address> }
  | { kind: 'failed'; error: Error }

/** How long a peer may take from its first byte to the end of its HTTP request. */
const UPGRADE_TIMEOUT_MS = 15_000
const MAX_HEADER_BYTES = 16_384

/** The HTTP request of a WebSocket on sockets that somebody else accepted. */
export class WsStep {
  readonly #options: WebSocketOptions
  readonly #http: Server
  readonly #ws: WebSocketServer
  readonly #waiting = new WeakMap<Duplex, (outcome: Upgraded) => void>()

  constructor(options: WebSocketOptions) {
    this.#options = options
    this.#ws = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      maxPayload: Number.isFinite(options.maxFrameBytes) ? options.maxFrameBytes : 0,
      perMessageDeflate: options.deflate === undefined ? false : deflateOptions(options.deflate),
      handleProtocols: (offered) => this.#choose(offered) ?? false,
    })
    this.#ws.on('wsClientError', (error, socket) => this.#refuse(socket, 400, error.message))
    this.#http = createServer({ maxHeaderSize: MAX_HEADER_BYTES }, (request, response) => {
      this.#answer(request, response)
    })
    this.#http.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head))
  }

  /**
   * Takes over a socket, plain or TLS. `done` is called once, with a paused WebSocket or after the
   * refusal was sent; not if the socket is closed from outside.
   */
  upgrade(socket: Socket, done: (outcome: Upgraded) => void): void {
    const timer = setTimeout(() => socket.destroy(), UPGRADE_TIMEOUT_MS)
    const forget = (): void => clearTimeout(timer)
    socket.once('close', forget)
    this.#waiting.set(socket, (outcome) => {
      socket.off('close', forget)
      if (outcome.kind === 'upgraded') forget()
      else socket.once('close', forget) // a refused peer has the rest of its time to read the answer
      done(outcome)
    })
    this.#http.emit('connection', socket)
    socket.resume() // it may come paused, with bytes put back
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const refusal = this.#refusal(request)
    if (refusal !== undefined) return this.#refuse(socket, ...refusal)
    this.#ws.handleUpgrade(request, socket, head, (ws) => {
      ws.pause()
      const told = toldAddress(request, this.#options.proxyHeaders)
      this.#finish(socket, { kind: 'upgraded', ws, url: request.url ?? '/', told })
    })
  }

  #refusal(request: IncomingMessage): [status: number, text: string] | undefined {
    const { path, subprotocols, failIfNoSubprotocol } = this.#options
    if (!this.#isOurPath(request)) return [404, `The WebSocket is at ${path}`]
    if (!this.#originAllowed(request)) return [403, 'This origin is not allowed']
    const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim())
    if (failIfNoSubprotocol && this.#choose(offered) === undefined) {
      return [400, `Sec-WebSocket-Protocol must be one of: ${subprotocols.join(', ')}`]
    }
    return undefined
  }

  /** The first of ours that is offered: `mqtt` stands first in the list, so whoever offers it gets it [MQTT-6.0.0-4]. */
  #choose(offered: Iterable<string>): string | undefined {
    const names = new Set(offered)
    return this.#options.subprotocols.find((name) => names.has(name))
  }

  #isOurPath(request: IncomingMessage): boolean {
    return this.#options.path === '' || (request.url ?? '').split('?')[0] === this.#options.path
  }

  #originAllowed(request: IncomingMessage): boolean {
    const { origins, allowOriginAbsence } = this.#options
    if (origins === undefined) return true
    const origin = request.headers.origin
    return origin === undefined ? allowOriginAbsence : origins.includes(origin)
  }

  /** A request that does not ask for a WebSocket: somebody opened the address in a browser. */
  #answer(request: IncomingMessage, response: ServerResponse): void {
    const here = this.#isOurPath(request)
    const text = here ? 'This is a WebSocket endpoint: connect with a WebSocket client\n' : 'Not found\n'
    const upgrade = here ? { Upgrade: 'websocket' } : {}
    const headers = { ...upgrade, Connection: 'close', 'Content-Type': 'text/plain; charset=utf-8' }
    response.writeHead(here ? 426 : 404, headers).end(text)
    this.#fail(request.socket, `an HTTP request for ${String(request.url)}, not a WebSocket`)
  }

  #refuse(socket: Duplex, status: number, text: string): void {
    const body = `${text}\n`
    const head = [
      `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
      'Connection: close',
      'Content-Type: text/plain; charset=utf-8',
      `Content-Length: ${Buffer.byteLength(body)}`,
    ]
    socket.end(`${head.join('\r\n')}\r\n\r\n${body}`)
    socket.resume()
    this.#fail(socket, `WebSocket handshake: ${text}`)
  }

  #fail(socket: Duplex, text: string): void {
    this.#finish(socket, { kind: 'failed', error: new BrokerError('PROTOCOL_VIOLATED', text) })
  }

  #finish(socket: Duplex, outcome: Upgraded): void {
    const done = this.#waiting.get(socket)
    this.#waiting.delete(socket)
    done?.(outcome)
  }
}

function deflateOptions(options: DeflateOptions) {
  return {
    zlibDeflateOptions: { level: options.level, memLevel: options.memLevel, strategy: options.strategy },
    serverNoContextTakeover: !options.serverContextTakeover,
    clientNoContextTakeover: !options.clientContextTakeover,
    serverMaxWindowBits: options.serverMaxWindowBits,
  }
}

/** The left-most entry is the client as the first proxy saw it; anything that is not an address is no news. */
function toldAddress(request: IncomingMessage, names: WebSocketOptions['proxyHeaders']): Partial<Address> {
  if (names === undefined) return {}
  const host = firstEntry(request.headers[names.address])
  const port = Number(firstEntry(request.headers[names.port]))
  if (isIP(host) === 0) return {}
  return { host: plainHost(host), ...(port >= 1 && port <= 65_535 && Number.isInteger(port) ? { port } : {}) }
}

function firstEntry(header: string | string[] | undefined): string {
  return (Array.isArray(header) ? header.join(',') : (header ?? '')).split(',')[0]?.trim() ?? ''
}
