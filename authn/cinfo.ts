/** `cinfo`: lets clients in, or not, by what they say and where they come from, without asking anybody. */
import Type from 'typebox'
import type { Login, Verdict } from '../model/access.ts'
import type { Expression } from '../model/expression.ts'
import type { Logger } from '../model/log.ts'
import { ReasonCode } from '../model/reason-codes.ts'
import { Strict } from '../model/schema.ts'
import {
  type Authenticator,
  type AuthenticatorBase,
  type AuthenticatorContext,
  defineAuthenticator,
} from './authenticator.ts'
import { mechanismFields } from './fields.ts'
import { isTrueFor, loginExpression } from './precondition.ts'

const MECHANISM = 'cinfo'

type Outcome = 'allow' | 'deny' | 'ignore'

export interface CinfoConfig extends AuthenticatorBase {
  checks: readonly { is_match: string | readonly string[]; result: Outcome }[]
}

const check = Strict({
  is_match: Type.Unsafe<string | string[]>({
    type: ['string', 'array'],
    minLength: 1,
    minItems: 1,
    items: { type: 'string', minLength: 1 },
    description: "Expression such as str_eq(username, 'meter'), or a list of which all must give true",
  }),
  result: Type.Unsafe<Outcome>({
    type: 'string',
    enum: ['allow', 'deny', 'ignore'],
    description: 'What becomes of a client that fits; ignore asks the next authenticator',
  }),
})

export const cinfo = defineAuthenticator<CinfoConfig>({
  mechanism: MECHANISM,
  schema: Strict(
    {
      ...mechanismFields(MECHANISM),
      checks: Type.Array(check, {
        minItems: 1,
        maxItems: 1000,
        description:
          'Asked in order; the first that fits decides. If none does, the next authenticator is asked',
      }),
    },
    { description: 'Clients let in or refused by expressions about them' },
  ),
  create: async (config, context) => new ClientInfoChecks(config, context),
})

const VERDICTS: Readonly<Record<Outcome, Verdict>> = {
  allow: { kind: 'allow', principal: { isSuperuser: false } },
  deny: { kind: 'deny', reason: ReasonCode.BadUserNameOrPassword },
  ignore: { kind: 'ignore' },
}

class ClientInfoChecks implements Authenticator {
  readonly id = MECHANISM
  readonly #checks: readonly { conditions: readonly Expression[]; verdict: Verdict }[]
  readonly #log: Logger

  /** @throws BrokerError CONFIG_INVALID for what is no expression */
  constructor({ checks }: CinfoConfig, { chain, log }: AuthenticatorContext) {
    this.#checks = checks.map(({ is_match: sources, result }, i) => ({
      conditions: [sources]
        .flat()
        .map((source) => loginExpression(source, `chain ${chain}: cinfo.checks.${i + 1}.is_match`)),
      verdict: VERDICTS[result],
    }))
    this.#log = log
  }

  /** A no holds for everybody; a client that names a method is let in by that method only. */
  authenticate(login: Login): Verdict {
    const verdict = this.#judge(login)
    return verdict.kind === 'allow' && login.authMethod !== undefined ? VERDICTS.ignore : verdict
  }

  close(): void {}

  #judge(login: Login): Verdict {
    for (const { conditions, verdict } of this.#checks) {
      const fits = this.#fit(conditions, login)
      // A check that cannot tell might have been a no, so none of those behind it may say yes.
      if (fits === undefined) return VERDICTS.ignore
      if (fits) return verdict
    }
    return VERDICTS.ignore
  }

  #fit(conditions: readonly Expression[], login: Login): boolean | undefined {
    for (const condition of conditions) {
      const isTrue = isTrueFor(condition, login, this.#log)
      if (isTrue !== true) return isTrue
    }
    return true
  }
}
