// A text that grows, as Markdown in the document. Only its last block is looked at again; what stands
// before it is never touched, and in the last block only what has changed: a selection stays where it is,
// and text is added to where it is.

import { blocks } from './markdown.js';
import { visible } from './visible.js';

/** @typedef {import('./inline.js').Node} Node */

/** Text beyond this is shown as it is, in a block of its own. */
const RICH_MAX = 512 * 1024;
/** One look in so many milliseconds at what takes one: a text that is slow to read is looked at less often. */
const SHARE = 8;

/** Makes what is to be. @param {Node} node @returns {globalThis.Node} */
function made(node) {
  if (typeof node === 'string') return document.createTextNode(node);
  const element = document.createElement(node.t);
  if (node.c) element.className = node.c;
  for (const [name, value] of Object.entries(node.a ?? {})) element.setAttribute(name, value);
  Object.assign(element, node.p);
  element.append(...node.k.map(made));
  return element;
}

/** @param {Node} a @param {Node} b */
function isAlike(a, b) {
  if (typeof a === 'string' || typeof b === 'string') return typeof a === typeof b;
  const names = Object.keys(a.a ?? {});
  return a.t === b.t && a.c === b.c && names.length === Object.keys(b.a ?? {}).length && names.every((name) => a.a?.[name] === b.a?.[name]);
}

/**
 * Makes the children of an element what they are to be, and touches only what is another.
 * @param {Element} parent
 * @param {Node[]} old what they are
 * @param {Node[]} next
 * @param {ChildNode | null} [first] where they begin
 */
export function patch(parent, old, next, first = parent.firstChild) {
  let node = first;
  for (const [n, wanted] of next.entries()) {
    const was = old[n];
    if (was === undefined || !node) parent.append(made(wanted));
    else if (!isAlike(was, wanted)) {
      const fresh = made(wanted);
      node.replaceWith(fresh);
      node = fresh;
    } else if (typeof wanted === 'string') {
      const text = /** @type {Text} */ (node), before = /** @type {string} */ (was);
      if (wanted !== before) wanted.startsWith(before) ? text.appendData(wanted.slice(before.length)) : (text.data = wanted);
    } else {
      Object.assign(node, wanted.p);
      patch(/** @type {Element} */ (node), /** @type {any} */ (was).k, wanted.k);
    }
    node = node?.nextSibling ?? null;
  }
  while (node) {
    const after = node.nextSibling;
    node.remove();
    node = after;
  }
}

/** A text that grows. */
export class Streamed {
  element = document.createElement('div');
  /** Where the blocks that are still looked at begin in the text. */
  #from = 0;
  /** The blocks that are still looked at. @type {Node[]} */
  #open = [];
  /** How many are done before them: those elements are never touched again. */
  #done = 0;
  #text = '';
  #isOpen = true;
  #notBefore = 0;
  /** What is beyond the bound. @type {HTMLPreElement | undefined} */
  #plain = undefined;
  #beyond = 0;

  constructor() {
    this.element.className = 'md';
    this.element.dir = 'auto';
  }

  /**
   * @param {string} text all of it
   * @param {boolean} isOpen whether more may follow
   * @returns {boolean} whether it is shown; else call again soon
   */
  show(text, isOpen) {
    if (text === this.#text && isOpen === this.#isOpen) return true;
    const began = performance.now();
    if (isOpen && began < this.#notBefore) return false;
    if (!text.startsWith(this.#text)) this.#clear();
    this.#text = text;
    this.#isOpen = isOpen;
    this.#draw(text.slice(0, RICH_MAX), isOpen && text.length < RICH_MAX);
    if (text.length > RICH_MAX) this.#overflow(text.slice(RICH_MAX));
    this.#notBefore = began + SHARE * (performance.now() - began);
    return true;
  }

  #clear() {
    this.element.replaceChildren();
    this.#plain = undefined;
    this.#from = this.#done = this.#beyond = 0;
    this.#open = [];
  }

  /** @param {string} text @param {boolean} isOpen */
  #draw(text, isOpen) {
    if (this.#plain) return; // What is before the bound is done.
    const found = blocks(text, this.#from, isOpen);
    patch(this.element, this.#open, found.map(({ node }) => node), this.element.children[this.#done] ?? null);
    // A block is done when the next one has begun with a whole line: half a line may still be anything.
    const last = found.at(-1);
    const isSure = last !== undefined && (!isOpen || text.indexOf('\n', last.at) >= 0);
    const done = Math.max(0, found.length - (isSure ? 1 : 2));
    this.#done += done;
    this.#open = found.slice(done).map(({ node }) => node);
    this.#from = found[done]?.at ?? this.#from;
  }

  /** @param {string} rest */
  #overflow(rest) {
    if (!this.#plain) {
      this.#plain = document.createElement('pre');
      this.element.append(this.#plain);
    }
    this.#plain.append(visible(rest.slice(this.#beyond)));
    this.#beyond = rest.length;
  }
}
