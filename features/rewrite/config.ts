// biome-ignore-all lint/suspicious/noTemplateCurlyInString: placeholders as operators write them
import Type, { type Static } from 'typebox'
import { Strict } from '../../model/schema.ts'

/** As in EMQX. */
export const MAX_REWRITE_RULES = 20

const rule = Strict({
  action: Type.Union([Type.Literal('publish'), Type.Literal('subscribe'), Type.Literal('all')], {
    description: 'What is rewritten: topics that are published to, filters of (un)subscriptions, or both',
  }),
  source_topic: Type.String({ minLength: 1, description: 'Topic filter: the rule is about what it matches' }),
  re: Type.String({
    minLength: 1,
    maxLength: 1024,
    description:
      'Regular expression that takes the topic apart. Matches anywhere unless it has ^ and $; without look-around and back-references',
  }),
  dest_topic: Type.String({
    minLength: 1,
    description:
      'What the topic becomes; may hold $1 to $N for the groups of re, ${clientid} and ${username}',
  }),
})

/** `rewrite` of the config. */
export const rewrite = Type.Array(rule, {
  default: [],
  maxItems: MAX_REWRITE_RULES,
  description:
    'Topics that become others after authorization. The last rule whose source_topic matches counts',
  'x-hot': true,
})

export type RewriteConfig = Static<typeof rewrite>
export type RewriteRuleConfig = RewriteConfig[number]
