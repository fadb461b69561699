// Close codes, and what a client makes of each (RFC 6455 §7.4). Mirrors `keel-wire/src/close.rs`.

/** Sent by a client that leaves. */
export const NORMAL = 1000;

/**
 * What the end of a connection asks for: a rung of the ladder (these are in its order); that, once; nothing
 * more, as of a fault, and as of a connection that was closed without one; to come back later. And what
 * no close code says: a fresh token; another try, as nobody answered.
 */
export const FAST = 0, REJOIN = 1, MIGRATE = 2, FAST_ONCE = 3, NEVER = 4, CLOSED = 5, LATER = 6, TOKEN = 7, UNREACHABLE = 8;

/** By code, or by its hundred. @type {Record<number, number>} */
const VERDICTS = {
  1000: CLOSED, 1002: FAST_ONCE, 1003: FAST_ONCE, 1007: FAST_ONCE, 1008: NEVER, 1009: FAST_ONCE, 1013: LATER, 4003: FAST_ONCE,
  41: REJOIN, 42: MIGRATE, 44: NEVER, 45: LATER,
};

/**
 * What a client does about a connection that ended with a close code and nothing better. As of 1001, 1005,
 * 1006, 1011, 1012, 1014 and 40xx, so of what nobody has defined: a broken middlebox must not end a session
 * for good.
 * @param {number} code
 */
export const verdict = (code) => VERDICTS[code] ?? VERDICTS[Math.floor(code / 100)] ?? FAST;
