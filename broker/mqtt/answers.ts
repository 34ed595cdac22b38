/**
 * PUBACK, PUBREC, PUBREL and PUBCOMP that wait until what they promise is safe. They leave in the order in which
 * they were given [MQTT-4.6.0-2] [MQTT-4.6.0-3] [MQTT-4.6.0-4], those that wait for nothing too.
 */
import type { MaybePromise } from '../../model/async.ts'
import { faultOf } from '../../model/errors.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import type { MqttConnection } from './connection.ts'
import { type AnswerType, countAnswer } from './count-packet.ts'
import { writeAck } from './encode.ts'
import { PacketType } from './packets.ts'

interface Answer {
  readonly type: AnswerType
  readonly packetId: number
  readonly code: ReasonCode
  readonly waits: boolean
}

/** Answers that wait for the same batch of the storage. */
interface Group {
  readonly answers: Answer[]
  waitsFor: Promise<void>
  /** Its last answer is written, or the connection has ended. */
  settled: Promise<void>
  isSafe: boolean
}

/** More than this many wait: nothing is read from the client before some have left. */
const MAX_WAITING = 1000

/**
 * Answers at once, or when `safe` has settled.
 * @returns a promise if the client has to be kept waiting before it may send more
 */
export function answerWhenSafe(
  connection: MqttConnection,
  type: AnswerType,
  packetId: number,
  code: ReasonCode,
  safe: Promise<void> | undefined,
): MaybePromise<void> {
  if (safe === undefined && connection.answers === undefined) write(connection, type, packetId, code)
  else {
    connection.answers ??= new Answers(connection)
    return connection.answers.add({ type, packetId, code, waits: safe !== undefined }, safe)
  }
}

export class Answers {
  readonly #connection: MqttConnection
  readonly #groups: Group[] = []
  #count = 0

  constructor(connection: MqttConnection) {
    this.#connection = connection
  }

  add(answer: Answer, safe: Promise<void> | undefined): MaybePromise<void> {
    const last = this.#groups.at(-1)
    if (safe === undefined && last === undefined) return this.#write(answer)
    this.#count++
    if (last !== undefined && (safe === undefined || safe === last.waitsFor)) last.answers.push(answer)
    else if (safe !== undefined) this.#groups.push(this.#open(answer, safe))
    return this.#count > MAX_WAITING ? this.#groups[0]?.settled : undefined
  }

  #open(answer: Answer, waitsFor: Promise<void>): Group {
    const group: Group = { answers: [answer], waitsFor, settled: waitsFor, isSafe: false }
    this.#wait(group)
    return group
  }

  #wait(group: Group): void {
    group.settled = group.waitsFor.then(
      () => this.#safe(group),
      (error: unknown) => this.#failed(group, error),
    )
  }

  #safe(group: Group): void {
    group.isSafe = true
    while (this.#groups[0]?.isSafe === true) {
      const { answers } = this.#groups.shift() as Group
      this.#count -= answers.length
      if (this.#connection.isOpen) for (const answer of answers) this.#write(answer)
    }
  }

  /**
   * The storage could not take it, and goes on trying. MQTT 5 publishers are told now; what cannot be refused
   * stays unanswered until it is safe. What is never going to be, because of a bug, ends the connection instead.
   */
  #failed(group: Group, error: unknown): void {
    const isRefusable = ({ type, waits }: Answer) =>
      waits && this.#connection.version === 5 && (type === PacketType.PUBACK || type === PacketType.PUBREC)
    for (const [i, answer] of group.answers.entries()) {
      if (!isRefusable(answer)) continue
      group.answers[i] = { ...answer, code: ReasonCode.QuotaExceeded, waits: false }
      this.#forget(answer)
    }
    const { unsafe } = this.#connection.context.hub.kernel.storage.durable ?? {}
    const unstored = group.answers.filter(({ waits }) => waits)
    if (faultOf(error) === 'bug' && unstored.length > 0) {
      for (const answer of unstored) this.#forget(answer)
      this.#connection.close('internal_error')
      return this.#safe(group)
    }
    if (unsafe === undefined || unstored.length === 0) return this.#safe(group)
    group.waitsFor = unsafe
    this.#wait(group)
  }

  /** [MQTT-4.3.3-9] refused, so the next one with this id is a new one */
  #forget({ type, packetId }: Answer): void {
    if (type === PacketType.PUBREC) this.#connection.client?.session.incoming.delete(packetId)
  }

  #write({ type, packetId, code }: Answer): void {
    write(this.#connection, type, packetId, code)
  }
}

function write(connection: MqttConnection, type: AnswerType, packetId: number, code: ReasonCode): void {
  countAnswer(connection.context.hub.metrics, type)
  writeAck(connection.transport.outbox, connection.version, type, packetId, code)
}
