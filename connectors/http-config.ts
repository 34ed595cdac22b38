/** Options of HTTP services, with EMQX's names. */
import Type, { type Static } from 'typebox'
import { Count, Duration, Secret, Strict } from '../model/schema.ts'
import { poolFields } from './fields.ts'

/** @param requestTimeout - default: 5s for authentication, 30s for authorization */
export const httpFields = ({ requestTimeout }: { requestTimeout: string }) => ({
  method: Type.Unsafe<'get' | 'post'>({
    type: 'string',
    enum: ['get', 'post'],
    description: 'get sends what is in body behind the URL, post in the body',
  }),
  url: Type.String({
    minLength: 1,
    description:
      'Where the service is. Path and query may hold placeholders; their values are percent-encoded',
  }),
  // What lets us in is mostly among them.
  headers: Type.Record(Type.String({ minLength: 1 }), Secret({ description: 'Value of a header' }), {
    default: {},
    description: 'Sent with each request, with placeholders; accept and content-type are there already',
  }),
  body: Type.Record(Type.String({ minLength: 1 }), Type.Unknown(), {
    default: {},
    description: 'What is asked, with placeholders: as JSON or as a form, as the content-type says',
  }),
  request_timeout: Duration(requestTimeout, { description: 'An answer that takes longer has failed' }),
  enable_pipelining: Count(100, {
    minimum: 1,
    maximum: 10_000,
    description: 'Requests of one connection that wait for an answer at most; 1 sends one after the other',
  }),
  max_inactive: Duration('10s', { description: 'A connection that nobody needs is kept so long' }),
  ...poolFields,
})

const http = Strict(httpFields({ requestTimeout: '5s' }))

export type HttpConfig = Static<typeof http>
