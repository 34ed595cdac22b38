/**
 * The load generator without an engine around it, `compiled/flow.c`: MQTT over plain TCP, where there are a C compiler and
 * epoll. It takes what there is at once; what clients are to send is encoded here.
 */
import { spawn, spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { planOf } from './modes.mjs'
import { MAX_UNACKED } from './peer.mjs'

const SOURCES = join(import.meta.dirname, 'compiled')
const FLAGS = ['-std=gnu11', '-O2']
const NONE = 0

/**
 * Compiles it with `cc`, or what the environment names in `CC`.
 * @param dir - where the program is put
 * @returns the program
 * @throws Error with what the compiler says
 */
export function compile(dir) {
  if (process.platform !== 'linux') throw new Error('it needs Linux')
  const program = join(dir, 'flow')
  const files = readdirSync(SOURCES).filter((name) => name.endsWith('.c'))
  const compiler = process.env.CC ?? 'cc'
  const args = [...FLAGS, '-o', program, ...files]
  const { error, status, stderr } = spawnSync(compiler, args, { cwd: SOURCES, encoding: 'utf8' })
  if (error !== undefined) throw new Error(`there is no C compiler "${compiler}"`)
  if (status !== 0) throw new Error(`${compiler} ended with ${status}: ${stderr}`)
  return program
}

/** Whether it can make this load; all else takes the generator in Node. */
export function canMake({ kind, transport, protocol, perSecond }) {
  return kind === 'flow' && transport === undefined && protocol === undefined && perSecond === undefined
}

/** @param report - told 'begin' and 'end' when the counting begins and ends */
export async function compiled(load, report) {
  const { host, port } = load.target
  const child = spawn(load.program, [host, String(port)], { stdio: ['pipe', 'pipe', 'inherit'] })
  const ended = new Promise((_resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => reject(new Error(`the compiled generator ended with ${code}`)))
  })
  child.stdin.on('error', () => {}) // it has ended, and has said why
  const take = async () => {
    child.stdin.write(encodePlan(load))
    for await (const line of createInterface({ input: child.stdout })) {
      const { phase, result, failed } = JSON.parse(line)
      if (failed !== undefined) throw new Error(failed)
      if (result !== undefined) return result
      await report(phase)
      child.stdin.write('!')
    }
    return await ended
  }
  return await Promise.race([take(), ended])
}

/** As compiled/plan.c reads it: the length of what follows, settings, lists of packets to publish, clients. */
function encodePlan(load) {
  const { spec, codec } = load
  const { clients, fan } = planOf(load)
  const lists = [...new Set(clients.map(({ packets }) => packets))].filter(({ length }) => length > 0)
  const parts = [spec.version, fan, spec.window, spec.warmUpMs, spec.seconds * 1000, MAX_UNACKED].map(number)
  parts.push(number(lists.length), ...lists.flatMap(packetList), number(clients.length))
  for (const { id, filters, packets } of clients) {
    const openings = [codec.connect(id), ...filters.map(codec.subscribe)]
    parts.push(...packetList(openings.map((bytes) => ({ bytes, idAt: NONE, payloadAt: NONE }))))
    parts.push(number(lists.indexOf(packets) + 1))
  }
  const plan = Buffer.concat(parts)
  return Buffer.concat([number(plan.length), plan])
}

function packetList(packets) {
  const each = ({ bytes, idAt, payloadAt }) => [number(idAt), number(payloadAt), number(bytes.length), bytes]
  return [number(packets.length), ...packets.flatMap(each)]
}

function number(value) {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(Math.round(value))
  return bytes
}
