/** What each call on the control socket does: see client/protocol.ts. */
import type { BuiltInUsers } from '../authn/built-in-users.ts'
import type { Authn } from '../authn/index.ts'
import type { HubClient } from '../broker/client.ts'
import { statsOf } from '../broker/client-stats.ts'
import type { Hub } from '../broker/hub.ts'
import { exportData } from '../broker/storage/data-file.ts'
import { type Ban, type Bans, readBanKind } from '../features/bans/index.ts'
import { BrokerError } from '../model/errors.ts'
import type { AccessQuestion, AccessReport, BackendReport } from '../model/explanation.ts'
import {
  type BanEntry,
  type BrokerStatus,
  type Calls,
  type ClientDetails,
  type ClientEntry,
  EXPORT,
  type ListenerStatus,
  type Lists,
  type RuleEntry,
  type RuleImportCounts,
  type RuleSubject,
  type RulesEntry,
} from './client/protocol.ts'

/** Rules of the built-in database; they check what they are given. */
export interface ControlledRules {
  readonly maxRules: number
  list(): Iterable<RulesEntry>
  add(subject: RuleSubject, rule: RuleEntry, isFirst: boolean): Promise<void>
  delete(subject: RuleSubject, number: number | undefined): Promise<boolean>
  import(rules: readonly RulesEntry[], options: { override: boolean }): Promise<RuleImportCounts>
}

/** The parts of a running broker that commands are about. */
export interface ControlTargets {
  readonly hub: Hub
  readonly authn: Pick<Authn, 'users'>
  readonly authz: { readonly rules: ControlledRules }
  readonly bans: Pick<Bans, 'add' | 'delete' | 'list'>
  readonly version: string
  readonly listeners: () => ListenerStatus[]
  /** What each gateway has counted. */
  readonly gateways: () => BrokerStatus['gateways']
  readonly access: {
    explain(question: AccessQuestion): Promise<AccessReport>
    backends(): BackendReport[]
  }
}

export type Answer =
  | { readonly kind: 'value'; readonly value: object }
  | { readonly kind: 'list'; readonly items: Iterable<object> }
  | { readonly kind: 'text'; readonly pieces: AsyncIterable<string> }

type CallHandlers = {
  readonly [Name in keyof Calls]: (
    targets: ControlTargets,
    params: Calls[Name]['params'],
  ) => Calls[Name]['result'] | Promise<Calls[Name]['result']>
}

type ListHandlers = {
  readonly [Name in keyof Lists]: (
    targets: ControlTargets,
    params: Lists[Name]['params'],
  ) => Iterable<Lists[Name]['item']>
}

const CALLS: CallHandlers = {
  status: statusOf,
  'users.about': ({ authn }, of) => ({ idType: usersOf(authn, of).idType }),
  'users.add': async ({ authn }, { userId, password, isSuperuser, ...of }) => {
    const added = await usersOf(authn, of).add({
      userId: text(userId),
      password: text(password),
      isSuperuser,
    })
    return { added: added !== undefined }
  },
  'users.delete': async ({ authn }, { userId, ...of }) => ({
    deleted: await usersOf(authn, of).delete(text(userId)),
  }),
  'users.import': ({ authn }, { users, override, ...of }) => usersOf(authn, of).import(users, { override }),
  'auth.test': ({ access }, question) => access.explain(question),
  'bans.add': async ({ hub, bans }, { as, who, by, reason, untilMs = Number.POSITIVE_INFINITY }) => {
    const { kind } = bans.add({
      kind: readBanKind(as),
      who: text(who),
      by: text(by),
      reason: text(reason),
      untilMs,
    })
    await hub.kernel.storage.durable?.unsafe
    return { outcome: kind }
  },
  'bans.delete': async ({ hub, bans }, { as, who }) => {
    const deleted = bans.delete(readBanKind(as), text(who))
    await hub.kernel.storage.durable?.unsafe
    return { deleted }
  },
  'rules.about': ({ authz }) => ({ maxRules: authz.rules.maxRules }),
  'rules.add': async ({ authz }, { subject, rule, isFirst }) => {
    await authz.rules.add(subjectOf(subject), rule, isFirst)
    return {}
  },
  'rules.delete': async ({ authz }, { subject, number }) => ({
    deleted: await authz.rules.delete(subjectOf(subject), number),
  }),
  'rules.import': ({ authz }, { rules, override }) => {
    const entries = rules.map((entry) => ({ ...entry, subject: subjectOf(entry.subject) }))
    return authz.rules.import(entries, { override })
  },
  'clients.show': ({ hub }, of) => {
    const client = hub.client(keyOf(of))
    return { client: client && clientDetails(hub, client) }
  },
  'clients.kick': ({ hub }, of) => ({ kicked: hub.kick(keyOf(of)) }),
}

