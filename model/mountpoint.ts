/**
 * The text put before every topic of a client. Joined as it is: no `/` is added.
 *
 * Rendered twice: before authentication, and after it, when `${client_attrs.NAME}` is known.
 * Both times from the template, so that a value cannot bring a placeholder of its own.
 */
import type { ClientInfo } from './client-info.ts'

/**
 * Fills `${clientid}`, `${username}`, `${peerhost}`, `${zone}`, `${client_attrs.NAME}` and what the gateway
 * gives in `extra` (`endpoint_name`). An unknown or unset placeholder stays as it is written. So does one whose value
 * holds `+`, `#` or U+0000: a client that calls itself `#` must not see what lies beside its mountpoint.
 */
export function renderMountpoint(
  template: string,
  client: ClientInfo,
  extra: ReadonlyMap<string, string> = NOTHING,
): string {
  if (!template.includes('${')) return template
  return template.replace(PLACEHOLDER, (verbatim, name: string) => {
    const value = extra.get(name) ?? fieldOf(client, name)
    return value === undefined || value === '' || /[+#]/.test(value) || value.includes('\0')
      ? verbatim
      : value
  })
}

const PLACEHOLDER = /\$\{([^{}]+)\}/g
const NOTHING: ReadonlyMap<string, string> = new Map()
const ATTRIBUTE = 'client_attrs.'

function fieldOf(client: ClientInfo, name: string): string | undefined {
  if (name.startsWith(ATTRIBUTE)) return client.attributes.get(name.slice(ATTRIBUTE.length))
  switch (name) {
    case 'clientid':
      return client.clientId
    case 'username':
      return client.username
    case 'peerhost':
      return client.peerHost
    case 'zone':
      return client.zone
    default:
      return undefined
  }
}
