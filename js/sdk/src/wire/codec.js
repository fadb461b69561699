// JSON text to values of the wire, with bounds. Mirrors `keel-wire/src/codec.rs`.
//
// The order of the checks is the defence: size, then UTF-8, then depth (one pass without recursion),
// and only then a JSON parser. A reader makes a new value of what it knows: unknown members are left
// behind, missing ones get their default, and nothing is ever looked up on a prototype.

import { INTEGER_MAX, JSON_DEPTH_MAX } from './limits.js';
import { isObject } from './merge.js';
import { bytesOf, textOf } from './utf8.js';

/** Why bytes are not a frame: `kind` is `too_large`, `not_utf8`, `too_deep` or `shape`. */
export class DecodeError extends Error {
  /**
   * @param {'too_large' | 'not_utf8' | 'too_deep' | 'shape'} kind
   * @param {string} message
   */
  constructor(kind, message) {
    super(message);
    this.kind = kind;
  }
}

/**
 * A reader: the value, made anew, or an error that names the member.
 * @template T
 * @typedef {(value: unknown, at: string) => T} Reader
 */
/** @typedef {Record<string, Reader<any>>} Members */

/**
 * @param {string} at
 * @param {string} want
 * @returns {never}
 */
function refuse(at, want) {
  throw new DecodeError('shape', `${at || 'the frame'}: want ${want}`);
}

/** @param {number} max @returns {Reader<number>} */
const integer = (max) => (value, at) =>
  typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= max ? value : refuse(at, 'an integer');

/** A position, or a count that must survive JavaScript. */
export const seq = integer(INTEGER_MAX);
export const u64 = integer(2 ** 64);
export const u32 = integer(2 ** 32 - 1);

/** @type {Reader<string>} */
export const string = (value, at) => (typeof value === 'string' && !/\p{Cs}/u.test(value) ? value : refuse(at, 'a string'));

/** @type {Reader<string>} */
export const id = (value, at) => (typeof value === 'string' && /^[a-z0-9-]{1,64}$/.test(value) ? value : refuse(at, 'an id'));

/** @type {Reader<boolean>} */
export const boolean = (value, at) => (typeof value === 'boolean' ? value : refuse(at, 'true or false'));

/** Any JSON. @type {Reader<any>} */
export const json = (value, at) => (value === undefined ? refuse(at, 'a value') : value);

/**
 * May be missing, or null.
 * @template T
 * @param {Reader<T>} read
 * @returns {Reader<T | undefined>}
 */
export const optional = (read) => (value, at) => (value === undefined || value === null ? undefined : read(value, at));

/**
 * May be missing, and is then this.
 * @template T
 * @param {Reader<T>} read
 * @param {() => T} make
 * @returns {Reader<T>}
 */
export const or = (read, make) => (value, at) => (value === undefined ? make() : read(value, at));

/**
 * @template T
 * @param {Reader<T>} read
 * @returns {Reader<T[]>}
 */
export const list = (read) => (value, at) => (Array.isArray(value) ? value.map((item, n) => read(item, `${at}[${n}]`)) : refuse(at, 'a list'));

/**
 * A list, or an object of anything, that is left out where it is empty.
 * @param {Reader<any>} read
 * @returns {Reader<any>}
 */
export const filled = (read) => (value, at) => {
  const made = value === undefined ? undefined : read(value, at);
  return made && Object.keys(made).length > 0 ? made : undefined;
};

/** @type {Reader<Record<string, any>>} */
export const map = (value, at) => (isObject(value) ? value : refuse(at, 'an object'));

/** @param {string} names separated by spaces */
export const word = (names) => {
  const known = names.split(' ');
  /** @type {Reader<any>} */
  return (value, at) => (known.includes(/** @type {string} */ (value)) ? value : refuse(at, `one of ${names}`));
};

/** @param {Members} members @returns {Reader<any>} */
export const object = (members) => (value, at) => {
  const from = map(value, at);
  /** @type {Record<string, unknown>} */
  const made = {};
  for (const [name, read] of Object.entries(members)) {
    const member = read(Object.hasOwn(from, name) ? from[name] : undefined, at ? `${at}.${name}` : name);
    if (member !== undefined) made[name] = member;
  }
  return made;
};

/**
 * One of several shapes, by the word in its member `tag`, besides the members of all.
 * @param {string} tag
 * @param {Record<string, Members>} shapes
 * @param {Members} [common]
 */
export const tagged = (tag, shapes, common = {}) => {
  const readers = new Map(Object.entries(shapes).map(([name, members]) => [name, object({ [tag]: json, ...members, ...common })]));
  /** @type {Reader<any>} */
  return (value, at) => {
    const from = map(value, at);
    const read = Object.hasOwn(from, tag) && readers.get(from[tag]);
    return read ? read(from, at) : refuse(`${at}.${tag}`, `one of ${[...readers.keys()].join(' ')}`);
  };
};

/**
 * One WebSocket message as text, if it is small and flat enough to be parsed.
 * @param {string | Uint8Array} data
 * @param {number} max
 */
function text(data, max) {
  const bytes = typeof data !== 'string' ? data.length : data.length * 3 <= max ? 0 : bytesOf(data);
  if (bytes > max) throw new DecodeError('too_large', `the frame has ${bytes} bytes, ${max} are allowed`);
  if (typeof data === 'string') return data;
  try {
    return textOf(data);
  } catch {
    throw new DecodeError('not_utf8', 'the frame is not UTF-8');
  }
}

/**
 * One pass over the brackets outside strings: refuses what nests too deep, and gives back the names
 * that the outermost object has twice. What is not JSON is left to the parser.
 * @param {string} json
 */
function scan(json) {
  const names = new Set(), twice = new Set();
  const tokens = /"(?:[^"\\]|\\[^])*"|[[{\]}]/g;
  let depth = 0;
  for (let token; (token = tokens.exec(json)); ) {
    const first = token[0][0];
    if (first === '[' || first === '{') depth += 1;
    else if (first !== '"') depth = Math.max(0, depth - 1);
    else if (depth === 1 && /^\s*:/.test(json.slice(tokens.lastIndex, tokens.lastIndex + 8))) {
      (names.has(token[0]) ? twice : names).add(token[0]);
    }
    if (depth > JSON_DEPTH_MAX) throw new DecodeError('too_deep', `the frame nests deeper than ${JSON_DEPTH_MAX}`);
  }
  return twice;
}

/**
 * Reads one WebSocket message by the frames that there are. One of a type that is not known is no
 * error: it comes back as `{ unknown }`.
 * @template {{ type: string }} F
 * @param {Map<string, Members>} frames
 * @param {string | Uint8Array} data
 * @param {number} max
 * @returns {{ frame: F } | { unknown: string }}
 * @throws {DecodeError}
 */
export function decode(frames, data, max) {
  const source = text(data, max);
  const twice = scan(source);
  let value;
  try {
    value = JSON.parse(source);
  } catch (error) {
    throw new DecodeError('shape', /** @type {Error} */ (error).message);
  }
  const { type } = object({ type: string })(value, '');
  const members = frames.get(type);
  if (!members) return { unknown: type };
  for (const name of ['type', ...Object.keys(members)]) if (twice.has(`"${name}"`)) refuse(name, 'it once');
  return { frame: { type, ...object(members)(value, '') } };
}
