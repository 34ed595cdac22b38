import type { GatewayModule } from './gateway.ts'
import { stomp } from './stomp/index.ts'

/** Every gateway this build knows. Adding one is a folder and a line here. */
export const gateways: readonly GatewayModule[] = [stomp]
