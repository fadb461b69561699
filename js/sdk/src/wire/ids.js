// Ids: opaque, made by one side, checked at the edge, never parsed for meaning.

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz'; // Crockford's, lower case: no i, l, o, u

/**
 * An id from 128 bits, as the prefix and 26 characters.
 * @param {string} prefix
 * @param {bigint} bits
 */
export function fromBits(prefix, bits) {
  let text = '';
  for (let place = 0; place < 26; place += 1, bits >>= 5n) text = ALPHABET[Number(bits & 31n)] + text;
  return prefix + text;
}

/** @param {unknown} text */
export const isId = (text) => typeof text === 'string' && /^[a-z0-9-]{1,64}$/.test(text);
