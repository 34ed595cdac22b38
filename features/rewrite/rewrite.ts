import type { FoldResult, HookBus } from '../../hooks/bus.ts'
import type { PublishDecision } from '../../hooks/hookpoints.ts'
import type { ClientInfo } from '../../model/client-info.ts'
import type { Logger } from '../../model/log.ts'
import type { Message } from '../../model/message.ts'
import type { Subscription } from '../../model/subscription.ts'
import { isValidTopicName, parseShared } from '../../model/topic.ts'
import type { RewriteConfig } from './config.ts'
import { compileRules, type RewriteRules } from './rules.ts'

export const REWRITE_PRIORITY = 980
const NAME = 'rewrite'
const EXCLUSIVE = '$exclusive/'

/**
 * Topic rewrite: after authorization, which sees what the client wrote, and before everything else. Rules are
 * about topics as the client knows them, without mountpoint, and about the filter inside a shared subscription.
 */
export class TopicRewrite {
  readonly #log: Logger
  #bus: HookBus | undefined
  #publish: RewriteRules
  #subscribe: RewriteRules

  /** @throws BrokerError CONFIG_INVALID naming the rule */
  constructor(config: RewriteConfig, { log }: { log: Logger }) {
    this.#log = log
    ;({ publish: this.#publish, subscribe: this.#subscribe } = compileRules(config))
  }

  attach(bus: HookBus): void {
    this.#bus = bus
    this.#hook()
  }

  /**
   * Takes new rules. Subscriptions that exist stay where the old ones have put them, so a client may not be able
   * to unsubscribe from them any more.
   * @throws BrokerError CONFIG_INVALID naming the rule; the old ones stay in force
   */
  update(config: RewriteConfig): void {
    ;({ publish: this.#publish, subscribe: this.#subscribe } = compileRules(config))
    this.#hook()
  }

  close(): void {
    this.#bus?.del('message.publish', NAME)
    this.#bus?.del('client.subscribe', NAME)
    this.#bus?.del('client.unsubscribe', NAME)
    this.#bus = undefined
  }

  /** Attached is only what has rules, and what is attached already keeps its place. */
  #hook(): void {
    const bus = this.#bus
    if (bus === undefined) return
    const options = { priority: REWRITE_PRIORITY, keepsNothing: true }
    if (this.#publish.isEmpty) bus.del('message.publish', NAME)
    else bus.put('message.publish', NAME, this.#rewritePublish, options)
    if (this.#subscribe.isEmpty) {
      bus.del('client.subscribe', NAME)
      bus.del('client.unsubscribe', NAME)
      return
    }
    bus.put('client.subscribe', NAME, this.#rewriteSubscribe, options)
    bus.put('client.unsubscribe', NAME, this.#rewriteUnsubscribe, options)
  }

  readonly #rewritePublish = (decision: PublishDecision): undefined => {
    if (typeof decision !== 'string') this.#rewriteMessage(decision)
  }

  readonly #rewriteSubscribe = (
    subscriptions: readonly Subscription[],
    client: ClientInfo,
  ): FoldResult<readonly Subscription[]> => ({
    ok: subscriptions.map((subscription) => {
      const filter = this.#rewriteFilter(subscription.filter, client)
      return filter === undefined ? subscription : { ...subscription, filter }
    }),
  })

  readonly #rewriteUnsubscribe = (
    filters: readonly string[],
    client: ClientInfo,
  ): FoldResult<readonly string[]> => ({
    ok: filters.map((filter) => this.#rewriteFilter(filter, client) ?? filter),
  })

  /** In place: before it is routed a message belongs to nobody else. */
  #rewriteMessage(message: Message): void {
    const { topic, publisher } = message
    const mountpoint = publisher === undefined ? '' : publisher.mountpoint
    const isMounted = mountpoint !== '' && topic.startsWith(mountpoint)
    const changed = this.#publish.rewrite(isMounted ? topic.slice(mountpoint.length) : topic, publisher)
    if (changed === undefined) return
    if (isValidTopicName(changed)) message.topic = isMounted ? mountpoint + changed : changed
    else this.#log.debug({ client: message.from, topic, changed }, 'not rewritten, the result is no topic')
  }

  /** Of a shared or exclusive subscription only what is inside. What comes out is checked by whoever subscribes. */
  #rewriteFilter(filter: string, client: ClientInfo): string | undefined {
    const inner = innerOf(filter)
    const changed = this.#subscribe.rewrite(inner, client)
    return changed === undefined ? undefined : filter.slice(0, filter.length - inner.length) + changed
  }
}

function innerOf(filter: string): string {
  if (filter.startsWith(EXCLUSIVE)) return filter.slice(EXCLUSIVE.length)
  return parseShared(filter)?.filter ?? filter
}
