import Type, { type Static } from 'typebox'
import type { Permission } from '../model/access.ts'
import { Duration, Strict, Variant } from '../model/schema.ts'
import { sourceModules } from './modules.ts'
import type { SourceBase } from './source.ts'

/** `authorization` of the config; one for MQTT and all gateways. */
export const authorization = Strict(
  {
    no_match: Type.Unsafe<Permission>({
      type: 'string',
      enum: ['allow', 'deny'],
      default: 'allow',
      description: 'What happens where no rule is about it',
    }),
    deny_action: Type.Unsafe<'ignore' | 'disconnect'>({
      type: 'string',
      enum: ['ignore', 'disconnect'],
      default: 'ignore',
      description: 'What a denied client gets: a refusal of what it asked for, or the end of its connection',
    }),
    ignore_backend_failures: Type.Boolean({
      default: false,
      description:
        'When a source has failed and no other decided: do as if it had no rule, instead of denying',
    }),
    include_mountpoint: Type.Boolean({
      default: false,
      description: "Rules are about topics with the client's mountpoint before them",
    }),
    cache: Strict(
      {
        enable: Type.Boolean({ default: true, description: 'Remember for each client what it may publish' }),
        max_size: Type.Integer({
          minimum: 1,
          maximum: 1_048_576,
          default: 32,
          description: 'Topics per client',
        }),
        ttl: Duration('1m', { description: 'How long an answer is remembered' }),
        excludes: Type.Array(Type.String({ minLength: 1 }), {
          default: [],
          description: 'Topic filters whose answers are not remembered',
        }),
      },
      { description: 'Answers remembered for each client' },
    ),
    sources: Type.Array(
      Variant<SourceBase>(
        'type',
        sourceModules.map(({ schema }) => schema),
      ),
      { default: [{ type: 'file' }], description: 'Where rules come from, asked in order until one decides' },
    ),
  },
  { description: 'Who may publish and subscribe to what', hot: true },
)

export type AuthorizationConfig = Static<typeof authorization>
