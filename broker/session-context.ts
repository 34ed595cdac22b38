import type { HookBus } from '../hooks/bus.ts'
import type { Logger } from '../model/log.ts'
import type { PayloadSlab } from '../model/payload-slab.ts'
import type { SessionLimits } from './client-limits.ts'
import type { Metrics } from './metrics.ts'

/** What every session of a broker shares. */
export interface SessionContext {
  readonly limits: SessionLimits
  readonly hooks: HookBus
  readonly log: Logger
  readonly metrics: Metrics
  /** Where the payloads of deliveries that wait are kept. */
  readonly slab: PayloadSlab
}
