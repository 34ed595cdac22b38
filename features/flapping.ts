/**
 * Clients that come and go all the time are banned for a while.
 *
 * Counted are ends of connections, of every protocol, by client id: those the client or its network has
 * brought about, and takeovers, since two devices that push each other out with one client id are what
 * flaps most. What the broker ends of its own accord does not count: see `NOT_COUNTED`.
 */
import { LRUCache } from 'lru-cache'
import Type, { type Static } from 'typebox'
import type { HookBus } from '../hooks/bus.ts'
import type { ClientInfo } from '../model/client-info.ts'
import type { DisconnectReason } from '../model/disconnect-reason.ts'
import { BrokerError } from '../model/errors.ts'
import { Duration, Strict } from '../model/schema.ts'
import type { Bans } from './bans/index.ts'

/** `flapping_detect` of the config. */
export const flappingDetect = Strict(
  {
    enable: Type.Boolean({
      default: false,
      description: 'Ban clients that disconnect too often',
      'x-hot': true,
    }),
    window_time: Duration('1m', {
      description: 'In what time disconnects of one client id are counted, from the first one on',
      hot: true,
    }),
    max_count: Type.Integer({
      minimum: 1,
      default: 15,
      description: 'Disconnects a client may have in that time; with one more its client id is banned',
      'x-hot': true,
    }),
    ban_time: Duration('5m', { description: 'How long it is banned', hot: true }),
  },
  { description: 'Clients that come and go all the time' },
)

export type FlappingDetectConfig = Static<typeof flappingDetect>

/** `zones` of the config, as far as it is about this. */
export type FlappingOfZones = Readonly<Record<string, { flapping_detect: Partial<FlappingDetectConfig> }>>

export interface FlappingContext {
  readonly bans: Pick<Bans, 'add'>
  /** Unix time in milliseconds. */
  readonly now: () => number
}

/** The broker has ended them, and not for what they did. */
const NOT_COUNTED: ReadonlySet<DisconnectReason> = new Set([
  'kicked',
  'banned',
  'connection_expired',
  'server_shutting_down',
  'internal_error',
])

const NAME = 'flapping'
/** After everybody: a ban ends the session that others are being told of. */
const PRIORITY = -1000
/** About 100,000 client ids of usual length; the one that was quiet longest is forgotten. */
const MAX_CACHE_BYTES = 16 * 1024 * 1024
const ENTRY_BYTES = 120

/** Disconnects of one client id since the first one of its window. */
interface Window {
  readonly sinceMs: number
  count: number
}

export class FlappingDetector {
  readonly #context: FlappingContext
  readonly #windows = new LRUCache<string, Window>({
    maxSize: MAX_CACHE_BYTES,
    sizeCalculation: (_, clientId) => ENTRY_BYTES + clientId.length * 2,
  })
  #config: FlappingDetectConfig | undefined
  /** Of zones that have options of their own. */
  #zones: ReadonlyMap<string, FlappingDetectConfig> = new Map()
  #bus: HookBus | undefined

  constructor(context: FlappingContext) {
    this.#context = context
  }

  attach(bus: HookBus): void {
    this.#bus = bus
    this.#watch()
  }

  /**
   * Takes new options; what was counted stays.
   * @param ofZones - options for the clients of single zones, in place of these
   * @throws BrokerError CONFIG_INVALID for times of 0, which would switch off what `enable` switches on
   */
  update(config: FlappingDetectConfig, ofZones: FlappingOfZones = {}): void {
    const zones = new Map(
      Object.entries(ofZones).map(([name, zone]) => [name, { ...config, ...zone.flapping_detect }] as const),
    )
    check(config, 'flapping_detect')
    for (const [name, zone] of zones) check(zone, `zones.${name}.flapping_detect`)
    this.#config = config
    this.#zones = zones
    this.#watch()
  }

  /** Bans stay. Safe to call twice. */
  close(): void {
    this.#config = undefined
    this.#zones = new Map()
    this.#watch()
    this.#bus = undefined
  }

  #watch(): void {
    if (this.#config?.enable === true || [...this.#zones.values()].some(({ enable }) => enable)) {
      this.#bus?.put('client.disconnected', NAME, this.#disconnected, { priority: PRIORITY })
    } else {
      this.#bus?.del('client.disconnected', NAME)
      this.#windows.clear()
    }
  }

  readonly #disconnected = ({ clientId, zone }: ClientInfo, reason: DisconnectReason): void => {
    const config = this.#zones.get(zone) ?? this.#config
    if (config?.enable !== true || NOT_COUNTED.has(reason)) return
    const { window_time: windowMs, max_count: maxCount, ban_time: banMs } = config
    const nowMs = this.#context.now()
    let window = this.#windows.get(clientId)
    if (window === undefined || nowMs - window.sinceMs >= windowMs) {
      window = { sinceMs: nowMs, count: 0 }
      this.#windows.set(clientId, window)
    }
    if (++window.count <= maxCount) return
    this.#windows.delete(clientId)
    this.#context.bans.add({
      kind: 'clientid',
      who: clientId,
      by: 'flapping detector',
      reason: 'flapping is detected',
      untilMs: nowMs + banMs,
    })
  }
}

function check(config: FlappingDetectConfig, path: string): void {
  for (const option of ['window_time', 'ban_time'] as const) {
    if (config.enable && config[option] === 0) {
      throw new BrokerError('CONFIG_INVALID', `${path}.${option} must be more than 0`)
    }
  }
}
