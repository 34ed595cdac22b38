/** `password_based:ldap`: users in a directory, which either shows us their hashes or checks passwords itself. */
import Type, { type TUnsafe } from 'typebox'
import { Complaints } from '../connectors/complaints.ts'
import type { ConnectorCounters, ConnectorStatus, LdapConnector, LdapEntry } from '../connectors/connector.ts'
import { openLdap } from '../connectors/ldap.ts'
import { type LdapConfig, ldapFields } from '../connectors/ldap-config.ts'
import { textsOf } from '../connectors/ldap-rules.ts'
import { compileDn, compileLdapFilter, compileText, type Template } from '../connectors/template.ts'
import { clientValues, type Values } from '../connectors/variables.ts'
import type { Login, Verdict } from '../model/access.ts'
import type { MaybePromise } from '../model/async.ts'
import { BrokerError } from '../model/errors.ts'
import { ReasonCode } from '../model/reason-codes.ts'
import { Strict, Variant } from '../model/schema.ts'
import {
  type Authenticator,
  type AuthenticatorBase,
  type AuthenticatorContext,
  authenticatorId,
  defineAuthenticator,
} from './authenticator.ts'
import { letIn } from './claims.ts'
import { remoteFields } from './fields.ts'
import { isLdapPassword, type LdapPassword, readLdapPassword } from './ldap-password.ts'
import { type LdapRulesConfig, ldapRulesFields, rulesAttributes, rulesOf } from './ldap-rules.ts'
import { hasPassword, type PasswordLogin } from './password-check.ts'
import { authnTemplates } from './template-rules.ts'

const MECHANISM = 'password_based'
const BACKEND = 'ldap'

type LdapMethod = { is_superuser_attribute: string; clientid_override_attribute: string } & (
  | { type: 'hash'; password_attribute: string }
  | { type: 'bind'; bind_password: string }
)

export interface LdapUsersConfig extends AuthenticatorBase, LdapConfig, LdapRulesConfig {
  base_dn: string
  filter: string
  method: LdapMethod
}

const superuserAttribute = Type.String({
  default: 'isSuperuser',
  minLength: 1,
  description: 'Attribute that makes superusers; need not be there',
})

const clientIdAttribute = Type.String({
  default: 'clientIdOverride',
  minLength: 1,
  description: 'Attribute with the client id that the client gets; need not be there',
})

const method: TUnsafe<LdapMethod> = Type.Unsafe<LdapMethod>({
  ...Variant<LdapMethod>('type', [
    Strict({
      type: Type.Literal('hash'),
      password_attribute: Type.String({
        default: 'userPassword',
        minLength: 1,
        description: 'Attribute with the hash of the password, like {SSHA}...',
      }),
      is_superuser_attribute: superuserAttribute,
      clientid_override_attribute: clientIdAttribute,
    }),
    Strict({
      type: Type.Literal('bind'),
      bind_password: Type.String({
        default: '${password}',
        minLength: 1,
        description: 'What the user logs in to the directory with',
      }),
      is_superuser_attribute: superuserAttribute,
      clientid_override_attribute: clientIdAttribute,
    }),
  ]),
  default: { type: 'hash' },
  description: 'hash: compare with the hash in the entry. bind: log in to the directory as the entry',
})

export const ldapUsers = defineAuthenticator<LdapUsersConfig>({
  mechanism: MECHANISM,
  backend: BACKEND,
  schema: Strict(
    {
      ...remoteFields(MECHANISM, BACKEND),
      ...ldapFields,
      base_dn: Type.String({
        minLength: 1,
        description: 'The entry of a user, or one above it, with placeholders',
      }),
      filter: Type.String({
        default: '(objectClass=mqttUser)',
        minLength: 1,
        description: 'Which of the entries there and below is the user, with placeholders',
      }),
      method,
      ...ldapRulesFields,
    },
    { description: 'Users in a directory' },
  ),
  async create(config, context) {
    const rules = authnTemplates(context.log)
    const templates = {
      baseDn: compileDn(config.base_dn, rules),
      filter: compileLdapFilter(config.filter, rules),
      bindPassword:
        config.method.type === 'bind' ? compileText(config.method.bind_password, rules) : undefined,
    }
    const connector = await openLdap(authenticatorId(config), config, context)
    return new LdapUsers(connector, config, templates, context)
  },
})

interface Templates {
  readonly baseDn: Template<string>
  readonly filter: Template<string>
  /** Undefined: hashes are compared here. */
  readonly bindPassword: Template<string> | undefined
}

