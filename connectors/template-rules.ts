import type { Logger } from '../model/log.ts'
import type { TemplateRules } from './template.ts'

/** Placeholders that templates may hold. Others stay as they are, and the log says so. */
export function templateRules(allowed: readonly string[], log: Logger): TemplateRules {
  return {
    allowed,
    onUnknown: (placeholder) =>
      log.warn({ placeholder }, 'a placeholder is not known here and is taken as it is written'),
  }
}
