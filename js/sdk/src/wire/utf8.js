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

/** @param {number | undefined} byte */
const continues = (byte) => byte !== undefined && (byte & 0xc0) === 0x80;

/**
 * The beginning of a text: at most `max` bytes, cut at a character's border.
 * @param {string} text
 * @param {number} max
 */
export function beginning(text, max) {
  if (text.length * 3 <= max) return text;
  const bytes = encoder.encode(text);
  let end = Math.min(max, bytes.length);
  while (end < bytes.length && continues(bytes[end])) end -= 1;
  return textOf(bytes.subarray(0, end));
}

/**
 * The end of a text: at most `max` bytes, cut at a character's border.
 * @param {string} text
 * @param {number} max
 */
export function ending(text, max) {
  if (text.length * 3 <= max) return text;
  const bytes = encoder.encode(text);
  let start = Math.max(0, bytes.length - max);
  while (continues(bytes[start])) start += 1;
  return textOf(bytes.subarray(start));
}

/**
 * What of a text is beyond its first `count` bytes; undefined where that is nothing, or no border.
 * @param {string} text
 * @param {number} count
 */
export function beyond(text, count) {
  const bytes = encoder.encode(text);
  return count < bytes.length && !continues(bytes[count]) ? textOf(bytes.subarray(count)) : undefined;
}
