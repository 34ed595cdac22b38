import type { Counter, Counters } from '../counters.ts'

const COMMANDS = 'CONNECT STOMP SEND SUBSCRIBE UNSUBSCRIBE ACK NACK BEGIN COMMIT ABORT DISCONNECT'

/** `packets.send.received` and so on, looked up once for all connections. */
export interface ReceivedCounters {
  /** For a command that a client may send. */
  readonly known: ReadonlyMap<string, Counter>
  readonly unknown: Counter
}

export function receivedCounters(counters: Counters): ReceivedCounters {
  const counter = (name: string) => counters.counter(`packets.${name}.received`)
  const known = COMMANDS.split(' ').map((command) => [command, counter(command.toLowerCase())] as const)
  return { known: new Map(known), unknown: counter('unknown') }
}
