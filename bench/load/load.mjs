/**
 * The load generator: a process that is forked with one task and says when it begins and ends counting, so that
 * whoever forked it can read the broker's figures at both moments, and what it counted.
 */
import { canMake, compiled } from './compiled.mjs'
import { connects, retained } from './connects.mjs'
import { flow } from './flow.mjs'
import { mqtt } from './mqtt.mjs'
import { nats } from './nats.mjs'
import { Peer, Tally } from './peer.mjs'
import { stomp } from './stomp.mjs'

const KINDS = { flow, connects, retained }

function codecOf(spec) {
  if (spec.protocol === 'stomp') return stomp()
  if (spec.protocol === 'nats') return nats()
  return mqtt(spec)
}

function fail(error) {
  process.send({ failed: error.message }, () => process.exit(1))
}

/** The figures are read before the load goes on counting. */
function report(phase) {
  return new Promise((resolve) => {
    process.once('message', resolve)
    process.send({ phase })
  })
}

process.on('disconnect', () => process.exit(1))
process.on('uncaughtException', fail)
process.once('message', (task) => {
  carryOut(task).catch(fail)
})

async function carryOut({ target, spec, program }) {
  const codec = codecOf(spec)
  const load = {
    target,
    spec,
    program,
    codec,
    tally: new Tally(),
    onTurn: () => {},
    peer: () => new Peer(codec, load.tally, () => load.onTurn(), fail),
  }
  const make = program !== undefined && canMake(spec) ? compiled : KINDS[spec.kind]
  const result = await make(load, report)
  process.send({ result }, () => process.exit(0))
}
