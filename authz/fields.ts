/** Parts of the schemas that several sources share. */
import Type from 'typebox'
import type { SourceBase } from './source.ts'

/** What every source has. */
export const sourceFields = (type: string) => ({
  type: Type.Literal(type, { description: 'Where the rules are' }),
  enable: Type.Boolean({ default: true, description: 'Switched off, the source is skipped' }),
  on_failure: Type.Unsafe<NonNullable<SourceBase['on_failure']>>({
    type: 'string',
    enum: ['ignore', 'deny'],
    default: 'ignore',
    description: 'When it fails the next source is asked, or it is a no',
  }),
  precondition: Type.String({
    default: '',
    description:
      "Expression about the client, action and topic, such as str_eq(action, 'publish'): where it does not give true, the next source is asked. Empty: always true",
  }),
})

/** Of both databases that speak SQL. */
export const sqlQueryField = {
  query: Type.String({
    minLength: 1,
    description:
      'SELECT of permission, action and topic, and if there are such columns qos, retain and conditions. Placeholders are bound, never pasted',
  }),
}
