import Type, { type Static } from 'typebox'
import { Duration, Strict } from '../../model/schema.ts'

const Interval = (value: string, description: string) =>
  Type.Union([Type.Literal('disabled'), Duration(undefined, { description })], {
    default: value,
    description: `${description}, or \`disabled\``,
  })

const Event = (value: boolean, what: string) =>
  Type.Boolean({ default: value, description: `Tell when a client ${what}` })

/** `sys_topics` of the config, with EMQX's names and defaults. */
export const sysTopics = Strict(
  {
    sys_msg_interval: Interval('1m', 'How often statistics and counters are published'),
    sys_heartbeat_interval: Interval(
      '30s',
      'How often uptime and time are published, and nodes, version and description if they have changed',
    ),
    sys_event_messages: Strict(
      {
        client_connected: Event(true, 'has connected'),
        client_disconnected: Event(true, 'has left'),
        client_subscribed: Event(false, 'has subscribed'),
        client_unsubscribed: Event(false, 'has unsubscribed'),
      },
      { description: 'What is told of clients under $SYS/brokers/NODE/clients' },
    ),
  },
  { description: 'What the broker publishes about itself under $SYS', hot: true },
)

export type SysTopicsConfig = Static<typeof sysTopics>
