// The probe: an Evenkeel client for one browser tab, in one module. It draws nothing (probe-view.js
// does) and shows what the wire asks of a browser.
//
// Timers of a hidden tab may not run for a minute, message handlers always do: beats are answered in
// the handler, and silence is judged only by a timer that has itself run in time, or looked twice.
// The token is never put into an address or the log.

const KEPT = 'evenkeel.probe';
const DIAL_MS = 5e3, WELCOME_MS = 5e3, CONNECT_MS = 30e3, VERDICT_MS = 30e3, FAST_MS = 5e3;
const FAST_TRIES = 3, REJOINS = 10, REJOINS_MS = 120e3, BACKOFF_MS = 100, BACKOFF_CAP_MS = 5e3;
const PACE_MAX_MS = 10e3, STABLE_MS = 10e3, LATE_MS = 2e3, LOOK_AGAIN_MS = 500, TICK_MS = 250;
const OUTBOX_MAX = 256, LOG_MAX = 500, ACK_EVERY = 64, ACK_EVERY_MS = 1_000, BEATS_BEHIND_MAX = 2;

const now = () => performance.now();
const encoder = new TextEncoder(), decoder = new TextDecoder();
const letters = '0123456789abcdefghjkmnpqrstvwxyz';
const mint = (prefix) => prefix + Array.from(crypto.getRandomValues(new Uint8Array(26)), (b) => letters[b & 31]).join('');
const bytesOf = (text) => encoder.encode(text).length;
const from = (text, byte) => decoder.decode(encoder.encode(text).subarray(byte));

/** Everything that there is to know about this tab. Says `change` whenever some of it has changed. */
export const probe = Object.assign(new EventTarget(), {
  life: 'idle', // idle, on, ended, failed
  fault: null, reason: null, recovery: null, current: null, attempt: null, ended: null, ephemeral: null, duplicated: false,
  token: '', wants: {}, instance: mint('i-'), hellos: 0, seat: null, epoch: 0, cursor: 0,
  stream: mint('c-'), next: 1, outbox: [], turns: new Map(), server: null, log: [], closes: [],
  counters: { events: 0, duplicates: 0, holes: 0, gaps: 0, beats: 0, dials: 0, lost: 0, recovered: 0, unknown: 0 },
});
let wasLive = false, tries = 0, failures = { fast: 0, once: 0 }, mark = '', rejoins = [], timer = 0, unacked = 0, ackedAt = 0, consumed = 0;
const waiters = new Map();

/** As the design names it: derived, never set. */
export function state() {
  const p = probe;
  if (p.life !== 'on') return p.life;
  if (p.recovery) return wasLive ? 'recovering' : 'connecting';
  if (p.current?.stage === 'queued') return 'queued';
  return p.server?.state === 'degraded' ? 'degraded' : 'live';
}

const changed = () => probe.dispatchEvent(new Event('change'));

function note(kind, facts = {}) {
  probe.log.push({ at: Date.now(), kind, ...facts });
  if (probe.log.length > LOG_MAX) probe.log.shift();
  changed();
}

// What outlives a reload: who this tab is, and what it has said that nobody has answered.

function save() {
  const { token, wants, instance, hellos, seat, epoch, stream, next, outbox, life } = probe;
  const rest = { token, wants, instance, hellos, seat, epoch, stream, next, on: life === 'on' };
  sessionStorage.setItem(KEPT, JSON.stringify({ ...rest, outbox: outbox.map(({ n, name, data }) => ({ n, name, data })) }));
}

/** Whether this page alone is that instance. A duplicated tab has its storage, but not its lock. */
const claim = (instance) => new Promise((done) => {
  const hold = () => { done(true); return new Promise(() => {}); };
  const wait = { signal: AbortSignal.timeout(500) }; // the page before a reload lets go of it at once
  if (navigator.locks) navigator.locks.request(`${KEPT}.${instance}`, wait, hold).catch(() => done(false));
  else done(false);
});

