import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    // One process less than there are cores would be one process, and the other core idle, where there are two.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    testTimeout: 20_000,
    hookTimeout: 60_000,
    // What is waited for comes at once, but not within a second where the machine is busy.
    expect: { poll: { timeout: 8_000 } },
    deps: { interopDefault: false },
    projects: [
      { extends: true, test: { name: 'unit', include: ['test/**/*.test.ts'], exclude: ['test/interop/**'] } },
      {
        extends: true,
        test: {
          name: 'interop',
          include: ['test/interop/**/*.test.ts'],
          // A test may start a dozen of processes, one after the other.
          testTimeout: 60_000,
          globalSetup: ['test/support/build.ts'],
        },
      },
    ],
  },
})
