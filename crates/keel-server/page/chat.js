// The conversation with a text backend. What a model or another participant says becomes text nodes.

import { $, button, make, put } from './dom.js';

const drawn = new Map(); // turn → its nodes, and how much of its text they hold

const ENDS = { done: '', running: 'Running…', queued: 'Waits for its turn', cancelled: 'Cancelled', interrupted: 'Interrupted', failed: 'Failed' };

/** @param {import('./model.js').Model} model @param {{ participant?: string, answer: (turn: string, action: string, answer: unknown) => void }} about */
export function drawChat(model, { participant, answer, cancel }) {
  const list = $('turns'), follows = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
  for (const [id, { item }] of drawn) if (!model.turns.has(id)) { item.remove(); drawn.delete(id); }
  for (const [id, turn] of model.turns) {
    let nodes = drawn.get(id);
    if (!nodes) {
      const said = document.createTextNode(''), text = make('div', { kind: 'text', children: [said] });
      const end = make('p', { kind: 'end' }), choices = make('div', { kind: 'row' });
      const stop = button('Cancel', () => cancel(id), { kind: 'small quiet' });
      const item = make('li', { children: [make('p', { text: turn.prompt, kind: turn.by === participant ? 'prompt mine' : 'prompt' }), text, make('div', { kind: 'row', children: [end, stop] }), choices] });
      list.append(item);
      nodes = { item, said, end, choices, stop, turn, length: 0, attempt: 0, action: undefined };
      drawn.set(id, nodes);
    }
    if (nodes.turn !== turn || nodes.attempt !== turn.attempt) { // another attempt, or a snapshot's
      nodes.said.data = '';
      Object.assign(nodes, { turn, attempt: turn.attempt, length: 0 });
    }
    if (turn.text.length > nodes.length) nodes.said.appendData(turn.text.slice(nodes.length));
    nodes.length = turn.text.length;
    nodes.item.dataset.state = turn.state;
    const tried = turn.tried && turn.state === 'running' ? ` It is attempt ${turn.attempt}, after ${turn.tried.code}.` : '';
    put(nodes.end, turn.action ? turn.action.prompt : `${ENDS[turn.state] ?? turn.state}${turn.fault ? `: ${turn.fault.message}` : ''}${tried}`);
    nodes.stop.hidden = !['running', 'queued', 'waiting'].includes(turn.state);
    if (nodes.action !== turn.action?.id) {
      nodes.action = turn.action?.id;
      nodes.choices.replaceChildren(...(turn.action?.options ?? []).map((option) => button(option, () => answer(id, turn.action.id, option), { kind: 'small' })));
    }
  }
  if (follows) list.scrollTop = list.scrollHeight;
  const waits = model.asked.size;
  put($('receipts'), waits > 0 ? `${waits} said and not answered yet; kept until there is an answer.` : model.lastReceipt ? `Last receipt: ${model.lastReceipt}` : '');
  $('cancel').disabled = ![...model.turns.values()].some(({ state }) => ['running', 'queued', 'waiting'].includes(state));
}
