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
   * @param {string} [message]
   */
  constructor(kind, message = `the frame is ${kind}`) {
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

/** A value that is as it must be. @param {string} want @param {(value: any) => boolean} is @returns {Reader<any>} */
const what = (want, is) => (value, at) => (is(value) ? value : refuse(at, want));

/** @param {number} max @returns {Reader<number>} */
const integer = (max) => what('an integer', (value) => Number.isInteger(value) && value >= 0 && value <= max);

/** A position, or a count that must survive JavaScript. */
export const seq = integer(INTEGER_MAX);
export const u64 = integer(2 ** 64);
export const u32 = integer(2 ** 32 - 1);

/** @type {Reader<string>} */
export const string = what('a string', (value) => typeof value === 'string' && !/\p{Cs}/u.test(value));

/** @type {Reader<string>} */
export const id = what('an id', (value) => typeof value === 'string' && /^[a-z0-9-]{1,64}$/.test(value));

/** @type {Reader<boolean>} */
export const boolean = what('a boolean', (value) => typeof value === 'boolean');

/** Any JSON. @type {Reader<any>} */
export const json = what('a value', (value) => value !== undefined);

/** @type {Reader<Record<string, any>>} */
export const map = what('an object', isObject);

/** @param {string} names separated by spaces */
export const word = (names) => what(`one of ${names}`, (value) => names.split(' ').includes(value));

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
  const made = value === undefined ? {} : read(value, at);
  return Object.keys(made).length ? made : undefined;
};

/** What an object has itself, and not by its prototype. @param {any} object @param {any} name */
export const own = (object, name) => (Object.hasOwn(object, name) ? object[name] : undefined);

/** @param {Members} members @returns {Reader<any>} */
export const object = (members) => (value, at) => {
  /** @type {Record<string, unknown>} */
  const made = {};
  map(value, at);
  for (const [name, read] of Object.entries(members)) {
    const member = read(own(value, name), at ? `${at}.${name}` : name);
    if (member !== undefined) made[name] = member;
  }
  return made;
};

/**
 * One of several shapes, by the word in its member `tag`, besides the members of all.
 * @param {string} tag
 * @param {Record<string, Members>} shapes
 * @param {Members} [common]
 * @returns {Reader<any>}
 */
export const tagged = (tag, shapes, common) => (value, at) => {
  const members = own(shapes, own(map(value, at), tag)) ?? refuse(`${at}.${tag}`, `one of ${Object.keys(shapes).join(' ')}`);
  return object({ [tag]: json, ...members, ...common })(value, at);
};

/**
 * One WebSocket message as text, if it is small and flat enough to be parsed.
 * @param {string | Uint8Array} data
 * @param {number} max
 */
function text(data, max) {
  const isText = typeof data === 'string';
  const bytes = !isText ? data.length : data.length * 3 <= max ? 0 : bytesOf(data);
  if (bytes > max) throw new DecodeError('too_large');
  try {
    return isText ? data : textOf(data);
  } catch {
    throw new DecodeError('not_utf8');
  }
}

/**
 * One pass over the brackets outside strings: refuses what nests too deep, and gives back the names
 * that the outermost object has twice. What is not JSON is left to the parser.
 * @param {string} json
 */
function scan(json) {
  const names = new Set(), twice = new Set();
  let depth = 0;
  for (const [token, name, colon] of json.matchAll(/"((?:[^"\\]|\\[^])*)"(\s*:)?|[[{\]}]/g)) {
    if (name !== undefined) {
      if (colon && depth === 1) (names.has(name) ? twice : names).add(name);
    } else if ((depth = Math.max(0, depth + ('[{'.includes(token) ? 1 : -1))) > JSON_DEPTH_MAX) {
      throw new DecodeError('too_deep');
    }
  }
  return twice;
}

/**
 * Reads one WebSocket message by the frames that there are. One of a type that is not known is no
 * error: it comes back as `{ unknown }`.
 * @param {Record<string, Members>} frames
 * @param {string | Uint8Array} data
 * @param {number} max
 * @returns {{ frame: any } | { unknown: string }}
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
  const members = own(frames, type);
  if (!members) return { unknown: type };
  for (const name of ['type', ...Object.keys(members)]) if (twice.has(name)) refuse(name, 'it once');
  return { frame: { type, ...object(members)(value, '') } };
}
