// Draws the probe. What a model or another participant has said becomes text nodes, never markup.

import { command, connect, leave, probe, state } from './probe.js';

const $ = (id) => document.getElementById(id);
const put = (node, text) => { if (node.textContent !== text) node.textContent = text; };
const make = (name, text = '', kind = '') => Object.assign(document.createElement(name), { textContent: text, className: kind });
const LOG_SHOWN = 60;

const words = {
  idle: () => 'Paste a token to begin.',
  connecting: () => 'Saying hello.',
  queued: () => `Place ${probe.place?.position} of ${probe.place?.of} in line; it begins by itself.`,
  live: () => `As ${probe.role} in ${probe.seat?.session}.`,
  degraded: () => probe.server?.fault?.message ?? '',
  recovering: () => {
    const { strategy, waitingFor, attempts } = { strategy: probe.recovery.reached, ...probe.recovery };
    const how = strategy === 'fast' ? 'A new connection for the same place' : 'Joining anew in the same place';
    if (!navigator.onLine) return 'This device is offline; it goes on when that is over.';
    return `${waitingFor === 'network' ? 'The server cannot be reached. ' : ''}${how}, attempt ${Math.max(1, attempts)}.`;
  },
  ended: () => ({ detached: 'You left; the session goes on.', ended: 'The session was ended.', duration_limit: 'It lasted as long as it may.' })[probe.reason] ?? `The session is over (${probe.reason}).`,
  failed: () => 'Nothing is tried any more until you connect again.',
};

const comeBack = ({ retry }) => ({ now: 'It is tried again by itself.', after: `Worth another try in ${Math.ceil((retry.ms ?? 0) / 1e3)} s.`, never: 'Trying the same again will not help.' })[retry.when]
  ?? ({ refresh_token: 'A fresh token is needed.', rejoin: 'The session is joined anew.' })[retry.what] ?? 'You may try again.';

function drawStatus() {
  const now = state();
  $('state').dataset.state = now;
  put($('state'), now);
  put($('words'), words[now]());
  const at = probe.recovery?.nextAt;
  put($('countdown'), at && at > Date.now() ? `next attempt in ${((at - Date.now()) / 1e3).toFixed(1)} s` : '');
  const fault = probe.fault ?? probe.recovery?.cause ?? (now === 'degraded' ? probe.server.fault : null);
  $('fault').hidden = !fault;
  if (fault) {
    put($('fault-code'), fault.code);
    put($('fault-words'), fault.message);
    const { limit, active } = fault.detail ?? {};
    const full = fault.code === 'at_capacity' && limit !== undefined ? `${active} of ${limit} taken. ` : '';
    put($('fault-more'), full + (probe.fault ? comeBack(fault) : ''));
  }
  const on = probe.life === 'on', busy = [...probe.turns.values()].some((turn) => ['queued', 'running', 'waiting'].includes(turn.state));
  $('connect').hidden = on;
  $('say').hidden = !on && probe.turns.size === 0;
  for (const id of ['cut', 'close', 'half-open', 'end']) $(id).disabled = now !== 'live' && now !== 'degraded';
  for (const node of $('say').elements) node.disabled = !on;
  $('leave').disabled = !on;
  $('cancel').disabled = !on || !busy;
  document.title = `${now} · Evenkeel probe`;
}

const drawn = new Map(); // turn → its nodes, and how much of its text they hold

function drawTurns() {
  const list = $('turns'), follows = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  for (const [id, { item }] of drawn) if (!probe.turns.has(id)) { item.remove(); drawn.delete(id); }
  for (const [id, turn] of probe.turns) {
    let nodes = drawn.get(id);
    if (!nodes) {
      const item = make('li'), said = document.createTextNode(''), text = make('div', '', 'text');
      text.append(said);
      nodes = { item, said, turn, length: 0, attempt: 0, end: make('p', '', 'end') };
      item.append(make('p', turn.prompt, turn.by === probe.seat?.participant ? 'prompt mine' : 'prompt'), text, nodes.end);
      list.append(item);
      drawn.set(id, nodes);
    }
    if (nodes.turn !== turn || nodes.attempt !== turn.attempt) { // another attempt, or a snapshot's
      nodes.said.data = '';
      Object.assign(nodes, { turn, attempt: turn.attempt, length: 0 });
    }
    if (turn.text.length > nodes.length) nodes.said.appendData(turn.text.slice(nodes.length));
    nodes.length = turn.text.length;
    nodes.item.dataset.state = turn.state;
    const ends = { done: '', running: 'running', queued: 'waits for its turn', waiting: `asks: ${turn.action?.prompt} ${turn.action?.options?.join(' / ') ?? ''}` };
    put(nodes.end, ends[turn.state] ?? `${turn.state}${turn.fault ? `: ${turn.fault.message}` : ''}`);
  }
  if (follows) list.scrollTop = list.scrollHeight;
}

