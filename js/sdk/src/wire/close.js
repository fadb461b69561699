// Close codes, and what a client makes of each (RFC 6455 §7.4). Mirrors `keel-wire/src/close.rs`.

/** Sent by a client that leaves. */
export const NORMAL = 1000;

/** @typedef {'fast' | 'fast_once' | 'rejoin' | 'migrate' | 'later' | 'never' | 'closed'} Verdict */

/**
 * What a client does about a connection that ended with a close code and nothing better.
 * @param {number} code
 * @returns {Verdict}
 */
export function verdict(code) {
  if (code === 1000) return 'closed';
  if ([1002, 1003, 1007, 1009, 4003].includes(code)) return 'fast_once';
  if (code === 1008) return 'never';
  if (code === 1013) return 'later';
  switch (Math.floor(code / 100)) {
    case 41: return 'rejoin';
    case 42: return 'migrate';
    case 44: return 'never';
    case 45: return 'later';
    // 1001, 1005, 1006, 1011, 1012, 1014, 40xx; and what nobody has defined: a broken middlebox
    // must not end a session for good.
    default: return 'fast';
  }
}
