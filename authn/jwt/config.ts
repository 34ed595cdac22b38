import Type from 'typebox'
import { type ClientTlsConfig, clientTls } from '../../model/client-tls.ts'
import { Count, Secret, Strict } from '../../model/schema.ts'
import type { AuthenticatorBase } from '../authenticator.ts'
import { mechanismFields } from '../fields.ts'

export interface JwtConfig extends AuthenticatorBase {
  from: 'password' | 'username'
  use_jwks: boolean
  algorithm?: 'hmac-based' | 'public-key'
  secret?: string
  secret_base64_encoded: boolean
  public_key?: string
  endpoint?: string
  headers: Record<string, string>
  /** Seconds. */
  refresh_interval: number
  max_fail_count: number
  pool_size: number
  ssl: ClientTlsConfig
  verify_claims: WantedClaims
  acl_claim_name: string
  disconnect_after_expire: boolean
  on_missing_jwt: 'ignore' | 'deny'
}

/** Texts with placeholders, by name of the claim. */
export type WantedClaims = Readonly<Record<string, string>> | readonly { name: string; value: string }[]

const claim = Strict({
  name: Type.String({ minLength: 1, description: 'Of the claim' }),
  value: Type.String({ description: 'What it must be; may hold ${username} and ${clientid}' }),
})

export const jwtSchema = Strict(
  {
    ...mechanismFields('jwt'),
    from: Type.Unsafe<'password' | 'username'>({
      type: 'string',
      enum: ['password', 'username'],
      default: 'password',
      description: 'Which field of CONNECT holds the token',
    }),
    use_jwks: Type.Boolean({ default: false, description: 'Keys come from the URL in endpoint' }),
    algorithm: Type.Optional(
      Type.Unsafe<'hmac-based' | 'public-key'>({
        type: 'string',
        enum: ['hmac-based', 'public-key'],
        description:
          'hmac-based: HS256, HS384 and HS512 with secret; public-key: RS, PS and ES with 256, 384 and 512 and EdDSA with public_key. Without use_jwks one is needed',
      }),
    ),
    secret: Type.Optional(Secret({ description: 'Of hmac-based. file:///path reads it from a file' })),
    secret_base64_encoded: Type.Boolean({ default: false, description: 'The secret is written in base64' }),
    public_key: Type.Optional(
      Type.String({
        minLength: 1,
        description:
          'Of public-key: PEM file of the key, or of a certificate that holds it; or the PEM text itself',
      }),
    ),
    endpoint: Type.Optional(
      Type.String({
        minLength: 1,
        description: 'URL of a JSON Web Key Set, http or https; https needs ssl.enable',
      }),
    ),
    headers: Type.Record(Type.String({ minLength: 1 }), Secret({ description: 'Value of a header' }), {
      default: {},
      description: 'Sent with requests to endpoint; accept: application/json is there already',
    }),
    refresh_interval: Type.Integer({
      minimum: 10,
      maximum: 2_000_000,
      default: 300,
      description:
        'Seconds after which the keys are fetched again. A token of an unknown key has them fetched at once',
    }),
    max_fail_count: Count(5, {
      minimum: 1,
      description: 'After so many failures in a row to fetch them the old keys no longer count',
    }),
    pool_size: Count(8, { minimum: 1, maximum: 1000, description: 'Connections to endpoint at most' }),
    ssl: clientTls,
    verify_claims: Type.Unsafe<WantedClaims>({
      type: ['object', 'array'],
      items: claim,
      additionalProperties: { type: 'string' },
      default: {},
      description:
        'Claims that must be as said here: names with values, or a list of name and value. Values may hold ${username} and ${clientid}. exp, nbf and iat cannot be among them',
    }),
    acl_claim_name: Type.String({
      minLength: 1,
      default: 'acl',
      description: "Claim with the client's access rules, asked before authorization.sources",
    }),
    disconnect_after_expire: Type.Boolean({
      default: true,
      description: 'A client is disconnected when its token expires',
    }),
    on_missing_jwt: Type.Unsafe<'ignore' | 'deny'>({
      type: 'string',
      enum: ['ignore', 'deny'],
      default: 'ignore',
      description: 'A client without a token is asked for by the next authenticator, or refused',
    }),
  },
  { description: 'Clients that bring a signed token (JWT)' },
)
