/**
 * The control channel of a running broker: what the `hubbub` command asks it. Whoever may open the socket may do
 * everything, as whoever may read the data directory.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { BrokerError, messageOf } from '../model/errors.ts'
import type { Logger } from '../model/log.ts'
import { type BoundSocket, bindSocket } from './bound-socket.ts'
import { type Answer, answerTo, type ControlTargets } from './calls.ts'
import { PROTOCOL, PROTOCOL_HEADER, type Refusal, VERSION_HEADER } from './client/protocol.ts'

/** Enough for a file of some hundred thousand users. */
const MAX_BODY_BYTES = 128 * 1024 * 1024
/** Items of a list in one piece of the answer. */
const PIECE_ITEMS = 100

export interface ControlOptions {
  readonly dataDir: string
  readonly version: string
  readonly log: Logger
}

export class ControlServer {
  readonly #targets: ControlTargets
  readonly #options: ControlOptions
  readonly #server: Server
  #socket: BoundSocket | undefined

  constructor(targets: ControlTargets, options: ControlOptions) {
    this.#targets = targets
    this.#options = options
    this.#server = createServer((request, response) => void this.#serve(request, response))
  }

  /**
   * A place where there can be no socket is no reason not to start: the command then says that no broker runs.
   * @throws BrokerError LISTEN_FAILED if another broker runs with the same data directory
   */
  async start(): Promise<void> {
    const { dataDir, log } = this.#options
    try {
      this.#socket = await bindSocket(this.#server, dataDir)
      log.debug({ socket: this.#socket.address }, 'control socket opened')
    } catch (error) {
      if (error instanceof BrokerError) throw error
      log.warn({ error: messageOf(error) }, 'no control socket: the hubbub command cannot reach this broker')
    }
  }

  /** Whoever waits for an answer gets none. Safe to call twice. */
  async stop(): Promise<void> {
    const socket = this.#socket
    if (socket === undefined) return
    this.#socket = undefined
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve())
      this.#server.closeAllConnections()
    })
    socket.release()
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.setHeader(PROTOCOL_HEADER, PROTOCOL)
    response.setHeader(VERSION_HEADER, this.#options.version)
    try {
      const params = await readParams(request)
      await send(response, await answerTo(this.#targets, request.url?.slice(1) ?? '', params))
    } catch (error) {
      this.#refuse(response, error)
    }
  }

  #refuse(response: ServerResponse, error: unknown): void {
    const isOurs = error instanceof BrokerError
    // The command has left, in the middle of a list perhaps.
    if (response.destroyed) return
    if (!isOurs) this.#options.log.error({ error }, 'a request of the hubbub command failed')
    if (response.headersSent) {
      response.destroy()
      return
    }
    const refusal: Refusal = { code: isOurs ? error.code : 'INTERNAL', message: messageOf(error) }
    response.writeHead(isOurs && error.fault !== 'bug' ? 400 : 500, { 'content-type': 'application/json' })
    response.end(JSON.stringify(refusal))
  }
}

async function readParams(request: IncomingMessage): Promise<object> {
  const pieces: Buffer[] = []
  let bytes = 0
  for await (const piece of request as AsyncIterable<Buffer>) {
    bytes += piece.length
    if (bytes > MAX_BODY_BYTES) throw new BrokerError('LIMIT_EXCEEDED', 'the request is too large')
    pieces.push(piece)
  }
  let params: unknown
  try {
    params = JSON.parse(Buffer.concat(pieces).toString())
  } catch {
    throw new BrokerError('PROTOCOL_VIOLATED', 'the request is not JSON')
  }
  if (typeof params === 'object' && params !== null) return params
  throw new BrokerError('PROTOCOL_VIOLATED', 'the request is not an object')
}

async function send(response: ServerResponse, answer: Answer): Promise<void> {
  if (answer.kind === 'value') {
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify(answer.value))
    return
  }
  const pieces = answer.kind === 'list' ? lines(answer.items) : answer.pieces
  response.writeHead(200, { 'content-type': 'application/x-ndjson' })
  await pipeline(Readable.from(pieces), response)
}

function* lines(items: Iterable<object>): Generator<string> {
  let piece = ''
  let count = 0
  for (const item of items) {
    // The other side takes U+2028 for the end of a line.
    piece += `${JSON.stringify(item).replace(/[\u2028\u2029]/g, (end) => `\\u${end.charCodeAt(0).toString(16)}`)}\n`
    if (++count % PIECE_ITEMS > 0) continue
    yield piece
    piece = ''
  }
  if (piece !== '') yield piece
}
