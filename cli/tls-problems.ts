import { X509Certificate } from 'node:crypto'
import { type Config, tlsListenersOf } from '../assemble.ts'
import { readSecureOptions } from '../listeners/tls-options.ts'
import { messageOf } from '../model/errors.ts'

/**
 * What is wrong with the certificates and keys of listeners that are enabled: files that are not there, that
 * do not fit together, certificates that are out of date at `now`. Found by reading them, as a start does.
 */
export function tlsProblems(config: Config, now: Date): string[] {
  return tlsListenersOf(config).flatMap(({ id, tls }) => {
    try {
      const { cert } = readSecureOptions(tls)
      const late = typeof cert === 'string' ? outOfDate(new X509Certificate(cert), now) : undefined
      return late === undefined ? [] : [`listener ${id}: ssl_options.certfile: ${late}`]
    } catch (error) {
      return [`listener ${id}: ${messageOf(error)}`]
    }
  })
}

function outOfDate({ subject, validFrom, validTo }: X509Certificate, now: Date): string | undefined {
  const name = subject.replaceAll('\n', ', ')
  if (now > new Date(validTo)) return `the certificate ${name} has expired (${validTo})`
  return now < new Date(validFrom) ? `the certificate ${name} is not valid before ${validFrom}` : undefined
}
