import type { Logger } from '../../model/log.ts'
import { DurableStorage } from './durable-storage.ts'
import { LevelRecords } from './level-records.ts'

/** Keeps everything in a directory of this machine, for one process at a time. */
export class LevelStorage extends DurableStorage {
  /**
   * @param directory - is made if it is not there, its parent too. What cannot be read is moved to places that begin
   *   with its name
   */
  constructor(directory: string, log: Logger) {
    super(new LevelRecords(directory, log), log, { rejectedPrefix: directory })
  }
}
