/** `http`: a service of somebody else's decides. Its answers are in authz.md section 9. */
import type { ConnectorCounters, ConnectorStatus, HttpConnector } from '../connectors/connector.ts'
import { openHttp } from '../connectors/http.ts'
import { readAnswer } from '../connectors/http-answer.ts'
import { type HttpConfig, httpFields } from '../connectors/http-config.ts'
import { compileRequest } from '../connectors/http-template.ts'
import { templateRules } from '../connectors/template-rules.ts'
import { AUTHZ_HTTP_PLACEHOLDERS, clientValues } from '../connectors/variables.ts'
import type { Action } from '../model/access.ts'
import type { ClientInfo } from '../model/client-info.ts'
import { BrokerError } from '../model/errors.ts'
import type { Logger } from '../model/log.ts'
import { Strict } from '../model/schema.ts'
import { sourceFields } from './fields.ts'
import { defineSource, type Source, type SourceAnswer, type SourceBase } from './source.ts'

const TYPE = 'http'
const JSON_TYPE = 'application/json'
const REQUEST_TIMEOUT = 408
const TOO_MANY_REQUESTS = 429

export interface HttpRulesConfig extends SourceBase, HttpConfig {}

export const httpRules = defineSource<HttpRulesConfig>({
  type: TYPE,
  schema: Strict(
    { ...sourceFields(TYPE), ...httpFields({ requestTimeout: '30s' }) },
    { description: 'An HTTP service decides' },
  ),
  async create(config, context) {
    const request = compileRequest(config, templateRules(AUTHZ_HTTP_PLACEHOLDERS, context.log))
    return new HttpSource(await openHttp(TYPE, config, context), request, context.log)
  },
})

class HttpSource implements Source {
  readonly type = TYPE
  readonly #connector: HttpConnector
  readonly #request: ReturnType<typeof compileRequest>
  readonly #log: Logger

  constructor(connector: HttpConnector, request: ReturnType<typeof compileRequest>, log: Logger) {
    this.#connector = connector
    this.#request = request
    this.#log = log
  }

  get status(): ConnectorStatus {
    return this.#connector.status
  }

  get calls(): Readonly<ConnectorCounters> {
    return this.#connector.counters
  }

  async authorize(client: ClientInfo, action: Action, topic: string): Promise<SourceAnswer> {
    const request = this.#request.render(clientValues(client, { action, topic }))
    const response = await this.#connector.request(request)
    if (response.status === 204) return 'allow'
    if (response.status !== 200 && !isOpinion(response.status))
      throw failed(`answered with status ${response.status}`)
    if (response.status !== 200) {
      this.#log.debug({ status: response.status }, 'the service has no answer for this client')
      return 'ignore'
    }
    const { kind, fields } = readAnswer(TYPE, response, JSON_TYPE)
    const result = kind === 'json' ? fields.result : fields.get('result')
    if (result === 'allow' || result === 'deny' || result === 'ignore') return result
    throw failed('answered with a result that is not allow, deny or ignore')
  }

  close(): Promise<void> {
    return this.#connector.close()
  }
}

/**
 * EMQX takes every other status for no opinion. Here that is what a service says on purpose (4xx); one that is broken,
 * busy or elsewhere has said nothing, and where `no_match` allows that must not become a yes.
 */
function isOpinion(status: number): boolean {
  return status >= 400 && status < 500 && status !== REQUEST_TIMEOUT && status !== TOO_MANY_REQUESTS
}

function failed(what: string): BrokerError {
  return new BrokerError('BACKEND_FAILED', `${TYPE} ${what}`)
}
