import { clientValues } from '../connectors/variables.ts'
import type { Action } from '../model/access.ts'
import type { MaybePromise } from '../model/async.ts'
import type { ClientInfo } from '../model/client-info.ts'
import { BrokerError, messageOf } from '../model/errors.ts'
import { Expression } from '../model/expression.ts'
import type { Source, SourceAnswer } from './source.ts'

/** @throws BrokerError CONFIG_INVALID for what is no expression */
export function preconditionOf(source: string): Expression {
  try {
    return new Expression(source)
  } catch (error) {
    throw new BrokerError('CONFIG_INVALID', `precondition: ${messageOf(error)}`, { cause: error })
  }
}

/** A source that is asked only where its precondition gives `true`. */
export class ConditionalSource implements Source {
  readonly type: string
  readonly #source: Source
  readonly #precondition: Expression

  constructor(source: Source, precondition: Expression) {
    this.type = source.type
    this.#source = source
    this.#precondition = precondition
  }

  get status(): Source['status'] {
    return this.#source.status
  }

  get calls(): Source['calls'] {
    return this.#source.calls
  }

  authorize(client: ClientInfo, action: Action, topic: string): MaybePromise<SourceAnswer> {
    return this.holds(client, action, topic) ? this.#source.authorize(client, action, topic) : 'ignore'
  }

  async reload(): Promise<void> {
    await this.#source.reload?.()
  }

  close(): MaybePromise<void> {
    return this.#source.close()
  }

  /**
   * Whether the source is asked. An expression that fails is not a no: the rules that it keeps us from might deny.
   * @throws BrokerError BACKEND_FAILED
   */
  holds(client: ClientInfo, action: Action, topic: string): boolean {
    try {
      return this.#precondition.render(clientValues(client, { action, topic })) === 'true'
    } catch {
      // Not the error's own text: it may quote what the client has sent.
      throw new BrokerError('BACKEND_FAILED', 'the precondition failed for a client: its values do not fit')
    }
  }
}
