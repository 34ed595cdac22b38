/** From the whole config to what each room is built from. Pure: main.ts does the building. */
import type { Static } from 'typebox'
import { type AuthenticationConfig, authenticatorList } from './authn/config.ts'
import type { AuthnConfig } from './authn/index.ts'
import { hubOptions } from './broker/config.ts'
import type { HubOptions } from './broker/hub.ts'
import type { MqttListener } from './broker/mqtt/server.ts'
import type { configSchema } from './config/schema.ts'
import type { GatewayConfig } from './gateways/config.ts'
import type { ListenerConfig, ListenerType } from './listeners/config.ts'
import { safeBind } from './listeners/loopback.ts'
import { readListener } from './listeners/options.ts'
import type { Logger } from './model/log.ts'
import type { Bind } from './model/schema.ts'

export type Config = Static<ReturnType<typeof configSchema>>

/** A listener's section: its own options, and what the broker adds to them. */
type Section = ListenerConfig & { authentication?: AuthenticationConfig; zone?: string }

interface NamedSection {
  id: string
  type: ListenerType
  name: string
  section: Section
}

export function hubOptionsOf(config: Config): HubOptions {
  const { no_match, deny_action } = config.authorization
  return hubOptions(config.mqtt, config.node, { noMatch: no_match, denyAction: deny_action })
}

export function authnConfigOf(config: Config): AuthnConfig {
  const gateways = new Map<string, AuthenticationConfig>()
  const listeners = new Map<string, AuthenticationConfig>()
  const add = (into: Map<string, AuthenticationConfig>, key: string, chain: unknown) => {
    if (authenticators(chain).length > 0) into.set(key, authenticators(chain))
  }
  for (const { id, section } of sectionsOf(config.listeners)) add(listeners, id, section.authentication)
  for (const [name, gateway] of Object.entries(config.gateway)) {
    add(gateways, name, gateway.authentication)
    for (const { id, section } of sectionsOf(gateway.listeners, name))
      add(listeners, id, section.authentication)
  }
  return { global: config.authentication, gateways, listeners }
}

/** The MQTT listeners that are enabled. One whose clients nobody checks is bound to loopback, and the log says so. */
export function mqttListenersOf(config: Config, log: Logger): MqttListener[] {
  return sectionsOf(config.listeners)
    .filter(({ section }) => section.enable)
    .map(({ id, type, section }) => {
      const options = readListener(id, type, section)
      options.bind = guardedBind(config, id, section, config.authentication, log)
      const { enable_authn: enableAuthn, mountpoint = '', zone = 'default' } = section
      return { options, settings: { enableAuthn, mountpoint, zone } }
    })
}

/** The gateways' sections by name, with the same care for who may reach their listeners. */
export function gatewaysOf(config: Config, log: Logger): [name: string, section: GatewayConfig][] {
  return Object.entries(config.gateway).map(([name, gateway]) => {
    const listeners: Record<string, Record<string, object>> = {}
    for (const { id, type, name: own, section } of sectionsOf(gateway.listeners, name)) {
      listeners[type] ??= {}
      listeners[type][own] = {
        ...section,
        bind: guardedBind(config, id, section, gateway.authentication, log),
      }
    }
    return [name, { ...gateway, listeners: listeners as GatewayConfig['listeners'] }]
  })
}

/** @param chain - the authentication that holds for the listener unless it has one of its own */
function guardedBind(config: Config, id: string, section: Section, chain: unknown, log: Logger): Bind {
  const asked = [...authenticators(section.authentication), ...authenticators(chain)]
  // `enable_authn: false` is an operator's word that everybody may come in here.
  const isGuarded =
    config.allow_anonymous || section.enable_authn === false || asked.some(({ enable }) => enable)
  const bind = safeBind(section.bind, isGuarded)
  if (bind !== section.bind && section.enable) {
    const address = `${bind.host}:${bind.port}`
    log.warn(
      { listener: id, address },
      'listening on loopback only: configure authentication, or set allow_anonymous: true',
    )
  }
  return bind
}

function authenticators(chain: unknown) {
  return authenticatorList(chain as AuthenticationConfig | undefined)
}

function sectionsOf(listeners: object, gateway?: string): NamedSection[] {
  return Object.entries(listeners as Record<ListenerType, Record<string, Section>>).flatMap(([type, named]) =>
    Object.entries(named).map(([name, section]) => {
      const id = `${gateway === undefined ? '' : `${gateway}:`}${type}:${name}`
      return { id, type: type as ListenerType, name, section }
    }),
  )
}