async function boot() {
  const given = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? 'null');
  if (location.hash) history.replaceState(null, '', location.pathname);
  const goesOn = kept && (!given.token || given.token === kept.token);
  const { outbox, on, ...mine } = kept ?? {};
  if (goesOn && await claim(kept.instance)) {
    Object.assign(probe, mine, { outbox });
  } else {
    await claim(probe.instance);
    probe.token = given.token ?? kept?.token ?? '';
    probe.wants = { session: given.session, backend: given.backend, role: given.role, wait: given.wait === '1' };
    if (goesOn) Object.assign(probe, { duplicated: true, wants: { ...kept.wants, session: kept.seat?.session ?? kept.wants.session } });
  }
  note('ready', { duplicated: probe.duplicated });
  if (given.token || (goesOn && on)) connect();
}

// Connecting, losing, coming back.

export function connect(token = probe.token, wants = probe.wants) {
  if (probe.life === 'on') return;
  if (probe.fault?.retry.when === 'never' && probe.seat) { // the seat is gone, the session may not be
    wants = { ...wants, session: probe.fault.code === 'session_not_found' ? undefined : wants.session || probe.seat.session };
    probe.seat = null;
  }
  if (!probe.seat) Object.assign(probe, { cursor: 0, turns: new Map(), ended: null });
  Object.assign(probe, { life: 'on', token, wants, fault: null, reason: null, server: null });
  [wasLive, tries, failures] = [false, 0, { fast: 0, once: 0 }];
  recover(null, { kind: 'fast' }, 0);
}

export function leave() {
  if (probe.life !== 'on') return;
  if (!probe.current) return finish('ended', 'detached');
  send({ type: 'detach' });
  setTimeout(() => finish('ended', 'detached'), 1e3);
}

function recover(cause, ask, pace, silent = 0) {
  probe.recovery = { cause, last: cause, ask, pace, silent, since: now(), attempts: 0, reached: 'fast', answered: null };
  plan();
}

function plan() {
  const r = probe.recovery;
  if (!r || probe.attempt || timer || probe.life !== 'on') return;
  const spent = now() - r.since, rest = giveUpAfter() - spent;
  if (r.ask.kind === 'never' || (r.ask.kind === 'once' && failures.once >= 2)) return finish('failed', r.last);
  if (rest <= 0 || (r.answered && now() - r.answered > VERDICT_MS) || r.ask.ms > rest) return giveUp('recovery_deadline', 'Recovery did not succeed within its time.');
  if (!navigator.onLine) return wait('network', null);
  const climbs = r.ask.kind === 'rejoin' || failures.fast >= FAST_TRIES || (r.answered && now() - r.answered > FAST_MS);
  const hurry = r.hurry || (climbs && r.reached === 'fast');
  if (climbs && probe.seat) r.reached = 'rejoin';
  rejoins = rejoins.filter((at) => now() - at < REJOINS_MS);
  if (r.reached === 'rejoin' && rejoins.length >= REJOINS) return giveUp('rejoin_limit', 'The session had to be rejoined too often in too short a time.');
  const jitter = Math.random() * Math.min(BACKOFF_CAP_MS, BACKOFF_MS * 2 ** (tries - 1));
  const delay = r.ask.ms ?? (hurry ? 0 : tries === 0 ? r.pace : jitter);
  r.hurry = false;
  wait({ later: 'server', unreachable: 'network' }[r.ask.kind] ?? null, delay);
}

function wait(waitingFor, ms) {
  const r = probe.recovery;
  Object.assign(r, { waitingFor, nextAt: ms === null ? null : Date.now() + ms });
  if (ms === 0) return dial();
  if (ms !== null) timer = setTimeout(dial, ms);
  note('waiting', { for: waitingFor, ms: ms && Math.round(ms) });
}

const giveUpAfter = () => (probe.seat ? probe.seat.windowMs || REJOINS_MS : CONNECT_MS);
const stopWaiting = () => { clearTimeout(timer); timer = 0; };
const giveUp = (code, message) => finish('failed', made(code, message, { when: 'after_action', what: 'try_again' }, {}, probe.recovery?.cause));

