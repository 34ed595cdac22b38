/**
 * Why a client is let in or refused, and may do something or not: everybody who would be asked is asked, in that order
 * and past caches and counters. No client comes of it.
 */
import { type AccessPoint, accessPointsOf, type Config, hubOptionsOf, mqttOptionsOf } from './assemble.ts'
import { explainLogin } from './authn/explain.ts'
import type { Authn } from './authn/index.ts'
import { explainAction } from './authz/explain.ts'
import type { Authz } from './authz/index.ts'
import { grant, rename } from './broker/authentication.ts'
import { publishing, subscribing } from './broker/authorizing.ts'
import { type Arrival, identify } from './broker/mqtt/identity.ts'
import { PacketType } from './broker/mqtt/packets.ts'
import { v3ConnackCode } from './broker/mqtt/v3-codes.ts'
import { isReserved } from './broker/reserved-topics.ts'
import { check as checkFilter } from './broker/subscribing.ts'
import { type Ban, checkBan } from './features/bans/ban.ts'
import type { Bans } from './features/bans/index.ts'
import { BanTable } from './features/bans/table.ts'
import type { OwnAnswer } from './gateways/gateway.ts'
import { gateways } from './gateways/index.ts'
import type { Login } from './model/access.ts'
import { arrivingClient, type ClientInfo } from './model/client-info.ts'
import { BrokerError } from './model/errors.ts'
import type {
  AccessQuestion,
  AccessReport,
  ExplainedAction,
  ExplainedPart,
  ExplainedResult,
  ExplainedStep,
} from './model/explanation.ts'
import type { Logger } from './model/log.ts'
import { renderMountpoint } from './model/mountpoint.ts'
import { ReasonCode, reasonName } from './model/reason-codes.ts'
import { isValidTopicName, topicLevels } from './model/topic.ts'

/** Those who are asked. */
export interface AccessTargets {
  readonly config: Config
  readonly authn: Pick<Authn, 'chains'>
  readonly authz: Pick<Authz, 'chain'>
  readonly bans: Pick<Bans, 'isBanned' | 'list'>
  readonly log: Logger
}

/** @throws BrokerError CONFIG_INVALID for a listener, gateway or topic that there cannot be, naming those there are */
export async function explainAccess(question: AccessQuestion, targets: AccessTargets): Promise<AccessReport> {
  const { action } = question
  if (action?.kind === 'publish' && !isValidTopicName(action.topic))
    throw new BrokerError('CONFIG_INVALID', `${JSON.stringify(action.topic)} is not a topic to publish to`)
  const point = findPoint(question, targets.config)
  const asked = toLogin(question, point, targets)
  const { client } = asked.login
  const login = await explainEntry(asked, targets)
  const isIn = login.result.isAllowed
  const access =
    isIn && action !== undefined ? { action, ...(await explainWish(client, action, targets)) } : undefined
  return {
    client: {
      clientId: client.clientId,
      username: client.username,
      listener: client.listener,
      gateway: client.gateway,
      peerHost: client.peerHost,
      zone: client.zone,
      mountpoint: client.mountpoint,
    },
    login,
    access,
    notes: notesOn(point),
    isAllowed: isIn && (access?.result.isAllowed ?? true),
  }
}

function notesOn({ id, enable }: AccessPoint): string[] {
  const notes = [] as string[]
  if (!enable) notes.push(`the listener ${id} is switched off (enable: false)`)
  if (/(?:^|:)(?:ssl|wss|dtls):/.test(id)) notes.push('tested as a client without a certificate')
  return notes
}

/** Unless a listener is named, one whose clients go through the chain of all others. */
function findPoint({ listener, gateway }: AccessQuestion, config: Config): AccessPoint {
  const all = accessPointsOf(config)
  const known = (what: string, names: Iterable<string>) =>
    `there is no ${what}; there are ${[...names].join(', ') || 'none'}`
  if (listener !== undefined) {
    const found = all.find(({ id }) => id === listener)
    if (found !== undefined) return found
    const text = known(
      `listener ${JSON.stringify(listener)}`,
      all.map(({ id }) => id),
    )
    throw new BrokerError('CONFIG_INVALID', text)
  }
  const fitting = all
    .filter((point) => point.gateway === gateway)
    .sort((a, b) => Number(b.enable) - Number(a.enable) || Number(a.hasOwnChain) - Number(b.hasOwnChain))
  const [first] = fitting
  if (first !== undefined) return first
  if (gateway === undefined) throw new BrokerError('CONFIG_INVALID', 'there is no listener for MQTT')
  const names = new Set(all.flatMap((point) => point.gateway ?? []))
  throw new BrokerError('CONFIG_INVALID', known(`gateway ${JSON.stringify(gateway)} with a listener`, names))
}

