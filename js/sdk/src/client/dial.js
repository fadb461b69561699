// What a dial that failed says, where the shell sees more of it than that it failed, as no browser does.

import { MORE_CODES } from '../codes-texts.js';
import { ms } from '../limits.js';
import { LATER, NEVER, UNREACHABLE } from '../wire/close.js';

/**
 * For the `ofDial` of a client.
 * @param {import('../client.js').Client} client
 * @param {import('./io.js').DialFailed} end
 * @returns {import('./outcome.js').Outcome}
 */
export function ofDial(client, { why, message, tls, status, retry_after_ms }) {
  const isHttp = why === 'not_websocket';
  // Origin and host are refused before the upgrade; everything else after it.
  const code = isHttp && status === 403 ? 'origin_not_allowed' : isHttp && status === 426 ? 'unsupported_version' : 'transport_error';
  const fault = client.blame(/** @type {any} */ (code), { message, row: MORE_CODES[code], detail: { kind: why, status: isHttp ? status : undefined, tls: why === 'tls' ? tls : undefined } }, 'network');
  if (code !== 'transport_error') return { fault, ask: NEVER };
  return isHttp && retry_after_ms !== undefined ? { fault, ask: LATER, notBefore: ms(retry_after_ms) } : { fault, ask: UNREACHABLE };
}
