// What a screen reader is told of the conversation: that an answer has begun, the answer when it is whole,
// what waits for a decision, how a turn ended. Not every token.

import { $, put } from '../dom.js';
import { isOpen } from '../turns.js';
import { line } from '../text/visible.js';
import { standing } from './words.js';

/** Characters of an answer that are read out; the rest is in the conversation. */
const READ_MAX = 400;

export class Announcer {
  /** @type {Map<string, string>} */
  #states = new Map();
  #isFirst = true;

  /** @param {import('../turns.js').Turns} chat @param {(participant: string) => string} nameOf */
  tell(chat, nameOf) {
    const says = [];
    for (const [id, turn] of chat.all) {
      const before = this.#states.get(id), now = `${turn.state}${turn.action?.id ?? ''}${turn.cancelling?.step ?? ''}`;
      if (before === now) continue;
      this.#states.set(id, now);
      if (this.#isFirst && turn.state !== 'waiting') continue;
      if (turn.state === 'waiting') says.push(`${nameOf(turn.by)}’s turn asks: ${line(turn.action?.prompt, READ_MAX)}`);
      else if (turn.state === 'running' && (before ?? 'queued') === 'queued') says.push('The answer begins.');
      else if (turn.cancelling) says.push(standing(turn));
      else if (!isOpen(turn)) says.push(turn.state === 'done' ? `The answer: ${line(turn.text, READ_MAX)}` : standing(turn));
    }
    this.#isFirst = false;
    for (const id of this.#states.keys()) if (!chat.all.has(id)) this.#states.delete(id);
    if (says.length > 0) put($('chat-announce'), says.join(' '));
  }

  reset() {
    this.#states.clear();
    this.#isFirst = true;
  }
}