/** A login, and why its client has no identity, if it has none. */
interface Asked {
  readonly login: Login
  readonly refusal: ReasonCode | undefined
}

function toLogin(question: AccessQuestion, point: AccessPoint, { config, log }: AccessTargets): Asked {
  const { username, peerHost = '127.0.0.1', gateway = point.gateway } = question
  const password = question.password === undefined ? undefined : Buffer.from(question.password)
  const transport: Arrival['transport'] = {
    listenerId: point.id,
    peer: { host: peerHost, port: 0 },
    local: { host: '127.0.0.1', port: 0 },
    certificate: undefined,
  }
  const { options, zones } = mqttOptionsOf(config)
  const packet = {
    type: PacketType.CONNECT,
    version: 5,
    isBridge: false,
    cleanStart: true,
    keepAliveSeconds: 60,
    clientId: question.clientId ?? '',
    will: undefined,
    username,
    password,
    properties: undefined,
  } as const
  // A gateway asks its peers for a client id in its own way.
  const arrival = { transport, zone: point.zone, options: zones.get(point.zone) ?? options, log }
  const plain = gateway === undefined ? arrival : { ...arrival, options: { ...options, ...AS_IT_IS } }
  const identity = identify(packet, plain)
  const isKnown = typeof identity === 'object'
  const who = isKnown ? identity : { clientId: packet.clientId, username }
  const client = arrivingClient(transport, {
    ...who,
    key: gateway === undefined ? who.clientId : `${gateway}\0${who.clientId}`,
    protocol: gateways.find(({ name }) => name === gateway)?.protocol ?? 'mqtt',
    protocolName: gateway === undefined ? 'MQTT' : gateway.toUpperCase(),
    protocolVersion: gateway === undefined ? '5' : '',
    gateway,
    zone: point.zone,
    keepAliveSeconds: packet.keepAliveSeconds,
    cleanStart: true,
    connectedAtMs: Date.now(),
  })
  client.mountpoint = renderMountpoint(point.mountpoint, client)
  const login = { client, password, mountpoint: point.mountpoint, enableAuthn: point.enableAuthn }
  return { login, refusal: isKnown ? undefined : identity }
}

/** What makes a client id of something else is about MQTT. */
const AS_IT_IS = { useUsernameAsClientId: false, clientIdOverride: undefined, clientAttributes: [] } as const

async function explainEntry(
  { login, refusal }: Asked,
  targets: AccessTargets,
): Promise<AccessReport['login']> {
  const { client } = login
  const end = (chain: string | undefined, steps: readonly ExplainedStep[], code: ReasonCode) => ({
    chain,
    steps,
    result: connackOf(client, code),
  })
  if (refusal !== undefined) {
    const detail = 'none, too long, or made by an expression that gave none'
    return end(undefined, [{ who: 'client id', outcome: 'deny', detail }], refusal)
  }
  const own = await askGateway(login, targets)
  if (own.verdict?.kind === 'deny') return end(undefined, own.steps, own.verdict.reason)
  if (own.verdict !== undefined) client.username = own.verdict.principal.username
  const banned = bansOn(client, targets)
  if (banned.outcome === 'deny') return end(undefined, [...own.steps, banned], ReasonCode.Banned)
  const { chain, steps, verdict } =
    own.verdict === undefined
      ? await explainLogin(targets.authn.chains, login, targets.log)
      : { chain: undefined, steps: [], verdict: own.verdict }
  const all = [...own.steps, banned, ...steps]
  if (verdict.kind === 'deny') return end(chain, all, verdict.reason)
  const { clientId } = client
  rename(client, verdict.principal, hubOptionsOf(targets.config).zones)
  grant(client, verdict.principal)
  if (login.mountpoint !== undefined) client.mountpoint = renderMountpoint(login.mountpoint, client)
  const again = client.clientId === clientId ? banned : bansOn(client, targets)
  if (again.outcome === 'deny') return end(chain, [...all, again], ReasonCode.Banned)
  return end(chain, all, ReasonCode.Success)
}

/** Some gateways have logins of their own, which come first. */
async function askGateway(login: Login, { config, authn }: AccessTargets): Promise<OwnAnswer> {
  const { client, enableAuthn } = login
  const gateway = gateways.find(({ name }) => name === client.gateway)
  if (gateway?.explainLogin === undefined || enableAuthn === false) return { steps: [], verdict: undefined }
  const hasMore = authn.chains.chainFor(client) !== undefined
  return gateway.explainLogin(config.gateway[gateway.name], login, hasMore)
}

