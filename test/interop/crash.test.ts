/**
 * Nothing acknowledged is lost: the broker is killed in the middle of its work, or connections are, again and again, and
 * a ledger compares what clients were promised with what they got. In small here; in large with
 *
 *     HUBBUB_CRASH_ROUNDS=1000 npx vitest run --project interop test/interop/crash.test.ts
 *
 * HUBBUB_CRASH_SEED repeats the same choices; what the machine does in between is never the same.
 */
import { closeSync, openSync, writeSync } from 'node:fs'
import { expect, onTestFinished, test } from 'vitest'
import { temporaryDirectory } from '../config/sample.ts'
import { CrashBroker } from '../support/crash/crash-broker.ts'
import { Fleet } from '../support/crash/fleet.ts'
import { freePort } from '../support/free-port.ts'
import { Random } from '../support/random.ts'
import { RedisServer } from '../support/redis.ts'
import { requireService, skipNote } from '../support/services.ts'

const ROUNDS = Number(process.env.HUBBUB_CRASH_ROUNDS ?? 20)
/** The clients and the broker are the same, so it is a quarter. */
const REDIS_ROUNDS = Math.ceil(ROUNDS / 4)
const SEED = Number(process.env.HUBBUB_CRASH_SEED ?? Date.now() % 1_000_000)
const ROUND_MS = 15_000
/** Of the answers in one round: mostly it ends long before everything is busy. */
const MAX_ACKS = 800

const redis = requireService('redis-server')

test(`kill -9 loses nothing that was acknowledged (level, ${ROUNDS} rounds)`, patience(), async () => {
  await killAgainAndAgain(ROUNDS, { type: 'level' })
})

test.skipIf(redis.skip)(
  `kill -9 loses nothing that was acknowledged (redis, ${REDIS_ROUNDS} rounds)${skipNote(redis)}`,
  patience(),
  async () => {
    const server = await RedisServer.start()
    onTestFinished(() => server.stop())
    await killAgainAndAgain(REDIS_ROUNDS, { type: 'redis', redis: { server: server.address } })
  },
)

test(`cut connections lose nothing that was acknowledged (${ROUNDS} rounds)`, patience(), async () => {
  const { broker, fleet, random } = await begin({ type: 'level' })
  const say = progressLine('connections cut', ROUNDS)
  const looks: Promise<void>[] = []
  for (let round = 1; round <= ROUNDS; round++) {
    say(round)
    await fleet.bringWills()
    await new Promise<void>((resolve) => fleet.load(1 + random.int(MAX_ACKS), resolve))
    await fleet.cutSome()
    looks.push(fleet.checkRetained())
    void fleet.subscriptions.work()
  }
  say(0)
  await Promise.all(looks)
  await finish(broker, fleet, `${ROUNDS} rounds`)
})

function patience(): { timeout: number } {
  return { timeout: 60_000 + ROUNDS * ROUND_MS }
}

async function killAgainAndAgain(rounds: number, storage: object): Promise<void> {
  const { broker, fleet, random } = await begin(storage)
  const say = progressLine('broker killed', rounds)
  let isUp = true
  let startKills = 0
  for (let round = 1; round <= rounds; round++) {
    say(round)
    if (isUp) await loadUntilKilled(broker, fleet, random)
    fleet.ledger.violations.push(...(await broker.ended()))
    fleet.lost()
    isUp = await startAgain(broker, random)
    if (!isUp) startKills++
    else await fleet.connect(broker.port)
  }
  if (!isUp) {
    await broker.ended()
    await broker.start()
    await fleet.connect(broker.port)
  }
  say(0)
  await finish(broker, fleet, `${rounds} rounds, ${startKills} of them while it started`)
}

async function begin(storage: object): Promise<{ broker: CrashBroker; fleet: Fleet; random: Random }> {
  console.info(`HUBBUB_CRASH_SEED=${SEED}`)
  const random = new Random(SEED)
  const broker = new CrashBroker(await freePort(), temporaryDirectory(), storage)
  const fleet = new Fleet(random)
  onTestFinished(() => fleet.lost())
  await broker.start()
  await fleet.settleIn(broker.port)
  return { broker, fleet, random }
}

async function loadUntilKilled(broker: CrashBroker, fleet: Fleet, random: Random): Promise<void> {
  const killed = new Promise<void>((resolve) => {
    fleet.load(1 + random.int(MAX_ACKS), () => {
      broker.kill()
      // Answers that are on their way are lost with it, or still read.
      if (random.int(2) === 0) fleet.lost()
      resolve()
    })
  })
  await Promise.all([killed, fleet.bringWills(), fleet.checkRetained(), fleet.subscriptions.work()])
}

/** Now and then it is killed while it reads what is there. */
async function startAgain(broker: CrashBroker, random: Random): Promise<boolean> {
  const timer = random.int(8) === 0 ? setTimeout(() => broker.kill(), random.int(1500)) : undefined
  const isUp = await broker.start()
  clearTimeout(timer)
  return isUp
}

async function finish(broker: CrashBroker, fleet: Fleet, what: string): Promise<void> {
  await fleet.drain()
  await fleet.subscriptions.check()
  await fleet.checkRetained()
  await nothingComesAgain(broker, fleet)
  const { ledger, wills, subscriptions, retainedChecks } = fleet
  ledger.violations.push(...wills.mistakes(), ...broker.complaints())
  const { acked, exactlyOnce, atLeastOnce, copies } = ledger.settle()
  console.info(
    `${what}: ${acked} messages acknowledged, ${exactlyOnce} deliveries exactly once, ${atLeastOnce} ` +
      `at least once (${copies} copies), ${wills.published} wills, retained values looked at ${retainedChecks} ` +
      `times, subscriptions tried out ${subscriptions.checks} times`,
  )
  expect(ledger.violations).toEqual([])
  expect(Math.min(acked, exactlyOnce, atLeastOnce, wills.published, subscriptions.checks)).toBeGreaterThan(0)
}

/** What was acknowledged is gone for good: after an orderly stop nobody gets anything any more. */
async function nothingComesAgain(broker: CrashBroker, fleet: Fleet): Promise<void> {
  const { receivedCount } = fleet.ledger
  fleet.lost()
  await broker.stop()
  await broker.start()
  await fleet.connect(broker.port)
  await fleet.drain()
  const again = fleet.ledger.receivedCount - receivedCount
  if (again > 0) fleet.ledger.violated(`${again} deliveries came again after they were acknowledged`)
}

/** One line on a terminal that is overwritten; round 0 takes it away. Nothing where there is none. */
function progressLine(what: string, rounds: number): (round: number) => void {
  let terminal: number
  try {
    terminal = openSync('/dev/tty', 'w')
  } catch {
    return () => {}
  }
  onTestFinished(() => closeSync(terminal))
  return (round) => void writeSync(terminal, round === 0 ? '\r\u001b[K' : `\r${what}: ${round} of ${rounds}`)
}
