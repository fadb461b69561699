// Markdown in blocks. Total: every text has a shape, and each of its letters is in it. HTML is text.

import { inline, letters } from './inline.js';

/** @typedef {import('./inline.js').Node} Node */
/** @typedef {{ at: number, node: Node }} Block and where in the text it begins */

/** Lists and quotes inside each other; deeper ones are text. */
const DEPTH_MAX = 8;
/** Characters of a paragraph; what follows is another. */
const PARAGRAPH_MAX = 64 * 1024;
const COLUMNS_MAX = 64;

const BLANK = /^\s*$/;
const HEADING = /^ {0,3}(#{1,6})(?=[ \t]|$)/;
const FENCE = /^ {0,3}(`{3,}(?=[^`]*$)|~{3,})([^]*)$/;
const RULE = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const QUOTE = /^ {0,3}>[ \t]?/;
const MARKER = /^([ \t]*)([-*+]|\d{1,9}[.)])([ \t]+|$)/;
const TASK = /^\[([ xX])\][ \t]+/;
const DELIMITER = /^:?-+:?$/;

/**
 * @param {string} text
 * @param {number} [from] where to begin: at the beginning of a block
 * @param {boolean} [isOpen] whether more of it may follow
 * @returns {Block[]}
 */
export function blocks(text, from = 0, isOpen = false) {
  const lines = text.slice(from).split('\n').map((line) => line.replace(/\r$/, ''));
  const starts = [];
  let at = from;
  for (const line of text.slice(from).split('\n')) {
    starts.push(at);
    at += line.length + 1;
  }
  return parse(lines, 0, isOpen).map(({ at, node }) => ({ at: starts[at], node }));
}

/** @param {string[]} lines @param {number} depth @param {boolean} isOpen @returns {Block[]} `at` in lines */
function parse(lines, depth, isOpen) {
  /** @type {Block[]} */
  const found = [];
  let at = 0;
  while (at < lines.length) {
    if (BLANK.test(lines[at])) {
      at += 1;
      continue;
    }
    const [node, end] = block(lines, at, depth, isOpen);
    found.push({ at, node });
    at = end;
  }
  return found;
}

/** @param {string[]} lines @param {number} at @param {number} depth @param {boolean} isOpen @returns {[Node, number]} the block, and the line after it */
function block(lines, at, depth, isOpen) {
  const line = lines[at], last = (/** @type {number} */ end) => isOpen && end >= lines.length;
  const fence = FENCE.exec(line);
  if (fence) return fenced(lines, at, fence);
  const heading = HEADING.exec(line);
  if (heading) return [{ t: `h${Math.min(6, heading[1].length + 2)}`, k: inline(line.slice(heading[0].length).trim(), last(at + 1)) }, at + 1];
  if (RULE.test(line)) return [{ t: 'hr', k: [] }, at + 1];
  if (depth < DEPTH_MAX) {
    if (QUOTE.test(line)) {
      let end = at;
      while (end < lines.length && (QUOTE.test(lines[end]) || (end > at && !BLANK.test(lines[end]) && !begins(lines, end)))) end += 1;
      const inner = lines.slice(at, end).map((line) => line.replace(QUOTE, ''));
      return [{ t: 'blockquote', k: nodes(inner, depth, last(end)) }, end];
    }
    if (MARKER.test(line)) return list(lines, at, depth, isOpen);
  }
  if (isTable(lines, at)) return table(lines, at, isOpen);
  let end = at + 1, length = line.length;
  while (end < lines.length && length < PARAGRAPH_MAX && !BLANK.test(lines[end]) && !begins(lines, end)) {
    length += lines[end].length + 1;
    end += 1;
  }
  return [{ t: 'p', k: inline(lines.slice(at, end).join('\n'), last(end)) }, end];
}

/** Whether a line ends the paragraph before it. @param {string[]} lines @param {number} at */
function begins(lines, at) {
  const line = lines[at], marker = MARKER.exec(line);
  // A number at the beginning of a line is seldom a list, unless it is a one.
  const isItem = marker && marker[3] !== '' && (!/\d/.test(marker[2]) || /^1[.)]$/.test(marker[2]));
  return isItem || FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || isTable(lines, at);
}

/** @param {string[]} lines @param {number} depth @param {boolean} isOpen */
const nodes = (lines, depth, isOpen) => parse(lines, depth + 1, isOpen).map(({ node }) => node);

/** @param {string[]} lines @param {number} at @param {RegExpExecArray} fence @returns {[Node, number]} */
function fenced(lines, at, [, mark, language]) {
  const isEnd = (/** @type {string} */ line) => {
    const text = line.trim();
    return text.length >= mark.length && text === mark.charAt(0).repeat(text.length);
  };
  let end = at + 1;
  while (end < lines.length && !isEnd(lines[end])) end += 1;
  return [codeBlock(lines.slice(at + 1, end).join('\n'), language.trim().split(/\s/)[0]), Math.min(lines.length, end + 1)];
}

