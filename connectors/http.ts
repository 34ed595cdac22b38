import { connect as connectSocket, type Socket } from 'node:net'
import { connect as connectTls, type ConnectionOptions as TlsOptions } from 'node:tls'
import type { Client } from 'undici'
import { readClientTls } from '../model/client-tls.ts'
import { BrokerError } from '../model/errors.ts'
import { Calls, reasonOf } from './calls.ts'
import type { ConnectorContext, HttpConnector, HttpRequest, HttpResponse } from './connector.ts'
import { callLimits, withFiniteTimes } from './fields.ts'
import type { HttpConfig } from './http-config.ts'
import { originOf } from './http-template.ts'

const MAX_BODY_BYTES = 1024 * 1024

/**
 * An HTTP or HTTPS service: the host of the config's `url`.
 * @param id - named in errors and the log
 * @throws BrokerError CONFIG_INVALID; a service that is away is looked for later
 */
export async function openHttp(
  id: string,
  written: HttpConfig,
  context: ConnectorContext,
): Promise<HttpConnector> {
  const config = withFiniteTimes(written)
  const origin = originOf(config.url)
  const isSecure = origin.protocol === 'https:'
  if (isSecure !== config.ssl.enable)
    throw new BrokerError('CONFIG_INVALID', `${id}: ssl.enable and the scheme of url do not fit`)
  const tls = await readClientTls(config.ssl, `${id}: ssl`, context.configDir)
  // Brokers that ask no service need not load the client.
  const { Client: Driver } = await import('undici')
  const create = () =>
    new Driver(origin.origin, {
      pipelining: config.enable_pipelining,
      keepAliveTimeout: Math.max(1, config.max_inactive),
      headersTimeout: config.request_timeout,
      bodyTimeout: config.request_timeout,
      maxResponseSize: MAX_BODY_BYTES,
      connect: { timeout: config.connect_timeout, ...tls } as Client.Options['connect'] & object,
    })
  return new Http(id, config, context, create, (signal) => reach(origin, tls, signal))
}

/** One connection, and how many requests it has to answer. */
interface Lane {
  readonly client: Client
  running: number
}

class Http implements HttpConnector {
  readonly id: string
  readonly #calls: Calls
  readonly #create: () => Client
  readonly #lanes: Lane[] = []
  readonly #maxLanes: number

  constructor(
    id: string,
    config: HttpConfig,
    context: ConnectorContext,
    create: () => Client,
    probe: (signal: AbortSignal) => Promise<void>,
  ) {
    this.id = id
    this.#create = create
    this.#maxLanes = config.pool_size
    this.#calls = new Calls({
      id,
      context,
      ...callLimits(config, config.request_timeout),
      maxInflight: config.pool_size * config.enable_pipelining,
      // Of the headers; what is in URL and body comes from templates.
      secrets: Object.values(config.headers),
      probe,
      isLoss: () => true,
    })
    this.#calls.start()
  }

  get status() {
    return this.#calls.status
  }

  get counters() {
    return this.#calls.counters
  }

  request(request: HttpRequest, signal?: AbortSignal): Promise<HttpResponse> {
    const values = [request.path, ...Object.values(request.headers), request.body ?? '']
    return this.#calls.run(values, signal, async (end) => {
      const lane = this.#lane()
      lane.running++
      try {
        return await send(lane.client, request, end)
      } finally {
        lane.running--
      }
    })
  }

  async close(): Promise<void> {
    this.#calls.close()
    await Promise.all(this.#lanes.map(({ client }) => client.destroy()))
  }

  /** The one with least to do: an answer comes after those before it on the same connection. */
  #lane(): Lane {
    let best = this.#lanes[0]
    for (const lane of this.#lanes) if (best === undefined || lane.running < best.running) best = lane
    if (best !== undefined && (best.running === 0 || this.#lanes.length >= this.#maxLanes)) return best
    const lane = { client: this.#create(), running: 0 }
    this.#lanes.push(lane)
    return lane
  }
}

async function send(client: Client, request: HttpRequest, signal: AbortSignal): Promise<HttpResponse> {
  const { method, path, headers, body } = request
  const response = await client.request({ method, path, headers, body: body ?? null, signal })
  const type = [response.headers['content-type']].flat()[0]
  return {
    status: response.statusCode,
    contentType: type?.split(';')[0]?.trim().toLowerCase(),
    body: await response.body.text(),
  }
}

/** Whether somebody accepts connections there, and over TLS the right one. */
function reach(origin: URL, tls: TlsOptions | undefined, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const host = origin.hostname.replace(/^\[(.*)\]$/, '$1')
    const port = Number(origin.port || (tls === undefined ? 80 : 443))
    const socket: Socket =
      tls === undefined ? connectSocket({ host, port }) : connectTls({ ...tls, host, port })
    const cut = () => socket.destroy(new Error('the connection was closed'))
    signal.addEventListener('abort', cut, { once: true })
    const end = (error?: Error) => {
      signal.removeEventListener('abort', cut)
      socket.destroy()
      if (error === undefined) resolve()
      else reject(new Error(reasonOf(error)))
    }
    socket.once(tls === undefined ? 'connect' : 'secureConnect', () => end())
    socket.on('error', end)
  })
}
