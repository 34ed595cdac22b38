import Type, { type Static } from 'typebox'
import { Count, Strict } from '../../model/schema.ts'

export const DEFAULT_MAX_ENTRIES = 100_000

/** `banned` of the config: clients that are not let in, whatever they speak. */
export const banned = Strict(
  {
    bootstrap_file: Type.Optional(
      Type.String({
        minLength: 1,
        description:
          'CSV file of bans, added at start and when the config is reloaded; bans that are there already stay as they are. Columns as, who, reason, by, until, at',
        'x-hot': true,
      }),
    ),
    max_entries: Count(DEFAULT_MAX_ENTRIES, {
      minimum: 1,
      description: 'Most bans at a time, those of the flapping detector included; further ones are refused',
      hot: true,
    }),
  },
  { description: 'Clients that are not let in' },
)

export type BannedConfig = Static<typeof banned>
