import { BrokerError } from './errors.ts'

/** A value when nothing had to be waited for, else a promise of it. Never a promise by default: the hot path has none. */
export type MaybePromise<T> = T | Promise<T>

export function isPromise<T>(value: MaybePromise<T>): value is Promise<T> {
  return value instanceof Promise
}

/**
 * Goes on with `next` at once when `value` is there already, else when it is. Not named `then`: a module
 * that exports one is taken for a promise by `import()`.
 */
export function andThen<T, R>(value: MaybePromise<T>, next: (value: T) => MaybePromise<R>): MaybePromise<R> {
  return value instanceof Promise ? value.then(next) : next(value)
}

/** All values, at once when all are there already. */
export function all<T>(values: readonly MaybePromise<T>[]): MaybePromise<T[]> {
  return values.some(isPromise) ? Promise.all(values) : (values as T[])
}

/** Settles when everybody else has had a turn of the event loop. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/**
 * `work`, or a rejection with BACKEND_TIMEOUT once `ms` have passed; what `work` says later is not heard any more.
 * @param what - named in the error, e.g. `password_based:mysql`
 * @param onTimeout - called before the rejection, to abort the work
 */
export function withDeadline<T>(
  work: Promise<T>,
  ms: number,
  what: string,
  onTimeout?: () => void,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      onTimeout?.()
      reject(new BrokerError('BACKEND_TIMEOUT', `${what} did not answer within ${ms} ms`))
    }, ms)
    work.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}