function bansOn(client: ClientInfo, { bans }: AccessTargets): ExplainedStep {
  if (!bans.isBanned(client)) return { who: 'bans', outcome: 'ignore', detail: 'not banned' }
  const { kind, who, reason } = bans.list(1, 1, (ban) => concerns(ban, client)).bans[0] ?? {}
  const why = reason === undefined || reason === '' ? '' : ` (${reason})`
  return { who: 'bans', outcome: 'deny', detail: `banned by ${kind} ${who}${why}` }
}

function concerns(ban: Ban, client: ClientInfo): boolean {
  const table = new BanTable(Date.now)
  table.set(checkBan(ban, ban.atMs))
  return table.matches(client)
}

async function explainWish(
  client: ClientInfo,
  action: ExplainedAction,
  { config, authz, log }: AccessTargets,
): Promise<ExplainedPart> {
  const impossible = refusalOf(client, action, config)
  if (impossible !== undefined) {
    const step: ExplainedStep = { who: 'limits', outcome: 'deny', detail: reasonName(impossible) }
    return { steps: [step], result: answerOf(client, action, impossible, config) }
  }
  const { no_match: noMatch, ignore_backend_failures, include_mountpoint } = config.authorization
  const wanted = action.kind === 'publish' ? publishing(action.qos, action.retain) : subscribing(action.qos)
  const options = {
    noMatch,
    ignoreBackendFailures: ignore_backend_failures,
    includeMountpoint: include_mountpoint,
  }
  const surroundings = { log, nowMs: Date.now() }
  const { steps, result } = await explainAction(
    authz.chain,
    options,
    client,
    wanted,
    action.topic,
    surroundings,
  )
  const code = result === 'allow' ? ReasonCode.Success : ReasonCode.NotAuthorized
  return { steps, result: answerOf(client, action, code, config) }
}

/** What is refused whatever the rules say. */
function refusalOf(client: ClientInfo, action: ExplainedAction, config: Config): ReasonCode | undefined {
  const options = hubOptionsOf(config)
  const limits = options.zones?.get(client.zone) ?? options
  if (action.kind === 'subscribe') {
    const { topic: filter, qos } = action
    const wish = {
      filter,
      qos,
      noLocal: false,
      retainAsPublished: false,
      retainHandling: 0,
      identifier: 0,
    } as const
    const code = checkFilter(limits, wish)
    return code < 0x80 ? undefined : code
  }
  if (isReserved(client.mountpoint + action.topic)) return ReasonCode.NotAuthorized
  return topicLevels(action.topic) > limits.maxTopicLevels ? ReasonCode.TopicNameInvalid : undefined
}

function connackOf({ gateway }: ClientInfo, code: ReasonCode): ExplainedResult {
  const isAllowed = code === ReasonCode.Success
  if (gateway !== undefined) return { isAllowed, answer: reasonName(code) }
  const old = isAllowed ? '' : ` (MQTT 3: ${v3ConnackCode(code)})`
  return { isAllowed, answer: `CONNACK ${named(code)}${old}` }
}

function answerOf(
  { gateway, isSuperuser }: ClientInfo,
  { kind, qos }: ExplainedAction,
  code: ReasonCode,
  config: Config,
): ExplainedResult {
  const isAllowed = code < 0x80
  if (gateway !== undefined) return { isAllowed, answer: reasonName(code) }
  if (kind === 'subscribe' && isAllowed) return { isAllowed, answer: `SUBACK granted QoS ${qos}` }
  const isEnded = code === ReasonCode.NotAuthorized && config.authorization.deny_action === 'disconnect'
  if (isEnded && !isSuperuser)
    return { isAllowed, answer: `DISCONNECT ${named(code)} (MQTT 3: the connection is closed)` }
  if (kind === 'subscribe') return { isAllowed, answer: `SUBACK ${named(code)} (MQTT 3: 0x80)` }
  const packet = (['nothing', 'PUBACK', 'PUBREC'] as const)[qos]
  const old = isAllowed ? '' : ` (MQTT 3: ${qos === 0 ? 'nothing' : `${packet} without a reason`})`
  return {
    isAllowed,
    answer: qos === 0 ? `nothing at QoS 0: ${reasonName(code)}` : `${packet} ${named(code)}${old}`,
  }
}

function named(code: ReasonCode): string {
  return `0x${code.toString(16).padStart(2, '0')} ${reasonName(code)}`
}
