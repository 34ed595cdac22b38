/** From the whole config to what each room is built from. Pure: main.ts does the building. */
import type { Static } from 'typebox'
import { type AuthenticationConfig, authenticatorList } from './authn/config.ts'
import type { AuthnConfig } from './authn/index.ts'
import { clientLimits, hubOptions, mqttOptions } from './broker/config.ts'
import type { HubOptions } from './broker/hub.ts'
import type { MqttOptions } from './broker/mqtt/options.ts'
import type { MqttListener } from './broker/mqtt/server.ts'
import type { configSchema } from './config/schema.ts'
import { mqttInZones } from './config/zones.ts'
import type { ListenerConfig, ListenerType } from './listeners/config.ts'
import { safeBind } from './listeners/loopback.ts'
import { readListener, readTls } from './listeners/options.ts'
import type { TlsOptions } from './listeners/tls-options.ts'

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
  const options = hubOptions(config.mqtt, config.broker, config.retainer, config.node, {
    noMatch: no_match,
    denyAction: deny_action,
  })
  const zones = mapped(mqttInZones(config), clientLimits)
  return zones.size === 0 ? options : { ...options, zones }
}

/** Options of MQTT connections, of all of them and of those in each zone. */
export function mqttOptionsOf(config: Config): { options: MqttOptions; zones: Map<string, MqttOptions> } {
  const zones = mapped(mqttInZones(config), (mqtt, name) => mqttOptions(mqtt, `zones.${name}.mqtt`))
  return { options: mqttOptions(config.mqtt), zones }
}

function mapped<A, B>(from: ReadonlyMap<string, A>, to: (value: A, name: string) => B): Map<string, B> {
  return new Map([...from].map(([name, value]) => [name, to(value, name)]))
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

/**
 * The config with every listener whose clients nobody checks bound to loopback (see `safeBind`).
 * @returns also the ids of those that would have been open to the network
 */
export function withSafeBinds(config: Config): { config: Config; rebound: string[] } {
  const safe = structuredClone(config)
  const rebound: string[] = []
  const guard = (sections: NamedSection[], chain: unknown, isGuardedAnyway = false) => {
    for (const { id, section } of sections) {
      const bind = safeBind(section.bind, isGuardedAnyway || isGuarded(config, section, chain))
      if (bind !== section.bind && section.enable) rebound.push(id)
      section.bind = bind
    }
  }
  guard(sectionsOf(safe.listeners), safe.authentication)
  for (const [name, gateway] of Object.entries(safe.gateway)) {
    // Methods of its protocol guard a gateway as well as authenticators do.
    const hasMethods = (gateway.internal_authn ?? []).length > 0
    guard(sectionsOf(gateway.listeners, name), gateway.authentication, hasMethods)
  }
  return { config: safe, rebound }
}

/** The MQTT listeners that are enabled. */
export function mqttListenersOf(config: Config): MqttListener[] {
  return sectionsOf(config.listeners)
    .filter(({ section }) => section.enable)
    .map(({ id, type, section }) => {
      const { enable_authn: enableAuthn, mountpoint = '', zone = 'default' } = section
      return { options: readListener(id, type, section), settings: { enableAuthn, mountpoint, zone } }
    })
}

/** The TLS options of listeners that are enabled, those of gateways included. */
export function tlsListenersOf(config: Config): { id: string; tls: TlsOptions }[] {
  const gateways = Object.entries(config.gateway).filter(([, gateway]) => gateway.enable)
  const sections = [
    ...sectionsOf(config.listeners),
    ...gateways.flatMap(([name, { listeners }]) => sectionsOf(listeners, name)),
  ]
  return sections.flatMap(({ id, type, section }) => {
    const isTls = section.enable && (type === 'ssl' || type === 'wss')
    return isTls && section.ssl_options ? [{ id, tls: readTls(section.ssl_options) }] : []
  })
}

/** Where clients come in, as far as it concerns who may. */
export interface AccessPoint {
  readonly id: string
  /** Undefined for MQTT. */
  readonly gateway: string | undefined
  readonly enable: boolean
  readonly enableAuthn: boolean | 'quick_deny_anonymous'
  readonly mountpoint: string
  readonly zone: string
  /** Its clients are not asked for by the chain of all others. */
  readonly hasOwnChain: boolean
}

/** Every listener there is, those of gateways after those of MQTT. */
export function accessPointsOf(config: Config): AccessPoint[] {
  const mqtt = sectionsOf(config.listeners).map((one) => accessPointOf(one, undefined, ''))
  const others = Object.entries(config.gateway).flatMap(([name, { listeners, mountpoint }]) =>
    sectionsOf(listeners, name).map((one) => accessPointOf(one, name, mountpoint)),
  )
  return [...mqtt, ...others]
}

function accessPointOf(
  { id, section }: NamedSection,
  gateway: string | undefined,
  ofGateway: string,
): AccessPoint {
  const { enable, enable_authn: enableAuthn, mountpoint = ofGateway, zone = 'default' } = section
  const hasOwnChain = authenticators(section.authentication).some((one) => one.enable)
  return { id, gateway, enable, enableAuthn, mountpoint, zone, hasOwnChain }
}

/** @param chain - the authentication that holds for the listener unless it has one of its own */
function isGuarded(config: Config, section: Section, chain: unknown): boolean {
  // `enable_authn: false` is an operator's word that everybody may come in here.
  if (config.allow_anonymous || section.enable_authn === false) return true
  return [...authenticators(section.authentication), ...authenticators(chain)].some(({ enable }) => enable)
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
