import { BrokerError } from '../model/errors.ts'
import type { HttpResponse } from './connector.ts'

const JSON_TYPE = 'application/json'
const FORM_TYPE = 'application/x-www-form-urlencoded'

/** What a service has said about a client: fields of a JSON object, or of a form, where everything is text. */
export type HttpAnswer =
  | { readonly kind: 'json'; readonly fields: Readonly<Record<string, unknown>> }
  | { readonly kind: 'form'; readonly fields: URLSearchParams }

/**
 * @param id - of the connector, for errors
 * @param presumedType - what it is if the service does not say
 * @throws BrokerError BACKEND_FAILED for anything else
 */
export function readAnswer(
  id: string,
  { contentType, body }: HttpResponse,
  presumedType?: string,
): HttpAnswer {
  const type = contentType ?? presumedType ?? 'no content type'
  if (type.startsWith(JSON_TYPE)) {
    const value = jsonIn(body)
    if (isFields(value)) return { kind: 'json', fields: value }
    throw failed(id, 'answered with something else than a JSON object')
  }
  if (type.startsWith(FORM_TYPE)) return { kind: 'form', fields: new URLSearchParams(body) }
  throw failed(id, `answered neither with JSON nor with a form, but ${JSON.stringify(type.slice(0, 100))}`)
}

function jsonIn(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    return undefined
  }
}

function isFields(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function failed(id: string, what: string): BrokerError {
  return new BrokerError('BACKEND_FAILED', `${id} ${what}`)
}
