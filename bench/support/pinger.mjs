/** A client in a process of its own that pings, one ping after the other, and keeps the longest wait. */
import { serve } from './child.mjs'
import { Wire } from './wire.mjs'

const PAUSE_MS = 2

const waits = []
let wire
let pending

async function ping() {
  const from = performance.now()
  await wire.ping()
  waits.push(performance.now() - from)
  setTimeout(next, PAUSE_MS)
}

function next() {
  pending = ping()
}

serve({
  async start(port) {
    wire = await Wire.open(port, 'pinger')
    next()
  },
  /** All waits since the last call, in milliseconds, and the one that is under way. */
  async take() {
    await pending
    return waits.splice(0)
  },
})
