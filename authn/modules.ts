import type { AuthenticatorModule } from './authenticator.ts'
import { builtInDatabase } from './built-in-database.ts'

/** Every authenticator this build knows. Adding one is a file and a line here. */
export const authenticatorModules: readonly AuthenticatorModule[] = [builtInDatabase]
