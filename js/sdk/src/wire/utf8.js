// Bytes of UTF-8: what the wire counts in, where JavaScript counts in UTF-16.

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** @param {string} text */
export const bytesOf = (text) => encoder.encode(text).length;

/**
 * The text of bytes.
 * @param {Uint8Array} bytes
 * @throws {TypeError} when they are not UTF-8
 */
export const textOf = (bytes) => decoder.decode(bytes);

/**
 * The beginning of a text: at most `max` bytes, cut at a character's border.
 * @param {string} text
 * @param {number} max
 */
export const beginning = (text, max) => text.slice(0, encoder.encodeInto(text, new Uint8Array(max)).read);

/**
 * The end of a text: at most `max` bytes, cut at a character's border.
 * @param {string} text
 * @param {number} max
 */
export function ending(text, max) {
  if (text.length * 3 <= max) return text;
  const bytes = encoder.encode(text);
  let start = Math.max(0, bytes.length - max);
  while ((/** @type {number} */ (bytes[start]) & 0xc0) === 0x80) start += 1;
  return textOf(bytes.subarray(start));
}

/**
 * What of a text is beyond its first `count` bytes; undefined where that is nothing, or no border.
 * @param {string} text
 * @param {number} count
 */
export function beyond(text, count) {
  const { read, written } = encoder.encodeInto(text, new Uint8Array(Math.min(count, text.length * 3)));
  return written === count ? text.slice(read) || undefined : undefined;
}
