/** An HTTP service for tests that answers as it is told and remembers what it was asked. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { Certs } from './certs.ts'
import { freePort } from './free-port.ts'

export interface AskedRequest {
  method: string
  /** With the query, as it came. */
  path: string
  headers: IncomingHttpHeaders
  body: string
}

export interface Answer {
  status?: number
  headers?: Record<string, string>
  body?: string
}

/** What comes instead of an answer: undefined lets the request wait until the server is stopped. */
export type Responder = (request: AskedRequest) => Answer | undefined | Promise<Answer | undefined>

export class HttpService {
  readonly asked: AskedRequest[] = []
  /** Decides the next answers. */
  respond: Responder = () => ({ status: 204 })
  /** Connections there have been. */
  connections = 0
  readonly #server: Server
  readonly #scheme: string
  readonly port: number

  private constructor(certs: Certs | undefined, port: number) {
    this.port = port
    this.#scheme = certs === undefined ? 'http' : 'https'
    this.#server =
      certs === undefined
        ? createServer()
        : createTlsServer({ cert: readFileSync(certs.serverCert), key: readFileSync(certs.serverKey) })
    this.#server.on('connection', () => this.connections++)
    // A client that goes away before it has said everything ends only its own request.
    this.#server.on('request', (request, response) => void this.#answer(request, response).catch(() => {}))
  }

  /** @param certs - speaks HTTPS */
  static async start({ certs }: { certs?: Certs } = {}): Promise<HttpService> {
    const service = new HttpService(certs, await freePort())
    await service.restart()
    return service
  }

  get url(): string {
    return `${this.#scheme}://127.0.0.1:${this.port}`
  }

  /** Listens again after `stop`, on the same port. */
  async restart(): Promise<void> {
    await once(this.#server.listen(this.port, '127.0.0.1'), 'listening')
  }

  async stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    this.#server.closeAllConnections()
    await closed
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const { method = '', url: path = '', headers } = request
    const asked = { method, path, headers, body: Buffer.concat(chunks).toString() }
    this.asked.push(asked)
    answerWith(response, await this.respond(asked))
  }
}

function answerWith(response: ServerResponse, answer: Answer | undefined): void {
  if (answer === undefined) return
  response.writeHead(answer.status ?? 200, answer.headers)
  response.end(answer.body)
}
