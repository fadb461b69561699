// The parts of a turn: text, thoughts, tools, plan, notices, questions. One view for each kind; whatever a
// provider says goes in as text.

import { button, conversation, keepFocus, make, put } from '../dom.js';
import { codeBlock } from '../text/markdown.js';
import { Streamed, patch } from '../text/stream.js';
import { line } from '../text/visible.js';
import { PLAN_STATES, TOOL_STATES } from './words.js';

/**
 * What the views of a turn need to know.
 * @typedef {{ nameOf: (participant: string | undefined) => string, mayAnswer: boolean, answer: (turn: string, action: string, answer: unknown) => Promise<unknown> }} About
 */

/** What is folded is filled when somebody opens it. */
function folded(kind, fill) {
  const summary = make('summary'), body = make('div', { kind: 'fold-body' });
  const element = make('details', { kind: `fold ${kind}`, children: [summary, body] });
  let part;
  /** Whether all of it is shown: what is folded needs nothing more. */
  const refill = () => !element.open || !part || fill(body, part) !== false;
  element.addEventListener('toggle', refill);
  return { element, summary, body, show: (next) => ((part = next), refill()) };
}

class TextView {
  kind = 'text';
  #text = new Streamed();
  element = this.#text.element;

  constructor() {
    this.element.classList.add('text');
  }

  show({ text }, isOpen) {
    return this.#text.show(text, isOpen);
  }
}

class ThoughtView {
  kind = 'thought';
  #text = new Streamed();
  #isOpen = true;
  #fold = folded('thought', (body, { text }) => {
    if (!body.firstChild) body.append(this.#text.element);
    return this.#text.show(text, this.#isOpen);
  });
  element = this.#fold.element;

  show(part, isOpen) {
    this.#isOpen = isOpen;
    put(this.#fold.summary, isOpen ? 'Thinking…' : 'Thought');
    return this.#fold.show(part);
  }
}

