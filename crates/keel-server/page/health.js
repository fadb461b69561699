// Draws how the session is: the state in a sentence, each leg, the fault in words, the last outage.

import { $, keepFocus, keyed, make, put, span } from './dom.js';
import { comeBack, explain, inOrder, LEGS, legWords, sentence, sentenced, title } from './words.js';

let explained, announced;

/** @param {import('./model.js').Model} model @param {{ id?: string, name?: string }} about */
export function drawHealth(model, about) {
  const { status } = model;
  document.body.dataset.state = status.state;
  $('pill').dataset.state = status.state;
  put($('state'), status.state);
  const words = status.state === 'idle' ? 'Nothing is open yet.' : sentence(status, { role: model.role, online: navigator.onLine });
  put($('words'), words);
  put($('session-id'), about.id ?? '');
  $('session-is').hidden = !about.id;
  document.title = status.state === 'idle' ? 'Evenkeel playground' : [status.state === 'live' && about.name ? '' : status.state, about.name, 'Evenkeel'].filter(Boolean).join(' · ');
  // A screen reader hears a state once, and not each count of an attempt.
  if (announced !== status.state) {
    announced = status.state;
    put($('announce'), status.state === 'idle' ? '' : `${status.state}. ${words}`);
  }
  keepFocus($('fault'), () => drawFault(model, about), () => $('main'));
  drawLegs(model);
  drawOutage(model);
  drawCountdown(model);
}

/** What merely counts down, between changes. */
export function drawCountdown({ status, statusAt }) {
  const leg = status.legs?.find(({ health }) => health === 'recovering');
  const left = leg ? leg.next_ms - (performance.now() - statusAt) : 0;
  put($('countdown'), left > 50 ? `Next attempt in ${(left / 1e3).toFixed(1)} s` : '');
  for (const node of $('legs').children) {
    const bar = node.querySelector('progress');
    if (!bar) continue;
    const one = status.legs.find(({ leg }) => leg === node.dataset.key);
    const rest = (one?.deadline_ms ?? 0) - (performance.now() - statusAt);
    bar.hidden = !one?.deadline_ms;
    if (one?.deadline_ms) Object.assign(bar, { max: one.deadline_ms, value: Math.max(0, rest) });
  }
}

function drawFault({ status, fault: over }, about) {
  // What is given up stays so until somebody tries again: the session, or its media. The server's own legs come
  // back by themselves.
  const final = over ?? status.legs?.find(({ leg, health }) => leg === 'media' && health === 'down')?.fault;
  const fault = final ?? (['degraded', 'recovering', 'connecting'].includes(status.state) ? status.fault : undefined);
  const box = $('fault');
  if (fault) {
    box.dataset.tone = final ? 'bad' : 'warn';
    put($('fault-title'), title(fault.code));
    put($('fault-code'), fault.code);
    const { limit, active, injected, simulated } = fault.detail ?? {};
    const full = limit === undefined ? '' : ` ${active} of ${limit} taken.`;
    const meant = injected || simulated ? ' It was broken on purpose.' : '';
    put($('fault-message'), `${sentenced(fault.message)}${full}${meant}`);
    const first = fault.cause?.at(-1);
    put($('fault-next'), `${final ? comeBack(fault) : status.state === 'recovering' ? status.legs.some(({ leg, health }) => leg === 'signaling' && health === 'recovering') ? 'It is being repaired by itself; what you say meanwhile is kept and sent then.' : 'It is being repaired; there is nothing that you have to do.' : 'It is being looked after; what else works goes on.'}${first ? ` It began with ${first.code}: ${sentenced(first.message)}` : ''}`);
    $('again').hidden = !final;
    $('line-up').hidden = !final || fault.code !== 'at_capacity' || !about.mayLineUp;
    if (explained !== fault.code) {
      explained = fault.code;
      explain(fault.code).then(({ happened, does, can }) => {
        if (explained !== fault.code) return;
        put($('fault-happened'), happened);
        put($('fault-does'), does);
        put($('fault-can'), can);
      });
    }
  }
  if (box.hidden !== !fault) box.hidden = !fault;
}

function drawLegs({ status }) {
  const legs = inOrder(status.legs ?? []);
  if (legs.length === 0) {
    keyed($('legs'), [status.state], String, () => make('li', { kind: 'empty' }), (node) => put(node, status.state === 'idle' ? 'No session yet.' : status.state === 'connecting' ? 'Not known yet.' : 'Nothing any more.'));
    return;
  }
  keyed($('legs'), legs, ({ leg }) => leg, ({ leg }) => make('li', { children: [
    make('span', { kind: 'dot' }), make('strong', { text: LEGS[leg] ?? leg }), make('span', { kind: 'health' }), make('p'),
    make('progress', { hidden: true, ariaLabel: 'Time until this is given up' }),
  ] }), (node, leg) => {
    node.dataset.health = leg.health;
    put(node.querySelector('.health'), leg.health === 'recovering' ? `recovering, attempt ${leg.attempt}` : leg.health);
    put(node.querySelector('p'), leg.health === 'up' ? '' : legWords(leg));
  });
}

/** The last outage: what a picture tells of it comes a moment later. @param {import('./model.js').Model} model */
export function drawOutage(model) {
  const last = model.outages.at(-1);
  $('outage-figures').hidden = !last;
  if (!last) return;
  model.settle();
  const { leg, code, by, toldMs, backMs, lost, failed } = last;
  const ended = failed ? 'Given up.' : backMs === undefined ? 'Not over yet.' : 'Over.';
  put($('outage'), `${LEGS[leg] ?? leg}: ${code ? title(code) : 'not as it should be'}${by ? `, by “${by}”` : ''}. ${ended}`);
  put($('out-told'), toldMs === undefined ? 'at once' : span(toldMs));
  put($('out-back'), failed ? 'given up' : backMs === undefined ? '…' : span(backMs));
  put($('out-lost'), lost === undefined ? '–' : String(lost));
}
