import { clientValues } from '../connectors/variables.ts'
import type { Login } from '../model/access.ts'
import { BrokerError, messageOf } from '../model/errors.ts'
import { Expression } from '../model/expression.ts'
import type { Logger } from '../model/log.ts'

/** An expression of an operator about a login; `option` names it in errors. @throws BrokerError CONFIG_INVALID */
export function loginExpression(source: string, option: string): Expression {
  try {
    return new Expression(source)
  } catch (error) {
    throw new BrokerError('CONFIG_INVALID', `${option}: ${messageOf(error)}`, { cause: error })
  }
}

/**
 * Whether an expression gives `true` for a login; undefined if it failed, which is said at level debug, as
 * what a client sends may be the reason.
 */
export function isTrueFor(
  expression: Expression,
  { client, password }: Login,
  log: Logger,
): boolean | undefined {
  try {
    return expression.render(clientValues(client, { password })) === 'true'
  } catch (error) {
    // Not the error's own text: it may quote the password.
    const fields = { clientid: client.clientId, listener: client.listener, expression: expression.source }
    log.debug(fields, `an expression failed for a client: ${functionOf(error)}`)
    return undefined
  }
}

/** `json_value: Unexpected token ...` -> `json_value` */
function functionOf(error: unknown): string {
  return /^[a-z0-9_]+(?=:)/.exec(messageOf(error))?.[0] ?? 'its values do not fit'
}
