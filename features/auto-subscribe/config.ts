// biome-ignore-all lint/suspicious/noTemplateCurlyInString: placeholders as operators write them
import Type, { type Static } from 'typebox'
import { Strict } from '../../model/schema.ts'

/** As in EMQX. */
export const MAX_AUTO_SUBSCRIPTIONS = 20

const choice = <T extends number>(values: readonly T[], description: string) =>
  Type.Unsafe<T>({ type: 'integer', enum: [...values], default: 0, description })

const rule = Strict({
  topic: Type.String({
    minLength: 1,
    description: 'Topic filter; may hold ${clientid}, ${username}, ${host} and ${port} (of the client)',
  }),
  qos: choice([0, 1, 2], 'Highest QoS of deliveries'),
  rh: choice(
    [0, 1, 2],
    'Retain Handling: retained messages are sent always (0), if it is new (1), never (2)',
  ),
  rap: choice([0, 1], 'Retain As Published: deliveries keep the RETAIN flag of the publisher (1)'),
  nl: choice([0, 1], 'No Local: the client does not get what it published itself (1)'),
})

/** `auto_subscribe` of the config. */
export const autoSubscribe = Strict(
  {
    topics: Type.Array(rule, {
      default: [],
      maxItems: MAX_AUTO_SUBSCRIPTIONS,
      description:
        'Subscriptions of every MQTT client from its login on. rh, rap and nl are for MQTT 5 clients',
      'x-hot': true,
    }),
  },
  { description: 'Subscriptions that the broker makes for clients, without asking for permission' },
)

export type AutoSubscribeConfig = Static<typeof autoSubscribe>
