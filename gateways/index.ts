import type { GatewayModule } from './gateway.ts'
import { mqttsn } from './mqtt-sn/index.ts'
import { nats } from './nats/index.ts'
import { stomp } from './stomp/index.ts'

/** Every gateway this build knows. Adding one is a folder and a line here. */
export const gateways: readonly GatewayModule[] = [mqttsn, nats, stomp]
