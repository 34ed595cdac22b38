/** `zones.<name>`: what holds for the clients of listeners with `zone: <name>` in place of the options of the whole broker. */
import Type, { type TSchema } from 'typebox'
import { type MqttConfig, mqttSchema } from '../broker/config.ts'
import { type FlappingDetectConfig, flappingDetect } from '../features/flapping.ts'
import { Named, Strict } from '../model/schema.ts'

/** What clients of several zones share cannot be different in each. */
const OF_ALL_ZONES: ReadonlySet<string> = new Set([
  'shared_subscription_strategy',
  'shared_subscription_initial_sticky_pick',
  'max_sessions',
])

export interface ZoneConfig {
  mqtt: Partial<MqttConfig>
  flapping_detect: Partial<FlappingDetectConfig>
}

export const zones = Type.Unsafe<Record<string, ZoneConfig>>(
  Named(
    Strict({
      mqtt: overrides(mqttSchema, 'As mqtt, for clients of this zone'),
      flapping_detect: overrides(flappingDetect, 'As flapping_detect, for clients of this zone'),
    }),
    { description: 'Options for the clients of some listeners only, by the zone that these name' },
  ),
)

/** `mqtt` as it holds in each zone that is configured; what a zone does not set is as everywhere else. */
export function mqttInZones(config: {
  readonly mqtt: MqttConfig
  readonly zones: Readonly<Record<string, ZoneConfig>>
}): ReadonlyMap<string, MqttConfig> {
  return new Map(Object.entries(config.zones).map(([name, zone]) => [name, { ...config.mqtt, ...zone.mqtt }]))
}

/** The same options, none of which has to be there or has a default. */
function overrides(section: TSchema, description: string): TSchema {
  const { properties } = section as unknown as { properties: Record<string, TSchema> }
  const optional = Object.entries(properties)
    .filter(([name]) => !OF_ALL_ZONES.has(name))
    .map(([name, field]) => {
      const { default: _, ...rest } = field as TSchema & { default?: unknown }
      return [name, Type.Optional(rest as TSchema)] as const
    })
  return Strict(Object.fromEntries(optional), { description, hot: true })
}
