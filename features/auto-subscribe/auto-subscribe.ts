import type { HookBus } from '../../hooks/bus.ts'
import type { ClientInfo } from '../../model/client-info.ts'
import { BrokerError } from '../../model/errors.ts'
import type { Logger } from '../../model/log.ts'
import { type ReasonCode, reasonName } from '../../model/reason-codes.ts'
import type { Subscription } from '../../model/subscription.ts'
import { isShared, isValidFilter } from '../../model/topic.ts'
import { topicValue } from '../placeholder.ts'
import { type AutoSubscribeConfig, MAX_AUTO_SUBSCRIPTIONS } from './config.ts'

export const AUTO_SUBSCRIBE_PRIORITY = 920
const NAME = 'auto_subscribe'

export interface AutoSubscribeSurroundings {
  readonly log: Logger
  /**
   * Subscribes a client without asking anybody for permission and without `client.subscribe` hooks.
   * @returns per subscription the granted QoS or why not; undefined if the client is not connected any more
   */
  readonly subscribe: (
    client: ClientInfo,
    subscriptions: readonly Subscription[],
  ) => readonly ReasonCode[] | undefined
}

/** A rule whose filter is filled in from the client; undefined if it has no such value. */
type Rule = (client: ClientInfo) => Subscription | undefined

/**
 * Subscriptions that the broker makes for every MQTT client when it logs in. Clients of gateways get none: their
 * protocols have deliveries only for what the client has named itself.
 */
export class AutoSubscribe {
  readonly #surroundings: AutoSubscribeSurroundings
  #bus: HookBus | undefined
  #rules: readonly Rule[]

  /** @throws BrokerError CONFIG_INVALID naming the rule */
  constructor(config: AutoSubscribeConfig, surroundings: AutoSubscribeSurroundings) {
    this.#surroundings = surroundings
    this.#rules = compileRules(config)
  }

  attach(bus: HookBus): void {
    this.#bus = bus
    this.#hook()
  }

  /**
   * Takes new rules, for clients that connect from now on.
   * @throws BrokerError CONFIG_INVALID naming the rule; the old ones stay in force
   */
  update(config: AutoSubscribeConfig): void {
    this.#rules = compileRules(config)
    this.#hook()
  }

  close(): void {
    this.#bus?.del('client.connected', NAME)
    this.#bus = undefined
  }

  #hook(): void {
    const options = { priority: AUTO_SUBSCRIBE_PRIORITY }
    if (this.#rules.length === 0) this.#bus?.del('client.connected', NAME)
    else this.#bus?.put('client.connected', NAME, this.#subscribe, options)
  }

  readonly #subscribe = (client: ClientInfo): void => {
    if (client.gateway !== undefined) return
    const subscriptions = this.#rules
      .map((rule) => rule(client))
      .filter((subscription) => subscription !== undefined)
    if (subscriptions.length === 0) return
    const codes = this.#surroundings.subscribe(client, subscriptions) ?? []
    for (const [i, code] of codes.entries()) {
      if (code < 0x80) continue
      const { clientId } = client
      const filter = subscriptions[i]?.filter
      this.#surroundings.log.warn(
        { clientid: clientId, filter, reason: reasonName(code) },
        'a client could not be subscribed automatically',
      )
    }
  }
}

const PLACEHOLDER = /\$\{([^{}]*)\}/g
const VALUES = new Map<string, (client: ClientInfo) => string>([
  ['clientid', (client) => client.clientId],
  ['username', (client) => client.username ?? ''],
  ['host', (client) => client.peerHost],
  ['port', (client) => String(client.peerPort)],
])

function compileRules({ topics }: AutoSubscribeConfig): Rule[] {
  if (topics.length > MAX_AUTO_SUBSCRIPTIONS) {
    const text = `auto_subscribe.topics: at most ${MAX_AUTO_SUBSCRIPTIONS} rules, found ${topics.length}`
    throw new BrokerError('CONFIG_INVALID', text)
  }
  return topics.map((topic, i) => compileRule(topic, `auto_subscribe.topics.${i + 1}`))
}

function compileRule({ topic, qos, rh, rap, nl }: AutoSubscribeConfig['topics'][number], path: string): Rule {
  for (const [verbatim, name = ''] of topic.matchAll(PLACEHOLDER)) {
    if (!VALUES.has(name)) throw invalid(`${path}.topic`, `there is no ${verbatim}`)
  }
  if (!isValidFilter(topic.replaceAll(PLACEHOLDER, 'x')))
    throw invalid(`${path}.topic`, `expected a topic filter, found ${JSON.stringify(topic)}`)
  // [MQTT-3.8.3-4]
  if (nl === 1 && isShared(topic)) throw invalid(`${path}.nl`, 'No Local is not for shared subscriptions')
  const common = { qos, identifier: 0 }
  const asked = { ...common, noLocal: nl === 1, retainAsPublished: rap === 1, retainHandling: rh }
  return (client) => {
    const filter = fill(topic, client)
    if (filter === undefined) return undefined
    if (client.protocolVersion === '5') return { ...asked, filter }
    // As a SUBSCRIBE of MQTT 3 is read.
    return { ...common, filter, noLocal: false, retainAsPublished: client.isBridge, retainHandling: 0 }
  }
}

function fill(template: string, client: ClientInfo): string | undefined {
  let isFull = true
  const filter = template.replaceAll(PLACEHOLDER, (_, name: string) => {
    const value = topicValue(VALUES.get(name)?.(client))
    isFull &&= value !== undefined
    return value ?? ''
  })
  // No client gets at `$SYS` or into a group by taking that for its name.
  const isOwnDollar = filter.startsWith('$') && template.startsWith('${')
  return isFull && !isOwnDollar ? filter : undefined
}

function invalid(path: string, text: string): BrokerError {
  return new BrokerError('CONFIG_INVALID', `${path}: ${text}`)
}
