/** Figures of a broker that runs in Node, for the process that forked it. */
import { monitorEventLoopDelay } from 'node:perf_hooks'

/**
 * Says that the broker is ready, and answers each message with CPU seconds, resident bytes, and event-loop delay since the last one.
 * @param watchesDelays - costs CPU, so only where it is asked for
 */
export function answerFigures(watchesDelays) {
  if (process.send === undefined) return
  const delays = monitorEventLoopDelay({ resolution: 1 })
  if (watchesDelays) delays.enable()
  process.on('disconnect', () => process.exit(0))
  process.on('message', () => {
    const { user, system } = process.cpuUsage()
    const delayMs = watchesDelays ? delays.percentile(99) / 1e6 : undefined
    delays.reset()
    process.send({ cpuSeconds: (user + system) / 1e6, rssBytes: process.memoryUsage.rss(), delayMs })
  })
  process.send('ready')
}
