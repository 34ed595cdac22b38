import type { Bind } from '../model/schema.ts'

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|::1|::ffff:127(\.\d{1,3}){3})$/

/** Whether only programs on this machine can reach an address. */
export function isLoopback(bind: Bind): boolean {
  return bind.host !== undefined && LOOPBACK.test(bind.host)
}

/**
 * Where a listener may listen: anywhere if somebody checks who comes in, else on loopback only,
 * so that a broker nobody has secured yet is not open to the network.
 */
export function safeBind(bind: Bind, isGuarded: boolean): Bind {
  return isGuarded || isLoopback(bind) ? bind : { host: '127.0.0.1', port: bind.port }
}
