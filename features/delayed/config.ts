import Type, { type Static } from 'typebox'
import { Count, Strict } from '../../model/schema.ts'

/** `delayed` of the config. */
export const delayed = Strict(
  {
    enable: Type.Boolean({
      default: true,
      description:
        'Publish what is sent to $delayed/SECONDS/TOPIC later. Switching it off drops the messages that wait',
      'x-hot': true,
    }),
    max_delayed_messages: Count(1_000_000, {
      description: 'Messages that may wait; more are dropped. 0 = unlimited',
      hot: true,
    }),
  },
  { description: 'Messages that are published later' },
)

export type DelayedConfig = Static<typeof delayed>
