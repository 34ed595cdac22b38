import type { ClientInfo } from '../model/client-info.ts'
import type { AuthnChain } from './chain.ts'

/** Chain of MQTT clients whose listener has none of its own. */
export const MQTT_CHAIN = 'mqtt:global'

/** Name of the chain of all listeners of a gateway. */
export function gatewayChain(gateway: string): string {
  return `${gateway}:global`
}

/**
 * Which chain a login goes through: its listener's own, else that of its gateway, or
 * the global one for MQTT. One replaces the other, nothing falls through from one to
 * the next.
 */
export class AuthnChains {
  readonly #byName: ReadonlyMap<string, AuthnChain>

  /** @param chains - those with at least one enabled authenticator, named after their listener or as above */
  constructor(chains: Iterable<AuthnChain>) {
    this.#byName = new Map(Array.from(chains, (chain) => [chain.name, chain]))
  }

  /** Undefined: nobody is asked, the client is anonymous. */
  chainFor(client: ClientInfo): AuthnChain | undefined {
    return (
      this.#byName.get(client.listener) ??
      this.#byName.get(client.gateway === undefined ? MQTT_CHAIN : gatewayChain(client.gateway))
    )
  }

  get(name: string): AuthnChain | undefined {
    return this.#byName.get(name)
  }

  [Symbol.iterator](): Iterator<AuthnChain> {
    return this.#byName.values()
  }
}
