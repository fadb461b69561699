// Draws what happened, newest first.

import { $, clock, keyed, make } from './dom.js';

const SHOWN = 80;

/** @param {import('./model.js').Model} model */
export function drawLog({ log }) {
  const shown = log.slice(-SHOWN).reverse();
  keyed($('log'), shown, ({ n }) => String(n), ({ at, kind, text, tone }) => {
    const node = make('li', { children: [make('time', { text: clock(at) }), make('b', { text: kind }), make('span', { text })] });
    node.dataset.tone = tone;
    return node;
  }, () => {});
}
