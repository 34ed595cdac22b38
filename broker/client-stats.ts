import type { HubClient } from './client.ts'
import type { ClientLimits } from './client-limits.ts'

/** EMQX's statistics of one client, by their names. A highest number of 0 says that there is none. */
export type ClientStats = Readonly<Record<string, number>>

/**
 * What a connected client has sent and was sent since it logged in, and what waits for it now. Bytes are those of its
 * connection, `mqueue_dropped` is its session's; numbers that nobody knows are left out.
 * @returns undefined for clients of which there are to be none
 */
export function statsOf(client: HubClient, { maxSubscriptions }: ClientLimits): ClientStats | undefined {
  if (!client.hasStats) return undefined
  const { info, session, traffic } = client
  const { maxInflight, maxQueueLength } = session.limits
  return {
    ...(traffic === undefined ? {} : { recv_oct: traffic.bytesReceived, send_oct: traffic.bytesSent }),
    recv_msg: client.receivedCount,
    send_msg: client.sentCount,
    'send_msg.dropped': client.droppedCount,
    subscriptions_cnt: session.subscriptions.size,
    subscriptions_max: most(maxSubscriptions),
    inflight_cnt: session.inflightCount,
    inflight_max: Math.min(info.terms?.receiveMaximum ?? maxInflight, maxInflight),
    mqueue_len: session.queueLength,
    mqueue_max: most(maxQueueLength),
    mqueue_dropped: session.overflowCount,
    // Other protocols keep theirs themselves.
    ...(info.protocol === 'mqtt' ? { awaiting_rel_cnt: session.incoming.size } : {}),
  }
}

/** JSON has no Infinity. */
function most(limit: number): number {
  return Number.isFinite(limit) ? limit : 0
}
