/** The class behind Aedes' memory persistence; the package types only the callback wrapper around it. */
declare module 'aedes-persistence/asyncPersistence.js' {
  import type { Readable } from 'node:stream'

  export default class MemoryPersistence {
    setup(broker: object): Promise<void>
    destroy(): Promise<void>
    storeRetained(packet: object): unknown
    createRetainedStream(filter: string): Readable
    createRetainedStreamCombi(filters: string[]): Readable
    putWill(client: { id: string }, packet: object): unknown
    getWill(client: { id: string }): unknown
    delWill(client: { id: string }): unknown
    streamWill(brokers?: Record<string, number>): Readable
  }
}