const IS_ENABLED = 'isEnabled'
/** Nobody's password. */
const NOBODY: LdapPassword = { digest: 'sha1', hash: new Uint8Array(20), salt: new Uint8Array(8) }
const IGNORE: Verdict = { kind: 'ignore' }
const NOT_AUTHORIZED: Verdict = { kind: 'deny', reason: ReasonCode.NotAuthorized }
const WRONG_PASSWORD: Verdict = { kind: 'deny', reason: ReasonCode.BadUserNameOrPassword }

class LdapUsers implements Authenticator {
  readonly id: string
  readonly #connector: LdapConnector
  readonly #config: LdapUsersConfig
  readonly #templates: Templates
  readonly #context: AuthenticatorContext
  readonly #complaints: Complaints
  readonly #attributes: readonly string[]

  constructor(
    connector: LdapConnector,
    config: LdapUsersConfig,
    templates: Templates,
    context: AuthenticatorContext,
  ) {
    this.id = connector.id
    this.#connector = connector
    this.#config = config
    this.#templates = templates
    this.#context = context
    this.#complaints = new Complaints(context.log)
    const { method } = config
    const hash = method.type === 'hash' ? [method.password_attribute] : []
    const { is_superuser_attribute, clientid_override_attribute } = method
    const about = [IS_ENABLED, is_superuser_attribute, clientid_override_attribute]
    this.#attributes = [...about, ...hash, ...rulesAttributes(config)]
  }

  get status(): ConnectorStatus {
    return this.#connector.status
  }

  get calls(): Readonly<ConnectorCounters> {
    return this.#connector.counters
  }

  authenticate(login: Login, signal: AbortSignal): MaybePromise<Verdict> {
    return hasPassword(login) ? this.#decide(login, signal) : IGNORE
  }

  close(): Promise<void> {
    return this.#connector.close()
  }

  async #decide(login: PasswordLogin, signal: AbortSignal): Promise<Verdict> {
    const values = clientValues(login.client, { password: login.password })
    const baseDn = this.#templates.baseDn.render(values)
    const entry = await this.#find(baseDn, values, signal)
    const password = this.#templates.bindPassword?.render(values)
    if (entry === undefined) {
      // A user that is not there costs a login, too, or the clock would tell who is. The answer does not matter.
      if (password === undefined) isLdapPassword(login.password, NOBODY)
      else await this.#connector.bind(`cn=nobody,${baseDn}`, password, signal)
      return IGNORE
    }
    const isRight =
      password === undefined
        ? this.#compare(entry, login)
        : (await this.#connector.bind(entry.dn, password, signal)) || WRONG_PASSWORD
    if (isRight !== true) return isRight
    if (isDisabled(entry)) return NOT_AUTHORIZED
    return this.#admit(entry, login)
  }

  /** @throws BrokerError BACKEND_FAILED if there are several: nobody can say which of them is meant */
  async #find(baseDn: string, values: Values, signal: AbortSignal): Promise<LdapEntry | undefined> {
    const filter = this.#templates.filter.render(values)
    const search = { baseDn, filter, attributes: this.#attributes, sizeLimit: 2 }
    const [entry, another] = await this.#connector.search(search, signal)
    if (another === undefined) return entry
    throw new BrokerError('BACKEND_FAILED', `${this.id}: base_dn and filter fit more than one entry`)
  }

  #compare(entry: LdapEntry, login: PasswordLogin): true | Verdict {
    const { method } = this.#config
    const name = method.type === 'hash' ? method.password_attribute : ''
    const values = entry.attributes.get(name.toLowerCase()) ?? []
    if (values.length === 0) {
      this.#complaints.say(`an entry has no ${name}, or it may not be read`, login)
      return NOT_AUTHORIZED
    }
    const stored = values.map(readLdapPassword).filter((password) => password !== undefined)
    if (stored.length === 0) this.#complaints.say(`the ${name} of an entry cannot be used`, login)
    return stored.some((password) => isLdapPassword(login.password, password)) || WRONG_PASSWORD
  }

  #admit(entry: LdapEntry, login: Login): Verdict {
    const { is_superuser_attribute, clientid_override_attribute } = this.#config.method
    const [superuser] = textsOf(entry, is_superuser_attribute)
    const [clientId] = textsOf(entry, clientid_override_attribute)
    const { now = Date.now } = this.#context
    try {
      const rules = rulesOf(entry, this.#config, now())
      return letIn(
        { ...rules, is_superuser: superuser?.toLowerCase(), clientid_override: clientId },
        this.#context,
        this.#complaints,
        login,
      )
    } catch (error) {
      if (!(error instanceof BrokerError)) throw error
      this.#complaints.say('the rules of an entry cannot be used', login, error.message)
      return WRONG_PASSWORD
    }
  }
}

function isDisabled(entry: LdapEntry): boolean {
  return textsOf(entry, IS_ENABLED)[0]?.toLowerCase() === 'false'
}
