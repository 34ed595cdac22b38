/** `mongodb`: rules in a collection of MongoDB. */
import Type from 'typebox'
import { Complaints } from '../connectors/complaints.ts'
import type { MongoConnector, MongoDocument } from '../connectors/connector.ts'
import { compileFilter } from '../connectors/filter-template.ts'
import { openMongo } from '../connectors/mongodb.ts'
import { type MongoConfig, mongodbFields } from '../connectors/mongodb-config.ts'
import { templateRules } from '../connectors/template-rules.ts'
import { AUTHZ_PLACEHOLDERS } from '../connectors/variables.ts'
import type { Rule } from '../model/access.ts'
import type { ClientInfo } from '../model/client-info.ts'
import { BrokerError, messageOf } from '../model/errors.ts'
import type { Logger } from '../model/log.ts'
import { Count, Strict } from '../model/schema.ts'
import { sourceFields } from './fields.ts'
import { parseJsonRule } from './json-rule.ts'
import { type FindRules, QuerySource } from './query-source.ts'
import { defineSource, type SourceBase } from './source.ts'

const TYPE = 'mongodb'

export interface MongodbRulesConfig extends SourceBase, MongoConfig {
  collection: string
  filter: Record<string, unknown>
  limit: number
  skip: number
}

export const mongodbRules = defineSource<MongodbRulesConfig>({
  type: TYPE,
  schema: Strict(
    {
      ...sourceFields(TYPE),
      ...mongodbFields,
      collection: Type.String({ minLength: 1, description: 'Where the rules are' }),
      filter: Type.Record(Type.String({ minLength: 1 }), Type.Unknown(), {
        default: {},
        description: 'What documents with rules of a client look like, with placeholders as values',
      }),
      limit: Count(1000, { minimum: 1, maximum: 10_000, description: 'As many documents are read at most' }),
      skip: Count(0, { minimum: 0, description: 'As many are passed over before' }),
    },
    { description: 'Rules in a collection of MongoDB' },
  ),
  async create(config, context) {
    const filter = compileFilter(config.filter, templateRules(AUTHZ_PLACEHOLDERS, context.log))
    const connector = await openMongo(TYPE, config, context)
    return new QuerySource(connector, rulesIn(connector, config, filter, context.log))
  },
})

function rulesIn(
  connector: MongoConnector,
  { collection, limit, skip }: MongodbRulesConfig,
  filter: ReturnType<typeof compileFilter>,
  log: Logger,
): FindRules {
  const complaints = new Complaints(log)
  return async (values, client) => {
    const documents = await connector.find(collection, filter.render(values), { limit, skip })
    return documents.flatMap((document) => readDocument(document, client, complaints))
  }
}

/**
 * A document that is no rule is passed over if it could only have allowed something.
 * @throws BrokerError BACKEND_FAILED if it might have been meant to deny
 */
function readDocument(document: MongoDocument, client: ClientInfo, complaints: Complaints): Rule[] {
  try {
    return [parseJsonRule(document)]
  } catch (error) {
    const why = messageOf(error)
    if (document.permission !== 'allow')
      throw new BrokerError('BACKEND_FAILED', `${TYPE}: a document is no rule: ${why}`)
    complaints.say('a document is no rule and is passed over', { client }, why)
    return []
  }
}
