import { BrokerError } from '../model/errors.ts'
import type { HttpRequest } from './connector.ts'
import type { HttpConfig } from './http-config.ts'
import {
  compileText,
  joinPieces,
  namesIn,
  type Piece,
  parsePieces,
  type Template,
  type TemplateRules,
  wellFormed,
} from './template.ts'
import type { Values } from './variables.ts'

const JSON_TYPE = 'application/json'
const FORM_TYPE = 'application/x-www-form-urlencoded'

/** The HTTP client's own business, whatever the config says. */
const OF_THE_CONNECTION = [
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'content-length',
  'te',
  'trailer',
  'upgrade',
  'expect',
]

const TOKEN = /^[!#$%&'*+.^_`|~\w-]+$/
/** RFC 9110 §5.5: nothing that could end a header. */
const CONTROL = /(?!\t)\p{Cc}/u

/** What `openHttp` connects to. @throws BrokerError CONFIG_INVALID */
export function originOf(url: string): URL {
  const match = /^(https?):\/\/[^/?#]+/i.exec(url)
  const origin = match?.[0] ?? ''
  if (origin === '' || !URL.canParse(origin)) throw invalid('url', 'is no address of an HTTP service')
  if (origin.includes('${')) throw invalid('url', 'has a placeholder in its host')
  const parsed = new URL(origin)
  if (parsed.username !== '' || parsed.password !== '') throw invalid('url', 'holds a password; use headers')
  return parsed
}

/**
 * The request of a config: values percent-encoded in the URL, as they are in headers, as JSON or form in the body.
 * Rendering throws BACKEND_FAILED for a value that would be more than a value: line ends in a header, `..` in the path.
 * @throws BrokerError CONFIG_INVALID
 */
export function compileRequest(config: HttpConfig, rules: TemplateRules): Template<HttpRequest> {
  const method = config.method === 'get' ? 'GET' : 'POST'
  const headers = headerTemplates(config, rules)
  const path = pathTemplate(config.url, rules)
  const body = bodyTemplate(config, headers.contentType, rules)
  const names = new Set([...path.names, ...headers.names, ...body.names])
  const render = (values: Values): HttpRequest => {
    const [target, content] = [path.render(values), body.render(values)]
    if (method === 'POST') return { method, path: target, headers: headers.render(values), body: content }
    const separator = target.includes('?') ? '&' : '?'
    return {
      method,
      path: content === '' ? target : target + separator + content,
      headers: headers.render(values),
    }
  }
  return { names: [...names], render }
}

function headerTemplates(config: HttpConfig, rules: TemplateRules) {
  const given = Object.entries(config.headers).map(([name, value]) => [name.toLowerCase(), value] as const)
  const all = new Map([['accept', JSON_TYPE], ['cache-control', 'no-cache'], ...given])
  if (config.method === 'get' && all.has('content-type'))
    throw invalid('headers', 'of get have no content-type')
  if (config.method === 'post' && !all.has('content-type')) all.set('content-type', JSON_TYPE)
  for (const name of all.keys()) if (!TOKEN.test(name)) throw invalid('headers', `has no valid name: ${name}`)
  const templates = [...all]
    .filter(([name]) => !OF_THE_CONNECTION.includes(name))
    .map(([name, value]) => [name, compileText(value, rules)] as const)
  return {
    contentType: all.get('content-type')?.split(';')[0]?.trim().toLowerCase(),
    names: templates.flatMap(([, template]) => template.names),
    render: (values: Values) =>
      Object.fromEntries(
        templates.map(([name, template]) => [name, headerText(name, template.render(values))]),
      ),
  }
}

/** HTTP says bytes; what is not ASCII goes as UTF-8. */
function headerText(name: string, value: string): string {
  if (CONTROL.test(value))
    throw new BrokerError('BACKEND_FAILED', `a value for the header ${name} has line ends`)
  return Buffer.from(value, 'utf8').toString('latin1')
}

function pathTemplate(url: string, rules: TemplateRules): Template<string> {
  const target = url.slice(/^https?:\/\/[^/?#]+/i.exec(url)?.[0].length ?? 0).split('#')[0] ?? ''
  const [path = '', ...query] = target.split('?')
  const segments = path
    .replace(/^(?!\/)/, '/')
    .split('/')
    .map((segment) => parsePieces(segment, rules))
  const rest = query.length === 0 ? [] : parsePieces(`?${query.join('?')}`, rules)
  return {
    names: namesIn([...segments.flat(), ...rest]),
    render: (values) =>
      segments.map((pieces) => segmentText(pieces, values)).join('/') +
      encodeLiterals(joinPieces(rest, values, encodeValue)),
  }
}

function segmentText(pieces: readonly Piece[], values: Values): string {
  const text = encodeLiterals(joinPieces(pieces, values, encodeValue))
  const hasPlaces = pieces.some((piece) => 'name' in piece)
  // Servers take these, percent-encoded too, for another path (RFC 3986 §5.2.4).
  if (hasPlaces && /^(?:\.|%2e){1,2}$/i.test(text))
    throw new BrokerError('BACKEND_FAILED', 'a value would change the path of the URL')
  return text
}

/** Everything but unreserved characters (RFC 3986 §2.3). */
function encodeValue(value: string): string {
  return encodeURIComponent(wellFormed(value)).replaceAll(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  )
}

/** What an operator wrote, in case it is not ASCII or has blanks; percent signs are theirs. */
function encodeLiterals(text: string): string {
  return text.replaceAll(/[^\x21-\x7e]+/g, (part) => encodeURIComponent(wellFormed(part)))
}

function bodyTemplate(
  { method, body }: HttpConfig,
  contentType: string | undefined,
  rules: TemplateRules,
): Template<string> {
  if (method === 'get' || contentType === FORM_TYPE) return formTemplate(body, rules)
  if (contentType === JSON_TYPE) return jsonTemplate(body, rules)
  throw invalid('headers', `content-type is neither ${JSON_TYPE} nor ${FORM_TYPE}`)
}

function formTemplate(body: Readonly<Record<string, unknown>>, rules: TemplateRules): Template<string> {
  const fields = Object.entries(body).map(([name, value]) => {
    if (value !== null && typeof value === 'object') throw invalid(`body.${name}`, 'is not a text')
    return [name, compileText(String(value), rules)] as const
  })
  return {
    names: fields.flatMap(([, template]) => template.names),
    render: (values) =>
      fields
        .map(([name, template]) => `${encodeValue(name)}=${encodeValue(template.render(values))}`)
        .join('&'),
  }
}

function jsonTemplate(body: Readonly<Record<string, unknown>>, rules: TemplateRules): Template<string> {
  const names = new Set<string>()
  const compile = (value: unknown): ((values: Values) => unknown) => {
    if (typeof value === 'string') {
      const template = compileText(value, rules)
      for (const name of template.names) names.add(name)
      return (values) => template.render(values)
    }
    if (Array.isArray(value)) {
      const parts = value.map(compile)
      return (values) => parts.map((part) => part(values))
    }
    if (value === null || typeof value !== 'object') return () => value
    const parts = Object.entries(value).map(([name, part]) => [name, compile(part)] as const)
    return (values) => Object.fromEntries(parts.map(([name, part]) => [name, part(values)]))
  }
  const render = compile(body)
  return { names: [...names], render: (values) => JSON.stringify(render(values)) }
}

function invalid(option: string, why: string): BrokerError {
  return new BrokerError('CONFIG_INVALID', `${option} ${why}`)
}
