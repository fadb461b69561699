// The field for text: its keys, its height, and what is kept of it over a reload.

import { $ } from '../dom.js';

const KEPT = 'evenkeel.draft.';
/** Characters of a draft that are kept. */
const DRAFT_MAX = 100_000;
/** How long a first Escape waits for the second. */
const ESCAPE_MS = 2_500;

/** @param {string} session */
function kept(session) {
  try {
    return sessionStorage.getItem(KEPT + session) ?? '';
  } catch {
    return '';
  }
}

function keep(session, text) {
  try {
    if (text) sessionStorage.setItem(KEPT + session, text.slice(0, DRAFT_MAX));
    else sessionStorage.removeItem(KEPT + session);
  } catch {
    // Storage is forbidden or full: a reload forgets it.
  }
}

export class Composer {
  /** Whose draft it is. @type {string | undefined} */
  #session = undefined;
  #escapedAt = -Infinity;

  /** @param {{ say: (text: string) => void, stop: () => void, canStop: () => boolean, changed: () => void }} act */
  constructor(act) {
    this.field = $('text');
    $('say').addEventListener('submit', (event) => {
      event.preventDefault();
      const text = this.field.value;
      if (text.trim() === '') return;
      this.put('');
      act.say(text);
    });
    this.field.addEventListener('input', () => {
      this.#grow();
      if (this.#session) keep(this.#session, this.field.value);
    });
    this.field.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      $('say').requestSubmit();
    });
    // The first Escape asks, the second stops: a turn is not lost by a slip.
    $('chat').addEventListener('keydown', (event) => {
      if (event.key !== 'Escape' || event.isComposing || event.defaultPrevented || !act.canStop()) return;
      event.preventDefault();
      if (this.isAsking) {
        this.#escapedAt = -Infinity;
        act.stop();
      } else {
        this.#escapedAt = performance.now();
        setTimeout(act.changed, ESCAPE_MS + 50);
      }
      act.changed();
    });
  }

  /** Whether another Escape stops. */
  get isAsking() {
    return performance.now() - this.#escapedAt < ESCAPE_MS;
  }

  /** The session whose text it holds. @param {string | undefined} session */
  belongsTo(session) {
    if (session === this.#session) return;
    this.#session = session;
    this.field.value = session ? kept(session) : '';
    this.#grow();
  }

  /** @param {string} text */
  put(text) {
    this.field.value = text;
    if (this.#session) keep(this.#session, text);
    this.#grow();
  }

  /** As high as what is in it, where the browser does not do so by itself. */
  #grow() {
    if (CSS.supports('field-sizing', 'content')) return;
    this.field.rows = Math.min(10, Math.max(2, this.field.value.split('\n').length));
  }
}
