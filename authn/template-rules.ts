import type { TemplateRules } from '../connectors/template.ts'
import { templateRules } from '../connectors/template-rules.ts'
import { AUTHN_PLACEHOLDERS } from '../connectors/variables.ts'
import type { Logger } from '../model/log.ts'

/** Placeholders that templates of authenticators may hold. */
export function authnTemplates(log: Logger): TemplateRules {
  return templateRules(AUTHN_PLACEHOLDERS, log)
}