const LISTS: ListHandlers = {
  'users.list': ({ authn }, of) => usersOf(authn, of).list(),
  'bans.list': ({ bans }) => bans.list(1, Number.MAX_SAFE_INTEGER).bans.map(entryOf),
  'rules.list': ({ authz }) => authz.rules.list(),
  'clients.list': ({ hub }) => clientsOf(hub),
}

/** @throws BrokerError for what cannot be done, and for a call there is not */
export async function answerTo(targets: ControlTargets, name: string, params: object): Promise<Answer> {
  if (Object.hasOwn(CALLS, name)) {
    const call = CALLS[name as keyof Calls] as (
      targets: ControlTargets,
      params: object,
    ) => Promise<object> | object
    return { kind: 'value', value: await call(targets, params) }
  }
  if (Object.hasOwn(LISTS, name)) {
    const list = LISTS[name as keyof Lists] as (targets: ControlTargets, params: object) => Iterable<object>
    return { kind: 'list', items: list(targets, params) }
  }
  if (name === EXPORT) return { kind: 'text', pieces: await exportOf(targets) }
  throw new BrokerError('PROTOCOL_VIOLATED', `the broker knows no call ${JSON.stringify(name)}`)
}

function entryOf({ kind, who, by, reason, atMs, untilMs }: Ban): BanEntry {
  // JSON has no Infinity.
  return { as: kind, who, by, reason, atMs, untilMs: Number.isFinite(untilMs) ? untilMs : undefined }
}

function statusOf({ hub, version, listeners, gateways, access }: ControlTargets): BrokerStatus {
  return {
    version,
    node: hub.options.nodeName,
    pid: process.pid,
    uptimeMs: Math.round(process.uptime() * 1000),
    storage: hub.kernel.storage.durable?.records.place,
    stats: Object.fromEntries(hub.stats.read()),
    listeners: listeners(),
    gateways: gateways(),
    backends: access.backends(),
  }
}

/** What is noted is written first, so that everything that was answered is in the copy. */
async function exportOf({ hub }: ControlTargets): Promise<AsyncIterable<string>> {
  const { durable } = hub.kernel.storage
  if (durable === undefined)
    throw new BrokerError('CONFIG_INVALID', 'storage.type is memory: there is nothing to export')
  await durable.unsafe
  return exportData(durable.records, hub.options.nodeName)
}

function usersOf(
  authn: ControlTargets['authn'],
  { chain, mechanism }: Lists['users.list']['params'],
): BuiltInUsers {
  const users = authn.users(text(chain), mechanism)
  if (users !== undefined) return users
  throw new BrokerError(
    'CONFIG_INVALID',
    `the broker that runs has no built-in database (${mechanism}) in the chain ${chain}: configure one there, and reload the broker`,
  )
}

function subjectOf(subject: RuleSubject): RuleSubject {
  return subject.kind === 'all' ? { kind: 'all' } : { kind: subject.kind, id: text(subject.id) }
}

function* clientsOf(hub: Hub): Generator<ClientEntry> {
  for (const client of hub.clients()) yield clientEntry(hub, client)
}

function keyOf({ clientId, gateway }: Calls['clients.show']['params']): string {
  return gateway === undefined ? text(clientId) : `${text(gateway)}\0${text(clientId)}`
}

function clientDetails(hub: Hub, client: HubClient): ClientDetails {
  const { zone, mountpoint, cleanStart, isSuperuser, authExpiresAtMs } = client.info
  const { expiryIntervalMs } = client.session
  // JSON has no Infinity.
  const sessionExpiryMs = Number.isFinite(expiryIntervalMs) ? expiryIntervalMs : undefined
  return {
    ...clientEntry(hub, client),
    zone,
    mountpoint,
    cleanStart,
    sessionExpiryMs,
    isSuperuser,
    loginEndsAtMs: authExpiresAtMs,
  }
}

function clientEntry(hub: Hub, client: HubClient): ClientEntry {
  const { info, session } = client
  const { clientId, username, gateway, listener, connectedAtMs, keepAliveSeconds } = info
  return {
    clientId,
    username,
    gateway,
    protocol: `${info.protocolName} ${info.protocolVersion}`,
    peer: info.peerHost.includes(':')
      ? `[${info.peerHost}]:${info.peerPort}`
      : `${info.peerHost}:${info.peerPort}`,
    listener,
    connectedAtMs,
    keepAliveSeconds,
    subscriptions: session.subscriptions.size,
    stats: statsOf(client, hub.limitsOf(info)),
  }
}

function text(value: unknown): string {
  if (typeof value === 'string') return value
  throw new BrokerError('PROTOCOL_VIOLATED', 'a text is missing in the request')
}
