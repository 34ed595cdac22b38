/**
 * The vocabulary of config schemas: typebox, plus the units an operator writes.
 * A field with `x-unit` is written as text ("30s", "1MB", "1000/s", a port) and read by the
 * loader (config/) into the number or object its TypeScript type says; both ends meet only there.
 */
import Type, { type TSchema, type TUnsafe } from 'typebox'

export interface FieldOptions {
  description: string
  /** Read again without dropping anything when the config is reloaded. */
  hot?: boolean
}

/** Events or bytes per time; `Infinity` count = unlimited. */
export interface Rate {
  count: number
  perMs: number
}

const field = (unit: string, value: unknown, options: FieldOptions) => ({
  'x-unit': unit,
  ...(value === undefined ? {} : { default: value }),
  description: options.description,
  ...(options.hot === undefined ? {} : { 'x-hot': options.hot }),
})

/** `500ms`, `15s`, `1h30m`, a plain number of milliseconds, or `infinity`. Read as milliseconds. */
export const Duration = (value: string | undefined, options: FieldOptions): TUnsafe<number> =>
  Type.Unsafe<number>({ type: ['string', 'number'], ...field('duration', value, options) })

/** `512B`, `100KB`, `1MB` (KB = 1024), a plain number of bytes, or `infinity`. Read as bytes. */
export const Size = (value: string | undefined, options: FieldOptions): TUnsafe<number> =>
  Type.Unsafe<number>({ type: ['string', 'number'], ...field('size', value, options) })

/** A whole number, or `infinity`. */
export const Count = (
  value: number | 'infinity' | undefined,
  options: FieldOptions & { minimum?: number; maximum?: number },
): TUnsafe<number> =>
  Type.Unsafe<number>({
    type: ['integer', 'string'],
    ...(options.minimum === undefined ? {} : { minimum: options.minimum }),
    ...(options.maximum === undefined ? {} : { maximum: options.maximum }),
    ...field('count', value, options),
  })

/** `500/s`, `1000/10s`, `10MB/s`, or `infinity`. A plain number is per second. `minimum` is of the count. */
export const RateOf = (
  value: string | number | undefined,
  options: FieldOptions & { minimum?: number },
): TUnsafe<Rate> =>
  Type.Unsafe<Rate>({
    type: ['string', 'number'],
    ...(options.minimum === undefined ? {} : { minimum: options.minimum }),
    ...field('rate', value, options),
  })

/** Where a listener binds. `host` undefined = every address. */
export interface Bind {
  host: string | undefined
  port: number
}

/** `1883`, `"127.0.0.1:1883"`, `"[::1]:1883"`, `":1883"`. */
export const BindAddress = (value: string | number | undefined, options: FieldOptions): TUnsafe<Bind> =>
  Type.Unsafe<Bind>({ type: ['string', 'integer'], ...field('bind', value, options) })

/** Text never shown again: `config show` prints `******`. `file:///path` reads it from a file. */
export const Secret = (options: FieldOptions): TUnsafe<string> =>
  Type.Unsafe<string>({ type: 'string', 'x-secret': true, ...field('secret', undefined, options) })

/** One of several object shapes, told apart by the constant in `property`. ajv wants `oneOf` for that, typebox gives `anyOf`. */
export const Variant = <T>(property: string, oneOf: TSchema[]): TUnsafe<T> =>
  Type.Unsafe<T>({ type: 'object', required: [property], discriminator: { propertyName: property }, oneOf })

/**
 * An object that refuses unknown keys: a misspelt option must never be ignored silently.
 * `hot` holds for everything in it.
 */
export const Strict = <T extends Record<string, TSchema>>(
  properties: T,
  { hot, ...options }: { description?: string; hot?: boolean } = {},
) =>
  Type.Object(properties, {
    additionalProperties: false,
    default: {},
    ...options,
    ...(hot === undefined ? {} : { 'x-hot': hot }),
  })

/** Named entries: `{ default: {...}, tls2: {...} }`. */
export const Named = <T extends TSchema>(entry: T, options: { description: string }) =>
  Type.Record(Type.String({ pattern: '^[a-zA-Z][0-9a-zA-Z_-]*$' }), entry, {
    additionalProperties: false,
    default: {},
    ...options,
  })