/** A text as it is, to be copied. @param {string} text @param {string} [language] @returns {Node} */
export function codeBlock(text, language = '') {
  const name = language ? letters(language) : ['text'];
  return { t: 'div', c: 'code', k: [
    { t: 'div', c: 'code-head', k: [{ t: 'span', k: name }, { t: 'button', c: 'small quiet copy', a: { type: 'button' }, k: ['Copy'] }] },
    { t: 'pre', a: { tabindex: '0' }, p: { source: text }, k: [{ t: 'code', k: letters(text) }] },
  ] };
}

/** @param {string} line */
const indent = (line) => line.match(/^[ \t]*/)?.[0].replaceAll('\t', '    ').length ?? 0;
/** @param {string} line @param {number} n */
const dedent = (line, n) => line.replaceAll('\t', '    ').slice(Math.min(n, indent(line)));

/** @param {string[]} lines @param {number} at @param {number} depth @param {boolean} isOpen @returns {[Node, number]} */
function list(lines, at, depth, isOpen) {
  const first = /** @type {RegExpExecArray} */ (MARKER.exec(lines[at])), base = indent(lines[at]), isOrdered = /\d/.test(first[2]);
  /** @type {string[][]} */
  const items = [];
  let end = at, kept = at;
  while (end < lines.length) {
    const line = lines[end], isBlank = BLANK.test(line), marker = isBlank ? null : MARKER.exec(line), deep = indent(line);
    const isSibling = marker && deep < base + 2 && /\d/.test(marker[2]) === isOrdered && !RULE.test(line);
    if (isSibling) items.push([dedent(line.slice(marker[0].length), 0)]);
    else if (isBlank) items.at(-1)?.push('');
    else if (deep >= base + 2) items.at(-1)?.push(dedent(line, base + (isOrdered ? first[2].length + 1 : 2)));
    else if (kept === end && !begins(lines, end)) items.at(-1)?.push(line); // goes on without its indent
    else break;
    end += 1;
    if (!isBlank) kept = end;
  }
  const a = isOrdered && first[2] !== '1.' ? { start: String(Number.parseInt(first[2], 10)) } : undefined;
  const isLast = isOpen && end >= lines.length;
  const kids = items.map((inner, n) => item(inner, depth, isLast && n === items.length - 1));
  return [{ t: isOrdered ? 'ol' : 'ul', a, k: kids }, kept];
}

/** @param {string[]} lines @param {number} depth @param {boolean} isOpen @returns {Node} */
function item(lines, depth, isOpen) {
  const task = TASK.exec(lines[0]);
  const inner = task ? [lines[0].slice(task[0].length), ...lines.slice(1)] : lines;
  // The first paragraph of an item stands beside its mark.
  const [head, ...rest] = nodes(inner, depth, isOpen);
  const kids = typeof head === 'object' && head.t === 'p' ? [...head.k, ...rest] : head === undefined ? [] : [head, ...rest];
  if (!task) return { t: 'li', k: kids };
  const isDone = task[1] !== ' ';
  return { t: 'li', c: 'task', k: [{ t: 'span', c: 'box', a: { role: 'img', 'aria-label': isDone ? 'done' : 'to do' }, k: [isDone ? '☑' : '☐'] }, ' ', ...kids] };
}

/** @param {string} line */
function cells(line) {
  const inner = line.trim().replace(/^\|/, '').replace(/(?<!\\)\|$/, '');
  return inner.split(/(?<!\\)\|/).slice(0, COLUMNS_MAX).map((cell) => cell.trim().replaceAll('\\|', '|'));
}

/** @param {string[]} lines @param {number} at */
function isTable(lines, at) {
  const next = lines[at + 1];
  if (next === undefined || !next.includes('-') || !lines[at].includes('|') || !next.includes('|')) return false;
  const sides = cells(next);
  return sides.every((cell) => DELIMITER.test(cell)) && cells(lines[at]).length === sides.length;
}

/** @param {string[]} lines @param {number} at @param {boolean} isOpen @returns {[Node, number]} */
function table(lines, at, isOpen) {
  const sides = cells(lines[at + 1]).map((cell) => (cell.endsWith(':') ? (cell.startsWith(':') ? 'to-middle' : 'to-end') : ''));
  const row = (/** @type {string} */ line, /** @type {string} */ t, /** @type {boolean} */ isLast) => {
    const texts = cells(line);
    return { t: 'tr', k: sides.map((c, n) => ({ t, c, a: t === 'th' ? { scope: 'col' } : undefined, k: inline(texts[n] ?? '', isLast) })) };
  };
  let end = at + 2;
  while (end < lines.length && lines[end].includes('|')) end += 1;
  const rows = lines.slice(at + 2, end).map((line, n) => row(line, 'td', isOpen && at + 3 + n >= lines.length));
  const kids = [{ t: 'thead', k: [row(lines[at], 'th', false)] }, ...(rows.length > 0 ? [{ t: 'tbody', k: rows }] : [])];
  return [{ t: 'div', c: 'table', a: { tabindex: '0', role: 'group', 'aria-label': 'Table' }, k: [{ t: 'table', k: kids }] }, end];
}
