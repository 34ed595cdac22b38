/** One round: a load generator against one broker, and the broker's figures before and after. */
import { fork } from 'node:child_process'
import { join } from 'node:path'
import { figuresOf } from './brokers.mjs'

const LOAD = join(import.meta.dirname, '..', 'load', 'load.mjs')
/** Fds and sockets of 15,000 clients take heap. */
const LOAD_FLAGS = ['--max-semi-space-size=64']
const PEAK_POLL_MS = 500

/**
 * @param program - the compiled generator, if there is one
 * @returns figures of this round, undefined where a thing is not known
 * @throws Error when the load could not be carried out
 */
export async function measure(broker, port, spec, program) {
  const child = fork(LOAD, [], { execArgv: LOAD_FLAGS, stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  const marks = {}
  let [peak, timer] = [0, undefined]
  const watchPeak = () => {
    figuresOf({ pid: broker.pid }).then(
      ({ rssBytes = 0 }) => {
        peak = Math.max(peak, rssBytes)
      },
      () => {}, // it has ended, and the load says so
    )
  }
  try {
    const result = await new Promise((resolve, reject) => {
      child.once('error', reject)
      child.once('close', (code) => reject(new Error(`the load generator ended with ${code}`)))
      child.on('message', ({ phase, result: counted, failed }) => {
        if (failed !== undefined) return reject(new Error(failed))
        if (counted !== undefined) return resolve(counted)
        figuresOf(broker)
          .then((figures) => {
            marks[phase] = figures
            if (phase === 'begin') timer = setInterval(watchPeak, PEAK_POLL_MS)
            child.send('go on')
          })
          .catch(reject)
      })
      child.send({ target: { host: broker.host, port, transport: spec.transport ?? 'tcp' }, spec, program })
    })
    return derive(result, marks.begin, marks.end, peak)
  } finally {
    clearInterval(timer)
    child.kill('SIGKILL')
  }
}

function derive(result, before, after, peak) {
  const { seconds, deliveries, published, p50Ms, p99Ms, lost } = result
  const count = deliveries > 0 ? deliveries : published
  if (count === 0) throw new Error('nothing was delivered')
  const cpu = (after.cpuSeconds - before.cpuSeconds) * 1e6
  const grown = after.rssBytes - before.rssBytes
  return {
    perSecond: count / seconds,
    cpuUs: cpu / count,
    cpuShare: cpu / 1e6 / seconds,
    p50Ms,
    p99Ms,
    rssBytes: Math.max(peak, after.rssBytes),
    growthBytes: Math.max(peak, after.rssBytes) - before.rssBytes,
    rssPerClient: grown / count,
    delayMs: after.delayMs,
    lost,
  }
}
