import type { Connected, Receiver, Refused, SessionOptions } from '../broker/broker.ts'
import type { Login } from '../model/access.ts'
import type { MaybePromise } from '../model/async.ts'
import type { Logger } from '../model/log.ts'
import { Counters } from './counters.ts'
import type { GatewayContext } from './gateway.ts'

/** What a gateway's context is made of: the broker's side of it. */
export interface ContextSource {
  connect(login: Login, options: SessionOptions, receiver: Receiver): MaybePromise<Connected | Refused>
  log: Logger
  /** Unix time in milliseconds. Default: the clock. */
  now?: () => number
}

/** The context of the gateway `name`, with counters of its own. */
export function createContext(name: string, source: ContextSource): GatewayContext {
  const prefix = `${name}\0`
  return {
    log: source.log.child({ gateway: name }),
    counters: new Counters(),
    now: source.now ?? Date.now,
    connect: (login, options, receiver) => source.connect(login, options, receiver),
    // MQTT forbids U+0000 in a client id, so no id of another protocol can be this key.
    keyOf: (clientId) => prefix + clientId,
  }
}
