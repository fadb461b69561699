// What waits above the field for text: what was said and has no answer of the server's yet, what it has
// refused, and the turns that wait for theirs.

import { $, button, keyed, make, put } from '../dom.js';
import { line } from '../text/visible.js';
import { failure } from './words.js';

/** Refused ones that are shown. */
const REFUSED_MAX = 5;

/** @typedef {{ n: number, text: string, fault?: any }} Said */

/** What was said from this tab and is no turn yet. */
export class Outbox {
  /** @type {Said[]} */
  all = [];
  #n = 0;

  /** @param {string} text @param {Promise<unknown>} sent */
  async add(text, sent, changed) {
    const said = { n: (this.#n += 1), text };
    this.all.push(said);
    changed();
    try {
      await sent;
      this.remove(said);
    } catch (error) {
      said.fault = error.fault ?? { code: 'internal', message: String(error?.message ?? error), retry: { when: 'after_action', what: 'try_again' } };
      const refused = this.all.filter(({ fault }) => fault);
      for (const old of refused.slice(0, -REFUSED_MAX)) this.remove(old);
    }
    changed();
  }

  remove(said) {
    this.all = this.all.filter((one) => one !== said);
  }

  get waits() {
    return this.all.filter(({ fault }) => !fault).length;
  }
}

/**
 * @param {Outbox} outbox
 * @param {{ again: (said: Said) => void, back: (said: Said) => void, drop: (said: Said) => void }} act
 * @param {boolean} isCut whether nothing can be sent now
 */
export function drawOutbox(outbox, act, isCut) {
  keyed($('outbox'), outbox.all, ({ n }) => String(n), (said) => make('li', { children: [
    make('p', { kind: 'waits-text', text: line(said.text, 200), dir: 'auto' }), make('p', { kind: 'note' }), make('div', { kind: 'row', children: [
      button('Say it again', () => act.again(said), { kind: 'small' }), button('Edit', () => act.back(said), { kind: 'small quiet' }), button('Forget it', () => act.drop(said), { kind: 'small quiet' }),
    ] }),
  ] }), (node, { fault }) => {
    node.dataset.state = fault ? 'refused' : 'sent';
    const { what, next } = fault ? failure(fault) : {};
    put(node.children[1], fault ? `Not said: ${what} ${next}` : isCut ? 'Kept here, and sent once there is a connection.' : 'On its way…');
    node.children[2].hidden = !fault;
  });
  $('outbox').hidden = outbox.all.length === 0;
}

/**
 * @param {import('../turns.js').Turn[]} waiting the next one first
 * @param {import('./turn.js').TurnAbout & { promote: (turn: string) => void }} about
 */
export function drawQueue(waiting, about) {
  $('queue-box').hidden = waiting.length === 0;
  put($('queue-title'), waiting.length === 1 ? 'One waits for its turn' : `${waiting.length} wait for their turn`);
  keyed($('queue'), waiting, ({ turn }) => turn, ({ turn, prompt }) => make('li', { children: [
    make('p', { kind: 'waits-text', text: line(prompt, 200), dir: 'auto' }), make('span', { kind: 'note' }), make('div', { kind: 'row', children: [
      button('Send next', () => about.promote(turn), { kind: 'small quiet promote', title: 'Before the others that wait' }),
      button('Remove', () => about.stop(turn), { kind: 'small quiet remove' }),
    ] }),
  ] }), (node, turn) => {
    put(node.children[1], about.isMine(turn.by) ? '' : about.nameOf(turn.by));
    const [promote, remove] = node.children[2].children;
    promote.hidden = waiting[0] === turn || !about.can('turn.promote') || !about.maySay;
    remove.hidden = !about.maySay;
  });
}