function dial() {
  stopWaiting();
  const r = probe.recovery, strategy = probe.seat ? r.reached : null;
  [tries, r.attempts, r.waitingFor, r.nextAt] = [tries + 1, r.attempts + 1, null, null];
  if (strategy === 'rejoin') rejoins.push(now());
  const ws = new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/v1/connect`, 'evenkeel.v1.json');
  const conn = { ws, strategy, stage: 'dialing', hello: ++probe.hellos, heard: now(), suspectMs: 7e3, everyMs: 3e3, pace: 0, replayed: 0, behind: 0, epoch: probe.epoch };
  probe.attempt = conn;
  probe.counters.dials += 1;
  save(); // the next page of this tab must count on from here
  const late = (phase) => setTimeout(() => lost(conn, made('handshake_timeout', `No answer to ${phase} in time.`, { when: 'now' }, { phase }), { kind: phase === 'dial' ? 'unreachable' : 'fast' }), DIAL_MS);
  conn.patience = late('dial');
  ws.onopen = () => {
    clearTimeout(conn.patience);
    conn.patience = late('hello', WELCOME_MS);
    conn.stage = 'greeting';
    send(hello(conn), conn);
  };
  ws.onmessage = (event) => hear(conn, event.data);
  ws.onclose = ({ code, reason, wasClean }) => closed(conn, code, reason, wasClean);
  note('dial', { strategy, attempt: r.attempts });
}

function hello(conn) {
  const { token, wants, instance, seat, epoch, cursor, stream, next, recovery } = probe;
  const resume = seat && { participant: seat.participant, key: seat.key, cursor: { epoch, seq: cursor }, strategy: conn.strategy };
  const lostMs = recovery?.cause && Math.round(now() - recovery.since);
  return {
    type: 'hello', token, instance, attempt: conn.hello, session: seat?.session ?? (wants.session || undefined),
    backend: wants.backend || undefined, role: wants.role ?? 'owner', admission: wants.wait ? { policy: 'wait' } : { policy: 'fail' },
    resume: resume ?? undefined, stream: { id: stream, next, receipts_ack: read() }, sdk: 'evenkeel-probe/0.1',
    evidence: recovery?.cause ? { code: recovery.cause.code, silent_ms: Math.round(recovery.silent), lost_ms: lostMs, attempts: recovery.attempts } : undefined,
  };
}

const read = () => (probe.outbox[0]?.n ?? probe.next) - 1; // receipts up to here were read
const send = (frame, conn = probe.current) => conn?.ws.readyState === WebSocket.OPEN && conn.ws.send(JSON.stringify(frame));
const made = (code, message, retry, detail = {}, cause = null) => ({ id: mint('f-'), code, scope: 'connection', origin: 'client', retry, message, detail, cause: cause ? [cause] : [], at: Date.now() });

/** What a fault asks for. Capacity is the person's decision, whatever the hint. */
function asks({ code, retry }) {
  if (code === 'at_capacity' || code === 'session_limit') return { kind: 'never' };
  if (retry.when === 'now') return { kind: code === 'protocol_error' ? 'once' : 'fast' };
  if (retry.when === 'after') return { kind: 'later', ms: retry.ms };
  return { kind: retry.what === 'rejoin' ? 'rejoin' : 'never' };
}

/** What a close code says that no fault frame has explained. */
function ofClose(conn, code, reason) {
  if (conn.stage === 'dialing') return [made('transport_error', 'The server cannot be reached.', { when: 'now' }, { close: code }), { kind: 'unreachable' }];
  const once = [1002, 1003, 1007, 1009, 4003].includes(code), never = code === 1000 || code === 1008 || (code >= 4400 && code < 4500) || code === 4502 || code === 4503;
  const kind = once ? 'once' : never ? 'never' : code === 1013 || (code >= 4500 && code < 4600) ? 'later' : code >= 4100 && code < 4300 ? 'rejoin' : 'fast';
  const [says, retry] = { never: ['was closed for good', { when: 'after_action', what: 'try_again' }], later: ['was closed for a while', { when: 'after', ms: 1e3 }] }[kind] ?? ['was closed', { when: 'now' }];
  const name = code >= 4000 && /^[a-z_]+$/.test(reason) ? reason : code === 1006 ? 'transport_error' : 'connection_closed';
  const message = code === 1006 ? 'The connection broke.' : `The connection ${says} (${code}${reason && `, ${reason}`}).`;
  return [made(name, message, retry, { close: code }), { kind, ms: kind === 'later' ? 1e3 : undefined }];
}

function closed(conn, code, reason, clean) {
  probe.closes.push({ code, reason, clean, stage: conn.stage, fault: conn.fault?.code ?? null });
  if (conn !== probe.current && conn !== probe.attempt) return;
  const [fault, ask] = conn.fault ? [conn.fault, asks(conn.fault)] : ofClose(conn, code, reason);
  lost(conn, fault, ask);
}

/** A connection is over: the one way out of it, taken once. */
function lost(conn, fault, ask) {
  drop(conn);
  if (probe.life !== 'on') return;
  if (probe.ended) return finish('ended', probe.ended);
  const progress = `${probe.cursor}/${consumed}`;
  if (progress !== mark) [mark, failures] = [progress, { fast: 0, once: 0 }];
  if (now() - conn.joined > STABLE_MS) [tries, failures] = [0, { fast: 0, once: 0 }];
  if (ask.kind === 'once') failures.once += 1;
  if (conn.strategy === 'fast' && !['unreachable', 'later'].includes(ask.kind)) failures.fast += 1;
  if (fault.code === 'superseded' && conn.hello < probe.hellos) ask = { kind: 'fast' }; // by ourselves
  const r = probe.recovery;
  if (!r) {
    probe.counters.lost += 1;
    note('connection_lost', { fault });
    return recover(fault, ask, conn.pace, now() - conn.heard);
  }
  if (conn.stage !== 'dialing') r.answered ??= now();
  const suspect = conn.suspected && probe.attempt; // its successor is on its way
  if (!suspect) Object.assign(r, { ask, last: fault });
  note('attempt_failed', { fault, attempt: r.attempts });
  plan();
}

function drop(conn) {
  clearTimeout(conn.patience);
  conn.ws.onopen = conn.ws.onmessage = null;
  if (conn === probe.current) probe.current = null;
  if (conn === probe.attempt) probe.attempt = null;
  if (conn.ws.readyState <= WebSocket.OPEN) conn.ws.close(1000);
}

/** Over, on purpose or not. Quiet where it is on purpose. */
function finish(life, why) {
  if (probe.life !== 'on') return;
  stopWaiting();
  for (const conn of [probe.attempt, probe.current]) if (conn) drop(conn);
  const open = probe.outbox.splice(0);
  for (const { n } of open) waiters.get(n)?.({ n, unanswered: true });
  waiters.clear();
  Object.assign(probe, { life, recovery: null, server: null, stream: mint('c-'), next: 1, [life === 'failed' ? 'fault' : 'reason']: why });
  if (life === 'ended') Object.assign(probe, { seat: null, ended: null });
  save();
  note(life, { why, unanswered: open.length });
}

// What the server says.

function hear(conn, text) {
  const quiet = now() - conn.heard;
  conn.heard = now();
  conn.doubted = 0;
  let frame;
  try { frame = JSON.parse(text); } catch { return breakOff(conn, 'A frame is not JSON.'); }
  if (conn === probe.current && !['fault', 'ended', 'goaway'].includes(frame.type)) {
    conn.fault = null; // it goes on talking, so that was not its last word
    // What it says at first may have been on its way when the server gave it up: it has to last.
    if (conn.suspected && (!conn.again || quiet > conn.suspectMs)) conn.again = now();
    const lasts = conn.suspected && now() - conn.again >= conn.suspectMs;
    if (lasts && (!probe.attempt || probe.attempt.stage === 'dialing')) heardAgain(conn);
  }
  const handle = frames[frame.type];
  if (!handle) { probe.counters.unknown += 1; return note('unknown_frame', { type: String(frame.type) }); }
  try { handle(conn, frame); } catch (error) { breakOff(conn, error.message); }
}

const breakOff = (conn, message) => lost(conn, made('protocol_error', message, { when: 'now' }), { kind: 'once' });

function heardAgain(conn) {
  conn.suspected = false;
  conn.again = 0;
  stopWaiting();
  if (probe.attempt) drop(probe.attempt);
  recovered('fast', 0);
}

const frames = {
  beat(conn, { n, seq, suspect_ms, pace_ms }) {
    probe.counters.beats += 1;
    if (suspect_ms) conn.suspectMs = Math.min(120e3, Math.max(100, suspect_ms));
    if (pace_ms !== undefined) conn.pace = Math.min(PACE_MAX_MS, pace_ms);
    ackedAt = performance.now();
    send({ type: 'beat', n, seq: probe.cursor }, conn);
    conn.behind = seq > probe.cursor && !conn.moved && conn.stage === 'live' ? conn.behind + 1 : 0;
    conn.moved = false;
    if (conn.behind > BEATS_BEHIND_MAX) breakOff(conn, `The log is at ${seq}, nothing came after ${probe.cursor}.`);
  },
  queued(conn, { session, participant, resume_key, position, of, beat }) {
    promote(conn, 'queued', beat);
    probe.seat = { session, participant, key: resume_key, windowMs: 0 };
    probe.place = { position, of };
    save();
    note('queued', { position, of });
    recovered(conn.strategy, 0);
  },
  welcome(conn, { session, participant, role, how, resume_key, resume_window_ms, cursor, beat, status, consumed: upTo, limits }) {
    promote(conn, 'replaying', beat);
    if (probe.cursor === 0 || ((how === 'created' || how === 'joined') && !conn.strategy)) Object.assign(probe, { cursor: 0, turns: new Map(), epoch: cursor.epoch });
    conn.epoch = cursor.epoch;
    consumed = upTo;
    Object.assign(probe, { seat: { session, participant, key: resume_key, windowMs: resume_window_ms }, role, how, server: status });
    for (const entry of probe.outbox) entry.sent = entry.n <= upTo;
    save();
    note('welcome', { how, session, participant, behind: cursor.seq - probe.cursor });
    flush();
  },
  replayed(conn) {
    conn.stage = 'live';
    conn.moved = true;
    if (!conn.suspected) recovered(conn.strategy, conn.replayed);
  },
  event(conn, frame) { if (apply(conn, frame)) changed(); },
  gap(conn, { from: first, to, epoch, snapshot, fault }) {
    if (epoch === probe.epoch && to <= probe.cursor) { probe.counters.duplicates += 1; return; }
    conn.epoch = epoch;
    conn.moved = true;
    probe.counters.gaps += 1;
    Object.assign(probe, { epoch, cursor: to, turns: ofSnapshot(snapshot.turns), ended: snapshot.ended?.reason });
    save();
    note('gap', { first, to, fault });
  },
  receipt(conn, { n, ok, fault }) {
    const at = probe.outbox.findIndex((entry) => entry.n === n);
    if (at < 0) return;
    const [{ name }] = probe.outbox.splice(at, 1);
    consumed = Math.max(consumed, n);
    save();
    waiters.get(n)?.({ n, ok, fault });
    waiters.delete(n);
    note('receipt', { n, name, ok, fault });
  },
  status(conn, { status }) { probe.server = status; note('status', { state: status.state, fault: status.fault }); },
  ephemeral(conn, { kind, data }) { probe.ephemeral = { kind, data }; changed(); },
  goaway(conn, { reason, deadline_ms }) { note('goaway', { reason, deadline_ms }); },
  ended(conn, { reason }) { finish('ended', reason); },
  fault(conn, { fault }) {
    const ends = !['command', 'turn'].includes(fault.scope) && !['session_busy', 'duplicate'].includes(fault.code);
    if (ends) conn.fault = fault;
    note('fault', { fault });
  },
};

/** Answered hello: it takes over, and the one before it is dropped, whatever it was. */
function promote(conn, stage, beat) {
  clearTimeout(conn.patience);
  if (probe.current && probe.current !== conn) drop(probe.current);
  if (probe.attempt === conn) probe.attempt = null;
  Object.assign(conn, { stage, joined: conn.joined ?? now(), fault: null, everyMs: beat.every_ms, suspectMs: beat.suspect_ms });
  probe.current = conn;
}

function recovered(strategy, replayed) {
  const r = probe.recovery;
  if (!r) return;
  probe.recovery = null;
  if (r.cause) {
    probe.counters.recovered += 1;
    note('recovered', { strategy, attempts: r.attempts, lost_ms: Math.round(now() - r.since), replayed });
  } else tries = 0;
  wasLive = true;
  note(state());
}

/** One position after the other, each once. True where there is news. */
function apply(conn, { from: first, to, kind, data }) {
  if (!(first >= 1 && first <= to)) throw new Error(`An event covers ${first} to ${to}.`);
  if (conn.epoch !== probe.epoch) throw new Error('An event of another epoch came before its snapshot.');
  if (to <= probe.cursor) { probe.counters.duplicates += 1; return false; }
  if (first > probe.cursor + 1) throw new Error(`An event at ${first} follows ${probe.cursor}.`);
  probe.counters.events += to - probe.cursor;
  unacked += to - probe.cursor;
  probe.cursor = to;
  conn.moved = true;
  if (conn.stage === 'replaying') conn.replayed += 1;
  // Where the way is narrow beats come late: the server must hear all the same.
  if (unacked >= ACK_EVERY || performance.now() - ackedAt >= ACK_EVERY_MS) {
    unacked = 0;
    ackedAt = performance.now();
    send({ type: 'ack', seq: to }, conn);
  }
  events[kind]?.(data, probe.turns.get(data.turn) ?? {});
  return true;
}

const events = {
  'turn.accepted': ({ turn, text, by }) => probe.turns.set(turn, { turn, by, prompt: text, attempt: 0, bytes: 0, text: '', state: 'queued' }),
  'turn.started': ({ attempt }, turn) => Object.assign(turn, { attempt, bytes: 0, text: '', state: 'running' }),
  'turn.waiting': ({ action }, turn) => Object.assign(turn, { action, state: 'waiting' }),
  'turn.answered': (_, turn) => Object.assign(turn, { action: null, state: 'running' }),
  'turn.ended': ({ end, bytes, attempt, fault, stop_reason }, turn) => {
    if (attempt === turn.attempt && bytes !== turn.bytes) probe.counters.holes += 1;
    Object.assign(turn, { state: end, fault, stop_reason, action: null });
  },
  text: ({ attempt, at_byte, data }, turn) => {
    if (attempt !== turn.attempt) return;
    if (at_byte > turn.bytes) probe.counters.holes += 1;
    const fresh = at_byte < turn.bytes ? from(data, turn.bytes - at_byte) : data; // put together meanwhile
    turn.text += fresh;
    turn.bytes = Math.max(turn.bytes, at_byte + bytesOf(data));
  },
  'session.ended': ({ reason }) => { probe.ended = reason; },
};

/** The turns of a snapshot, with what was known of their text before its tail. */
function ofSnapshot(views) {
  return new Map(views.map(({ turn, by, prompt, attempt, bytes, tail, state: at, ended, action }) => {
    const old = probe.turns.get(turn), start = bytes - bytesOf(tail);
    const joins = old?.attempt === attempt && old.bytes >= start && old.bytes <= bytes;
    const text = joins ? old.text + from(tail, old.bytes - start) : start > 0 ? `[${start} bytes passed over] ${tail}` : tail;
    return [turn, { turn, by, prompt: old?.prompt ?? prompt, attempt, bytes, text, state: ended?.end ?? at, fault: ended?.fault, action }];
  }));
}

// Commands: numbered, kept until their receipt, sent again above what the server has taken.

/** Sends a command, now or when there is a connection; resolves with its receipt. */
export function command(name, data = {}) {
  if (probe.life !== 'on' || probe.outbox.length >= OUTBOX_MAX) {
    const fault = made('outbox_full', probe.life === 'on' ? 'As many commands wait as may.' : 'There is no session to send to.', { when: 'after_action', what: 'try_again' });
    note('fault', { fault });
    return Promise.resolve({ fault });
  }
  const n = probe.next++;
  probe.outbox.push({ n, name, data });
  save();
  flush();
  note('command', { n, name });
  return new Promise((done) => waiters.set(n, done));
}

function flush() {
  const conn = probe.current;
  if (!['replaying', 'live'].includes(conn?.stage) || conn.suspected) return;
  for (const entry of probe.outbox.filter((entry) => !entry.sent)) {
    entry.sent = true;
    send({ type: 'command', n: entry.n, name: entry.name, receipts_ack: read(), data: entry.data }, conn);
  }
}

// Silence, sleep, and what the browser says about the world.

const silent = (conn, ms) => conn && !conn.suspected && now() - conn.heard > ms;

function suspect(conn) {
  const silentMs = Math.round(now() - conn.heard);
  const fault = made('heartbeat_timeout', 'Nothing was heard from the other side for too long.', { when: 'now' }, { silent_ms: silentMs });
  if (probe.recovery) return lost(conn, fault, { kind: 'fast' }); // it was the next one already
  conn.suspected = true; // kept, in case it is heard again before another says hello
  probe.counters.lost += 1;
  note('connection_lost', { fault });
  recover(fault, { kind: 'fast' }, conn.pace, silentMs);
}

let ticked = now();
function tick() {
  const late = now() - ticked > LATE_MS, conn = probe.current;
  ticked = now();
  if (silent(conn, conn?.suspectMs)) {
    if (conn.doubted ? now() - conn.doubted >= LOOK_AGAIN_MS : !late) suspect(conn);
    else if (!conn.doubted) { conn.doubted = now(); setTimeout(tick, LOOK_AGAIN_MS + 10); } // what came meanwhile is handled first
  }
  const r = probe.recovery;
  if (r && !late && !probe.attempt && now() - r.since > giveUpAfter()) giveUp('recovery_deadline', 'Recovery did not succeed within its time.');
}
setInterval(tick, TICK_MS);

/** The surroundings have changed: what waits goes on, what is overdue is looked at. */
function nudge(why) {
  note('probe', { why });
  const r = probe.recovery, conn = probe.current;
  if (r && !probe.attempt && r.waitingFor !== 'server') { stopWaiting(); r.hurry = true; plan(); }
  const overdue = () => conn === probe.current && silent(conn, conn?.everyMs * 1.5);
  if (!r && overdue()) setTimeout(() => overdue() && suspect(conn), LOOK_AGAIN_MS);
}
addEventListener('online', () => nudge('online'));
addEventListener('pageshow', ({ persisted }) => persisted && nudge('pageshow'));
document.addEventListener('resume', () => nudge('resume'));
document.addEventListener('visibilitychange', () => document.hidden || nudge('visible'));
addEventListener('offline', () => {
  note('probe', { why: 'offline' });
  const r = probe.recovery;
  if (r && timer && r.waitingFor !== 'server') { stopWaiting(); wait('network', null); }
});
addEventListener('hashchange', () => location.hash.includes('token=') && location.reload());

Object.assign(window, { probe: Object.assign(probe, { connect, leave, command, state }) });
boot();
