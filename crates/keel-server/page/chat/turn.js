// One turn in the document: what was asked, its parts, how it stands, and what can be done with it.

import { button, make, put } from '../dom.js';
import { isOpen } from '../turns.js';
import { letters } from '../text/inline.js';
import { patch } from '../text/stream.js';
import { sentenced } from '../words.js';
import { line } from '../text/visible.js';
import { Parts } from './parts.js';
import { afterwards, standing, used } from './words.js';

/**
 * @typedef {import('./parts.js').About & {
 *   isMine: (participant: string) => boolean, maySay: boolean, can: (command: string) => boolean, isBusy: boolean,
 *   stop: (turn: string) => void, retry: (turn: string) => void, goOn: (turn: string) => void, copy: (text: string) => Promise<boolean>,
 * }} TurnAbout
 */

export class TurnView {
  element = make('li', { kind: 'turn' });
  #by = make('p', { kind: 'by' });
  #prompt = make('div', { kind: 'prompt', dir: 'auto' });
  #missing = make('p', { kind: 'note missing' });
  #parts = new Parts();
  #end = make('p', { kind: 'end' });
  #next = make('p', { kind: 'note next' });
  #usage = make('p', { kind: 'note usage' });
  #tools = make('p', { kind: 'note tools-ran' });
  #detail = make('details', { kind: 'fold detail', children: [make('summary', { text: 'In detail' }), make('p', { kind: 'note' })] });
  #buttons = make('div', { kind: 'row' });
  #foot = make('div', { kind: 'foot', children: [this.#end, this.#next, this.#detail, this.#tools, this.#buttons, this.#usage] });
  #shown = '';
  #offered = '';
  #turn;

  constructor() {
    this.element.append(this.#by, this.#prompt, this.#missing, this.#parts.element, this.#foot);
  }

  /** @param {import('../turns.js').Turn} turn @param {TurnAbout} about @returns {boolean} whether all of it is shown */
  show(turn, about) {
    const key = `${turn.rev} ${about.maySay} ${about.mayAnswer} ${about.isBusy} ${about.nameOf(turn.by)}`;
    if (key === this.#shown && this.#turn === turn) return true;
    if (this.#turn?.prompt !== turn.prompt) patch(this.#prompt, [], letters(turn.prompt));
    this.#turn = turn;
    const isMine = about.isMine(turn.by);
    this.#prompt.classList.toggle('mine', isMine);
    const origin = turn.retry_of ? 'Asked again' : turn.continues ? 'To be continued' : '';
    put(this.#by, [isMine ? '' : about.nameOf(turn.by), origin].filter(Boolean).join(' · '));
    put(this.#missing, turn.missing ? `The first ${turn.missing.toLocaleString('en')} bytes of this answer are not here.` : '');
    this.element.dataset.state = turn.state;
    const isWhole = this.#parts.show(turn, isOpen(turn), about);
    put(this.#end, standing(turn));
    put(this.#next, afterwards(turn));
    put(this.#usage, used(turn.usage));
    this.#detail.hidden = !turn.fault;
    if (turn.fault) put(this.#detail.lastChild, `${sentenced(turn.fault.message)} (${turn.fault.code}, ${turn.fault.id})`);
    this.#offer(turn, about);
    if (isWhole) this.#shown = key;
    return isWhole;
  }

  /** What can be done with it: copied, asked again, gone on with. */
  #offer(turn, about) {
    const isOver = !isOpen(turn), isBroken = ['failed', 'interrupted', 'cancelled'].includes(turn.state) && turn.began;
    const offers = [];
    const mayAgain = isOver && isBroken && about.maySay && !about.isBusy;
    if (mayAgain && about.can('turn.retry')) offers.push('retry');
    if (mayAgain && about.can('turn.continue') && turn.parts.length > 0) offers.push('continue');
    if (isOver && turn.text) offers.push('copy');
    const ran = turn.parts.filter(({ kind }) => kind === 'tool');
    put(this.#tools, ran.length > 0 && offers.includes('retry')
      ? `${ran.length === 1 ? 'A tool' : `${ran.length} tools`} ran in this turn (${ran.slice(0, 3).map(({ title }) => line(title, 40)).join(', ')}${ran.length > 3 ? ', …' : ''}). What was done stays done; asked again, it may be done twice.`
      : '');
    if (this.#offered === offers.join()) return;
    this.#offered = offers.join();
    const id = turn.turn;
    const made = {
      copy: () => button('Copy', async (event) => {
        const { target } = event;
        put(target, await about.copy(this.#turn.text) ? 'Copied' : 'Not copied');
        setTimeout(() => put(target, 'Copy'), 1_500);
      }, { kind: 'small quiet', title: 'Copies the answer as it was written' }),
      retry: () => button('Ask again', () => about.retry(id), { kind: 'small', title: 'The same question, from the beginning' }),
      continue: () => button('Go on', () => about.goOn(id), { kind: 'small', title: 'On from what was said so far' }),
    };
    this.#buttons.replaceChildren(...offers.map((name) => made[name]()));
  }
}
