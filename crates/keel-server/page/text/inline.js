// What stands inside a line of Markdown: emphasis, code, links. What is not understood stays the text
// that it is; so does HTML.

import { link } from './link.js';
import { pieces } from './visible.js';

/**
 * A node to be: a text, or an element with a class, attributes, properties and children.
 * @typedef {string | { t: string, c?: string, a?: Record<string, string>, p?: Record<string, unknown>, k: Node[] }} Node
 */
/** @typedef {{ mark: string, n: number, opens: boolean, closes: boolean }} Mark a run of `*`, `_` or `~` */

/** Beginnings of an emphasis that wait for its end: what keeps hostile text from taking long, or deep. */
const OPENERS_MAX = 32;
/** Signs of a mark; with more of them it is text. Each may be an element around the one before. */
const SIGNS_MAX = 12;
const BRACKETS_MAX = 32;
/** Characters of an address that is one without being called so. */
const URL_MAX = 2_048;

const PUNCTUATION = /[!-/:-@[-`{-~\p{P}\p{S}]/u, SPACE = /\s/u, WORD = /[\p{L}\p{N}]/u;
const PLAIN = /[^\\`*_~[\]!<hH]+/y;
const BARE = /https?:\/\/[^\s<>"'`\\^{|}[\]]+/iy;
const ANGLE = /<((?:https?:\/\/|mailto:)[^\s<>]*)>/iy;
const TARGET = /\(\s{0,99}(?:<([^<>\n]*)>|((?:[^\s()<>]|\([^\s()<>]*\))*))(?:\s{1,99}(?:"[^"\n]{0,500}"|'[^'\n]{0,500}'))?\s{0,99}\)/y;

/** @param {RegExp} pattern @param {string} text @param {number} at */
function match(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

/**
 * @param {string} text
 * @param {boolean} [isOpen] whether more of it may follow: a mark that still lacks its end counts as ended
 * @returns {Node[]}
 */
export function inline(text, isOpen = false) {
  /** @type {(Node | Mark)[]} */
  const out = [];
  /** @type {{ at: number, from: number, isImage: boolean, isAround?: boolean }[]} `isAround`: of a link, and so none itself */
  const brackets = [];
  const unended = new Set(); // lengths of backtick runs that nothing ends
  let at = 0;
  while (at < text.length) {
    const plain = match(PLAIN, text, at);
    if (plain) {
      out.push(plain[0]);
      at += plain[0].length;
      continue;
    }
    const sign = text.charAt(at);
    if (sign === '\\') {
      const next = text.charAt(at + 1), isEscape = /[!-/:-@[-`{-~]/.test(next);
      out.push(isEscape ? next : '\\');
      at += isEscape ? 2 : 1;
    } else if (sign === '`') {
      const run = /`+/y, length = (match(run, text, at) ?? [''])[0].length;
      const end = unended.has(length) ? -1 : endOfCode(text, at + length, length);
      if (end < 0) unended.add(length);
      const isLast = end < 0 && isOpen && length === 1 && at + 1 < text.length;
      if (end < 0 && !isLast) out.push('`'.repeat(length));
      else out.push(code(text.slice(at + length, isLast ? text.length : end)));
      at = isLast ? text.length : end < 0 ? at + length : end + length;
    } else if (sign === '*' || sign === '_' || sign === '~') {
      let end = at + 1;
      while (text.charAt(end) === sign) end += 1;
      out.push(mark(text, at, end));
      at = end;
    } else if (sign === '[' || (sign === '!' && text.charAt(at + 1) === '[')) {
      const isImage = sign === '!';
      if (brackets.length < BRACKETS_MAX) brackets.push({ at: out.length, from: at, isImage });
      out.push(isImage ? '![' : '[');
      at += isImage ? 2 : 1;
    } else if (sign === ']') {
      const bracket = brackets.pop(), target = bracket && !bracket.isAround && match(TARGET, text, at + 1);
      const end = target ? at + 1 + target[0].length : at + 1;
      if (bracket && target) {
        const label = emphasis(out.slice(bracket.at + 1), false);
        const made = link(target[1] ?? target[2] ?? '', label, bracket.isImage);
        out.splice(bracket.at, out.length, ...(made ?? [text.slice(bracket.from, end)]));
        if (made && !bracket.isImage) for (const outer of brackets) outer.isAround = true;
      } else out.push(']');
      at = end;
    } else {
      const angle = sign === '<' ? match(ANGLE, text, at) : null;
      const bare = sign === 'h' || sign === 'H' ? !WORD.test(text.charAt(at - 1)) && match(BARE, text, at) : null;
      const url = angle?.[1] ?? (bare && bare[0].length <= URL_MAX ? withoutEnd(bare[0]) : undefined);
      const made = url && link(url, [url], false);
      const said = angle?.[0] ?? url ?? (bare ? bare[0] : sign);
      out.push(...(made || [said]));
      at += said.length;
    }
  }
  return shown(emphasis(out, isOpen));
}

/** What ends a sentence does not belong to the address in it. @param {string} url */
function withoutEnd(url) {
  let end = url.replace(/[.,;:!?*_~]+$/u, '');
  while (end.endsWith(')') && end.split(')').length > end.split('(').length) end = end.slice(0, -1).replace(/[.,;:!?*_~]+$/u, '');
  return end;
}

/** @param {string} text @param {number} from @param {number} length */
function endOfCode(text, from, length) {
  for (let at = text.indexOf('`', from); at >= 0; at = text.indexOf('`', at)) {
    let end = at + 1;
    while (text.charAt(end) === '`') end += 1;
    if (end - at === length) return at;
    at = end;
  }
  return -1;
}

/** @param {string} text @returns {Node} */
function code(text) {
  const isPadded = text.length > 2 && text.startsWith(' ') && text.endsWith(' ') && text.trim() !== '';
  return { t: 'code', k: [isPadded ? text.slice(1, -1) : text] };
}

/** @param {string} text @param {number} at @param {number} end @returns {Node | Mark} */
function mark(text, at, end) {
  const sign = text.charAt(at), before = [...text.slice(Math.max(0, at - 2), at)].at(-1) ?? '', after = String.fromCodePoint(text.codePointAt(end) ?? 0x20);
  const n = end - at;
  if (n > SIGNS_MAX || (sign === '~' && n !== 2)) return sign.repeat(n);
  const isAfterSpace = before === '' || SPACE.test(before), isBeforeSpace = end >= text.length || SPACE.test(after);
  const isAfterSign = PUNCTUATION.test(before), isBeforeSign = PUNCTUATION.test(after);
  let opens = !isBeforeSpace && (!isBeforeSign || isAfterSpace || isAfterSign);
  let closes = !isAfterSpace && (!isAfterSign || isBeforeSpace || isBeforeSign);
  if (sign === '_') [opens, closes] = [opens && !WORD.test(before), closes && (isBeforeSpace || !WORD.test(after))];
  return { mark: sign, n, opens, closes };
}

/**
 * Marks become elements, in pairs; what has no other half is text.
 * @param {(Node | Mark)[]} items
 * @param {boolean} isOpen
 * @returns {Node[]}
 */
function emphasis(items, isOpen) {
  /** @type {(Node | Mark)[]} */
  const out = [];
  /** @type {{ at: number, run: Mark }[]} */
  const openers = [];
  for (const item of items) {
    if (typeof item === 'string' || 't' in item) {
      out.push(item);
      continue;
    }
    const run = { ...item };
    while (run.closes && run.n > 0) {
      let at = openers.length - 1;
      while (at >= 0 && openers[at].run.mark !== run.mark) at -= 1;
      if (at < 0) break;
      const opener = openers[at], n = Math.min(2, opener.run.n, run.n);
      const kids = texts(out.splice(opener.at + 1));
      out.push({ t: run.mark === '~' ? 'del' : n === 2 ? 'strong' : 'em', k: kids });
      opener.run.n -= n;
      run.n -= n;
      openers.length = opener.run.n > 0 ? at + 1 : at;
      if (opener.run.n === 0) out.splice(opener.at, 1);
    }
    if (run.n === 0) continue;
    if (run.opens && openers.push({ at: out.length, run }) > OPENERS_MAX) openers.shift();
    out.push(run);
  }
  const last = openers.findLast(({ run, at }) => run.n === 2 && run.mark !== '~' && at < out.length - 1);
  if (isOpen && last) {
    const kids = texts(out.splice(last.at + 1));
    out.splice(last.at, 1, { t: 'strong', k: kids });
  }
  return texts(out);
}

/** @param {(Node | Mark)[]} items @returns {Node[]} */
const texts = (items) => items.map((item) => (typeof item === 'object' && 'mark' in item ? item.mark.repeat(item.n) : item));

/** Texts side by side are one, with what cannot be seen in them shown. @param {Node[]} nodes @returns {Node[]} */
export function shown(nodes) {
  /** @type {Node[]} */
  const out = [];
  let text = '';
  const flush = () => {
    if (text) out.push(...letters(text));
    text = '';
  };
  for (const node of nodes) {
    if (typeof node === 'string') text += node;
    else {
      flush();
      out.push({ ...node, k: shown(node.k) });
    }
  }
  flush();
  return out;
}

/** A text with what cannot be seen in it shown. @param {string} text @returns {Node[]} */
export const letters = (text) => pieces(text).map(({ text, isName }) => (isName ? { t: 'span', c: 'esc', k: [text] } : text));