const summaries = {
  connection_lost: (e) => `${e.fault.code}: ${e.fault.message}`,
  attempt_failed: (e) => `${e.attempt}: ${e.fault.code}`,
  fault: (e) => `${e.fault.code}: ${e.fault.message}`,
  recovered: (e) => `${e.strategy}, ${e.attempts} attempt${e.attempts === 1 ? '' : 's'}, ${e.lost_ms} ms, ${e.replayed} replayed`,
  waiting: (e) => `${e.ms === null ? 'until there is a network' : `${e.ms} ms`}`,
  dial: (e) => `${e.strategy ?? 'first'}, attempt ${e.attempt}`,
  welcome: (e) => `${e.how}, ${e.behind} to replay`,
  queued: (e) => `${e.position} of ${e.of}`,
  command: (e) => `${e.n} ${e.name}`,
  receipt: (e) => `${e.n} ${e.name} ${e.fault ? e.fault.code : 'ok'}`,
  gap: (e) => `${e.first} to ${e.to} ${e.fault?.code ?? 'as asked'}`,
  status: (e) => `${e.state} ${e.fault?.code ?? ''}`,
  probe: (e) => e.why, goaway: (e) => e.reason,
  failed: (e) => e.why.code, ended: (e) => e.why,
  ready: (e) => (e.duplicated ? 'a duplicate of a tab that is alive: joins as another participant' : ''),
};

let lastShown = null;
function drawLog() {
  const shown = probe.log.slice(-LOG_SHOWN);
  if (shown.at(-1) === lastShown) return;
  lastShown = shown.at(-1);
  $('log').replaceChildren(...shown.reverse().map((entry) => {
    const item = make('li', '', entry.kind), time = make('time', new Date(entry.at).toLocaleTimeString('en-GB'));
    item.append(time, make('b', entry.kind.replaceAll('_', ' ')), make('span', summaries[entry.kind]?.(entry) ?? ''));
    return item;
  }));
  const { seat, counters, cursor, epoch, outbox } = probe;
  const facts = { participant: seat?.participant ?? 'none', log: `epoch ${epoch}, at ${cursor}`, 'not answered': outbox.length, 'lost / recovered': `${counters.lost} / ${counters.recovered}`, duplicates: counters.duplicates, holes: counters.holes };
  $('facts').replaceChildren(...Object.entries(facts).flatMap(([name, fact]) => [make('dt', name), make('dd', String(fact))]));
}

let due = false;
function draw() { due = false; drawStatus(); drawTurns(); drawLog(); }
probe.addEventListener('change', () => {
  if (due) return;
  due = true;
  document.hidden ? setTimeout(draw) : requestAnimationFrame(draw);
});
document.addEventListener('visibilitychange', draw);
setInterval(drawStatus, 200);

$('connect').addEventListener('submit', (event) => {
  event.preventDefault();
  connect($('token').value.trim(), { session: $('session').value.trim() || undefined, backend: $('backend').value.trim() || undefined, role: $('role').value, wait: $('wait').checked });
});
$('say').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = $('text').value;
  if (!text.trim()) return;
  const asking = [...probe.turns.values()].find((turn) => turn.state === 'waiting');
  if (asking) command('turn.answer', { turn: asking.turn, action: asking.action.id, answer: text.trim() });
  else command('say', { text });
  $('text').value = '';
});
$('text').addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) { event.preventDefault(); $('say').requestSubmit(); }
});
const breaks = { cut: { kind: 'drop_connection' }, close: { kind: 'close_connection', code: 1012 }, 'half-open': { kind: 'half_open' } };
for (const [id, fault] of Object.entries(breaks)) $(id).addEventListener('click', () => command('debug.fault', { fault }));
$('cancel').addEventListener('click', () => command('turn.cancel'));
$('end').addEventListener('click', () => command('session.end'));
$('leave').addEventListener('click', leave);
probe.addEventListener('change', () => { $('token').value ||= probe.token; $('backend').value ||= probe.wants.backend ?? ''; }, { once: true });
draw();
