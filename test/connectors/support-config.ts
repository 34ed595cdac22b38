import type { ClientTlsConfig } from '../../model/client-tls.ts'

export const NO_TLS: ClientTlsConfig = {
  enable: false,
  verify: 'verify_peer',
  versions: ['tlsv1.3', 'tlsv1.2'],
  ciphers: [],
}
