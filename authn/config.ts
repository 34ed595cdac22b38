import Type, { type TSchema } from 'typebox'
import { Variant } from '../model/schema.ts'
import type { AuthenticatorBase, AuthenticatorModule } from './authenticator.ts'
import { authenticatorModules } from './modules.ts'

/** One authenticator as the loader hands it over: told apart by `mechanism`, then by `backend`. */
export type AuthenticatorConfig = AuthenticatorBase

/** `authentication` of the whole broker, of a listener or of a gateway. */
export type AuthenticationConfig = AuthenticatorConfig | readonly AuthenticatorConfig[]

const authenticator = Variant<AuthenticatorConfig>('mechanism', byMechanism(authenticatorModules))

/**
 * A list of authenticators, or a single one. Said as an intersection of "its elements, if it is
 * a list" and "itself, if it is an object", since defaults inside alternatives are not filled in.
 */
export const authentication = Type.Unsafe<AuthenticationConfig>({
  type: ['array', 'object'],
  allOf: [
    { type: ['array', 'object'], items: authenticator },
    { ...authenticator, type: ['array', 'object'] },
  ],
  default: [],
  description: 'Authenticators, asked in order until one knows the client',
  'x-hot': true,
})

/** The list of authenticators, whichever way it was written. */
export function authenticatorList(config: AuthenticationConfig | undefined): readonly AuthenticatorConfig[] {
  if (config === undefined) return []
  return isList(config) ? config : [config]
}

function isList(config: AuthenticationConfig): config is readonly AuthenticatorConfig[] {
  return Array.isArray(config)
}

/** One schema per mechanism; where a mechanism has several backends, one that is told apart by them. */
function byMechanism(modules: readonly AuthenticatorModule[]): TSchema[] {
  const groups = new Map<string, TSchema[]>()
  for (const { mechanism, schema } of modules)
    groups.set(mechanism, [...(groups.get(mechanism) ?? []), schema])
  return Array.from(groups, ([mechanism, schemas]) => {
    const [only, ...others] = schemas as [TSchema, ...TSchema[]]
    if (others.length === 0) return only
    return {
      ...Variant('backend', schemas),
      properties: { mechanism: Type.Literal(mechanism) },
      required: ['mechanism', 'backend'],
    }
  })
}
