// The few things that are done to the document. Text goes in as text: nothing here makes markup of it, and
// what cannot be seen in it is called by its name.

import { visible } from './text/visible.js';

export const $ = (id) => document.getElementById(id);

/** Sets a node's text, if it is another. */
export function put(node, text) {
  const shown = visible(text);
  if (node.textContent !== shown) node.textContent = shown;
}

/** A new element with a text, a class and children. */
export function make(name, { text, kind, children = [], ...members } = {}) {
  const node = document.createElement(name);
  if (text !== undefined) node.textContent = visible(text);
  if (kind) node.className = kind;
  node.append(...children);
  return Object.assign(node, members);
}

/** A button that does something. */
export function button(text, run, { title = '', kind = '' } = {}) {
  const node = make('button', { text, kind, type: 'button', title });
  node.addEventListener('click', run);
  return node;
}

/** Keeps one node for each item of a list, in its order: what is focused or selected stays so. */
export function keyed(list, items, keyOf, create, update) {
  const old = new Map([...list.children].map((node) => [node.dataset.key, node]));
  let before = null;
  for (const item of items) {
    const key = keyOf(item);
    let node = old.get(key);
    old.delete(key);
    if (!node) {
      node = create(item);
      node.dataset.key = key;
    }
    update(node, item);
    const place = before ? before.nextSibling : list.firstChild;
    if (place !== node) list.insertBefore(node, place);
    before = node;
  }
  for (const node of old.values()) node.remove();
}

/** Changes what is in a box; whose focus goes with it, or is on what can be used no longer, goes on elsewhere. @param {Element} box @param {() => void} change @param {() => HTMLElement} elsewhere */
export function keepFocus(box, change, elsewhere) {
  const had = box.contains(document.activeElement);
  change();
  const { activeElement } = document;
  if (had && (activeElement === document.body || activeElement?.checkVisibility() === false || activeElement?.matches(':disabled'))) elsewhere().focus({ preventScroll: true });
}

/** Where one goes on in the conversation: the field, or what was said for who has none, or a keyboard on glass. */
export const conversation = () => ($('text').checkVisibility() && matchMedia('(hover: hover)').matches ? $('text') : $('turns'));

export const span = (ms) => (ms >= 9_950 ? `${Math.round(ms / 1e3)} s` : ms >= 995 ? `${(ms / 1e3).toFixed(1)} s` : `${Math.max(0, Math.round(ms))} ms`);
export const clock = (at) => new Date(at).toLocaleTimeString('en-GB');
