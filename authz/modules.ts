import { fileSource } from './file-source.ts'
import type { SourceModule } from './source.ts'

/** Every authorization source this build knows. Adding one is a file and a line here. */
export const sourceModules: readonly SourceModule[] = [fileSource]