class ToolView {
  kind = 'tool';
  #old = [];
  #fold = folded('tool', (body, { input, output }) => {
    const block = (name, text) => (text === undefined || text === '' ? [] : [codeBlock(text, name)]);
    const next = [...block('input', input), ...block('output', output)];
    if (next.length === 0) next.push({ t: 'p', c: 'note', k: ['Nothing is known of it but its name.'] });
    patch(body, this.#old, next);
    this.#old = next;
  });
  element = this.#fold.element;
  #sign = make('span', { kind: 'sign' });
  #title = make('bdi', { kind: 'tool-title' });
  #badge = make('span', { kind: 'badge' });
  #state = make('span', { kind: 'tool-state' });

  constructor() {
    this.#fold.summary.append(this.#sign, this.#title, this.#badge, this.#state);
  }

  show(part) {
    const status = TOOL_STATES[part.status] ? part.status : 'pending';
    this.element.dataset.status = status;
    put(this.#title, line(part.title || part.id || 'A tool'));
    put(this.#badge, part.tool ? line(part.tool, 24) : '');
    put(this.#state, TOOL_STATES[part.status] ?? line(part.status, 24));
    this.#fold.show(part);
    return true;
  }
}

class PlanView {
  kind = 'plan';
  #list = make('ul');
  #title = make('strong');
  element = make('div', { kind: 'plan', children: [this.#title, this.#list] });

  show({ entries }) {
    const done = entries.filter(({ status }) => PLAN_STATES[status]?.[0] === '●').length;
    put(this.#title, `Plan, ${done} of ${entries.length} done`);
    this.#list.replaceChildren(...entries.map(({ content, status }) => {
      const [sign, says] = PLAN_STATES[status] ?? ['○', line(status, 24)];
      const item = make('li', { children: [make('span', { kind: 'sign', text: sign, role: 'img', ariaLabel: says }), make('bdi', { text: content })] });
      item.dataset.status = sign === '●' ? 'done' : sign === '◐' ? 'running' : 'pending';
      return item;
    }));
    return true;
  }
}

class NoticeView {
  kind = 'notice';
  element = make('p', { kind: 'notice' });

  show({ level, text }) {
    this.element.dataset.level = level;
    put(this.element, text);
    return true;
  }
}

class SteeredView {
  kind = 'steered';
  element = make('p', { kind: 'prompt steered' });

  show({ by, text }, _, about) {
    put(this.element, `${about.nameOf(by)} added: ${text}`);
    return true;
  }
}

class RawView {
  kind = 'raw';
  #old = [];
  #fold = folded('raw', (body, { data }) => {
    const next = [codeBlock(data, 'json')];
    patch(body, this.#old, next);
    this.#old = next;
  });
  element = this.#fold.element;

  show(part) {
    put(this.#fold.summary, 'Something that this page has no words for');
    this.#fold.show(part);
    return true;
  }
}

/** A question that the turn waits for: every participant who may answer sees it, and the first answer counts. */
class ActionView {
  kind = 'action';
  #prompt = make('p', { kind: 'ask' });
  #choices = make('div', { kind: 'row' });
  #says = make('p', { kind: 'note' });
  element = make('div', { kind: 'permission', role: 'group', children: [make('strong'), this.#prompt, this.#choices, this.#says] });
  #shown = '';
  #sent = '';

  show(part, _, about, turn) {
    const { action, isOver } = part, options = action.options ?? [];
    const key = `${action.id} ${isOver} ${about.mayAnswer} ${about.nameOf(part.by)} ${this.#sent}`;
    if (key === this.#shown) return true;
    this.#shown = key;
    const isAnswered = part.answer !== undefined;
    this.element.dataset.state = isAnswered ? 'answered' : isOver ? 'over' : 'open';
    put(this.element.firstChild, options.length > 0 ? 'Your decision' : 'A question');
    put(this.#prompt, action.prompt);
    this.element.ariaLabel = line(action.prompt);
    const labelOf = (option) => action.choices?.find((choice) => choice.option === option)?.label ?? option;
    const canChoose = !isOver && about.mayAnswer && !this.#sent;
    const buttons = (canChoose ? options : []).map((option) => {
      const kind = action.choices?.find((choice) => choice.option === option)?.kind ?? '';
      return button(line(labelOf(option), 60), () => this.#choose(option, labelOf(option), part, about, turn), { kind: kind.startsWith('allow_once') ? 'small accent' : 'small' });
    });
    keepFocus(this.#choices, () => this.#choices.replaceChildren(...buttons), conversation);
    const answer = typeof part.answer === 'string' ? labelOf(part.answer) : JSON.stringify(part.answer);
    put(this.#says, isAnswered ? `Answered by ${about.nameOf(part.by)}: ${line(answer)}`
      : isOver ? 'Nobody answered before the turn was over.'
        : this.#sent ? `Sent: ${line(this.#sent)}…`
          : !about.mayAnswer ? 'Somebody who may answer has to. You are watching.'
            : options.length === 0 ? 'Type the answer below.' : '');
    return true;
  }

  async #choose(option, label, part, about, turn) {
    this.#sent = label;
    this.show(part, false, about, turn);
    try {
      await about.answer(turn.turn, part.action.id, option);
    } catch {
      this.#sent = ''; // It is asked for again, or the answer of another is shown.
      this.show(part, false, about, turn);
    }
  }
}

const VIEWS = { text: TextView, thought: ThoughtView, tool: ToolView, plan: PlanView, notice: NoticeView, steered: SteeredView, raw: RawView, action: ActionView };

/** The parts of one turn, in the document. */
export class Parts {
  element = make('div', { kind: 'parts' });
  #views = [];

  /**
   * @param {import('../turns.js').Turn} turn
   * @param {boolean} isOpen whether more may follow
   * @param {About} about
   * @returns {boolean} whether all of it is shown; else call again soon
   */
  show(turn, isOpen, about) {
    let isWhole = true;
    turn.parts.forEach((part, n) => {
      let view = this.#views[n];
      if (view?.kind !== part.kind) {
        const fresh = new VIEWS[part.kind]();
        view ? view.element.replaceWith(fresh.element) : this.element.append(fresh.element);
        view = this.#views[n] = fresh;
      }
      if (!view.show(part, isOpen && n === turn.parts.length - 1, about, turn)) isWhole = false;
    });
    for (const view of this.#views.splice(turn.parts.length)) view.element.remove();
    return isWhole;
  }
}
