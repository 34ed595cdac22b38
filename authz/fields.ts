/** Parts of the schemas that several sources share. */
import Type from 'typebox'

/** What every source has. */
export const sourceFields = (type: string) => ({
  type: Type.Literal(type, { description: 'Where the rules are' }),
  enable: Type.Boolean({ default: true, description: 'Switched off, the source is skipped' }),
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
