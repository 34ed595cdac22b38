/** `password_based:http`: a service of somebody else's decides. Its answers are in authn.md section 9.3. */
import { Complaints } from '../connectors/complaints.ts'
import type { ConnectorCounters, ConnectorStatus, HttpConnector } from '../connectors/connector.ts'
import { openHttp } from '../connectors/http.ts'
import { type HttpAnswer, readAnswer } from '../connectors/http-answer.ts'
import { type HttpConfig, httpFields } from '../connectors/http-config.ts'
import { compileRequest } from '../connectors/http-template.ts'
import { clientValues } from '../connectors/variables.ts'
import type { Login, Verdict } from '../model/access.ts'
import type { MaybePromise } from '../model/async.ts'
import { BrokerError } from '../model/errors.ts'
import { ReasonCode } from '../model/reason-codes.ts'
import { Strict } from '../model/schema.ts'
import {
  type Authenticator,
  type AuthenticatorBase,
  type AuthenticatorContext,
  authenticatorId,
  defineAuthenticator,
} from './authenticator.ts'
import { type Claims, letIn } from './claims.ts'
import { remoteFields } from './fields.ts'
import { authnTemplates } from './template-rules.ts'

const MECHANISM = 'password_based'
const BACKEND = 'http'

export interface HttpServiceConfig extends AuthenticatorBase, HttpConfig {}

export const httpService = defineAuthenticator<HttpServiceConfig>({
  mechanism: MECHANISM,
  backend: BACKEND,
  schema: Strict(
    { ...remoteFields(MECHANISM, BACKEND), ...httpFields({ requestTimeout: '5s' }) },
    { description: 'An HTTP service decides' },
  ),
  async create(config, context) {
    const request = compileRequest(config, authnTemplates(context.log))
    const connector = await openHttp(authenticatorId(config), config, context)
    return new HttpService(connector, request, context)
  },
})

const IGNORE: Verdict = { kind: 'ignore' }
const NOT_AUTHORIZED: Verdict = { kind: 'deny', reason: ReasonCode.NotAuthorized }

class HttpService implements Authenticator {
  readonly id: string
  readonly #connector: HttpConnector
  readonly #request: ReturnType<typeof compileRequest>
  readonly #context: AuthenticatorContext
  readonly #complaints: Complaints

  constructor(
    connector: HttpConnector,
    request: ReturnType<typeof compileRequest>,
    context: AuthenticatorContext,
  ) {
    this.id = connector.id
    this.#connector = connector
    this.#request = request
    this.#context = context
    this.#complaints = new Complaints(context.log)
  }

  get status(): ConnectorStatus {
    return this.#connector.status
  }

  get calls(): Readonly<ConnectorCounters> {
    return this.#connector.counters
  }

  /** A service may know clients by something else than a password, so it is asked without one, too. */
  authenticate(login: Login, signal: AbortSignal): MaybePromise<Verdict> {
    return login.authMethod === undefined ? this.#ask(login, signal) : IGNORE
  }

  close(): Promise<void> {
    return this.#connector.close()
  }

  async #ask(login: Login, signal: AbortSignal): Promise<Verdict> {
    const request = this.#request.render(clientValues(login.client, { password: login.password }))
    const response = await this.#connector.request(request, signal)
    if (response.status === 204) return letIn({}, this.#context, this.#complaints, login)
    if (response.status >= 400 && response.status < 500) {
      // Not thrown: a service that has no good word for one client works well for others.
      this.#complaints.say(
        'the service refused to answer, which is no opinion',
        login,
        `status ${response.status}`,
      )
      return IGNORE
    }
    if (response.status !== 200) throw this.#failed(`answered with status ${response.status}`)
    const claims = claimsOf(readAnswer(this.id, response))
    switch (claims.result) {
      case 'allow':
        return letIn(claims, this.#context, this.#complaints, login)
      case 'deny':
        return NOT_AUTHORIZED
      case 'ignore':
      case undefined:
        return IGNORE
      default:
        throw this.#failed('answered with a result that is not allow, deny or ignore')
    }
  }

  #failed(what: string): BrokerError {
    return new BrokerError('BACKEND_FAILED', `${this.id} ${what}`)
  }
}

function claimsOf({ kind, fields }: HttpAnswer): Claims {
  return kind === 'json' ? fields : formClaims(fields)
}

/** Everything in a form is text. */
function formClaims(form: URLSearchParams): Claims {
  const text = (name: string) => form.get(name) ?? undefined
  const expireAt = text('expire_at')
  return {
    result: text('result'),
    is_superuser: text('is_superuser'),
    expire_at: expireAt !== undefined && /^\d+$/.test(expireAt) ? Number(expireAt) : expireAt,
    acl: text('acl'),
    clientid_override: text('clientid_override'),
    zone_override: text('zone_override'),
  }
}
