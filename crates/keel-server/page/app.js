// The playground: one session in one tab, on the SDK as it is shipped. This module puts the parts
// together: who connects, what is drawn when, and what the buttons do.

import { connect } from '/sdk/index.js';
import { media } from '/sdk/media.js';
import { drawChaos, setUpChaos } from './chaos.js';
import { Chat } from './chat.js';
import { $, keyed, make, put } from './dom.js';
import { drawCountdown, drawHealth, drawOutage } from './health.js';
import { SILENT, arrive, ask, claims, keep, viewerLink } from './link.js';
import { drawLog } from './log.js';
import { Model } from './model.js';
import { Sending } from './sending.js';
import { Sessions } from './sessions.js';
import { Stage } from './stage.js';
import { line } from './text/visible.js';
import { setUpTheme } from './theme.js';
import * as timeline from './timeline.js';
import { title } from './words.js';

const KEPT = 'playground';
/** When the server is asked again what it offers, if it could not say. */
const AGAIN_MS = 500, AGAIN_MAX_MS = 8_000;
const MEDIA_KINDS = ['passthrough', 'room'];
const KINDS = {
  echo: 'Says back what it is told, word by word',
  process: 'A program that streams text',
  passthrough: 'The picture goes in and comes back',
  room: 'A call: everybody sees everybody else',
};
/** A prompt that the echo backend makes a long answer of. */
const LONG = '!count=600 seed=7 pace_ms=25';

/** Everything that there is to know about this tab; a test looks at it. */
const page = Object.assign(window.playground = {}, {
  /** @type {any} */ session: undefined,
  model: new Model(),
  /** @type {Stage | undefined} */ stage: undefined,
  /** @type {any} */ offer: undefined,
  wish: {},
  /** The peer connections that the SDK has made, the last one last. @type {RTCPeerConnection[]} */ peers: [],
  open, leave, retry,
});

const chat = page.chat = new Chat({
  session: () => page.session, reading: () => page.reading, model: () => page.model, token: () => page.wish.token, changed: () => changed(),
  backend: () => page.offer?.backends.find(({ name }) => name === backend()),
  note: (what, text) => page.model.note(what, text, 'warn'),
});

const sessions = page.sessions = new Sessions({
  token: () => (page.offer && !claims(page.wish.token).session ? page.wish.token : undefined), current: () => page.session?.id ?? page.reading?.session,
  open: (row) => go(row), fresh: () => fresh(), leave: (session) => (session === (page.session?.id ?? page.reading?.session) ? fresh() : undefined),
});

const sending = new Sending({
  stage: () => page.stage, changed: () => changed(), stands: () => Boolean(page.session) && !['failed', 'ended'].includes(page.session.status.state),
  wishes: (wish) => {
    page.wish = { ...page.wish, ...wish };
    if (page.session) remember(true);
  },
  tell: (words) => {
    put($('source-note'), words);
    if (words) page.model.note('source', words, 'warn');
  },
});

// Connecting and leaving.

/** The one place that remembers which transport the chaos panel may break. */
class Peer extends RTCPeerConnection {
  constructor(...config) {
    super(...config);
    page.peers = [...page.peers.filter(({ connectionState }) => connectionState !== 'closed'), this];
  }
}

/**
 * Opens a session.
 * @param {import('./link.js').Wish} wish
 * @param {number} [began] when it was asked for
 * @param {Promise<unknown>} [looked] until what the server offers is known, or was asked in vain
 */
async function open(wish, began = performance.now(), looked = undefined) {
  if (page.session) return;
  const opening = page.opening = {};
  page.reading = undefined;
  page.wish = wish;
  page.model = new Model();
  page.model.addEventListener('change', changed);
  page.model.picture = () => {
    const seen = page.stage?.awaited;
    // Without a number, or with one that cannot be read, nobody knows what was lost.
    return seen && (seen.isNumbered ? { at: seen.number === undefined ? seen.at : seen.readAt, lost: seen.lost } : { at: seen.at });
  };
  page.model.status = { state: 'connecting', phase: 'dial', legs: [] };
  page.model.note('opening', wish.session ? `session ${wish.session}` : wish.backend ?? 'the default backend');
  view('session');
  /** @type {any} */
  let session;
  try {
    session = await connect({
      token: () => wish.token,
      session: wish.session,
      backend: wish.session ? undefined : wish.backend,
      role: wish.role,
      admission: wish.wait ? 'wait' : 'fail',
      keep: KEPT,
      sdk: 'evenkeel-playground/0.1.0',
      busy: wish.busy === 'queue' || !wish.busy ? { policy: 'queue', max: 8 } : { policy: wish.busy },
      history: wish.session ? 'snapshot' : 'all',
      project: wish.project,
      title: wish.title,
      cwd: wish.cwd,
      params: wish.model ? { model: wish.model } : undefined,
      media: media({ peerConnection: Peer }),
    });
    // Somebody has chosen another one meanwhile.
    if (page.opening !== opening) return void await session.detach();
    page.opening = undefined;
    page.session = session;
    page.model.follow(session);
    if (session.duplicated) {
      page.model.note('duplicated', 'This tab is a participant of its own.');
      // One camera and one microphone of a person are enough.
      wish = page.wish = { ...wish, voice: undefined, source: wish.source === 'camera' ? 'none' : wish.source };
    }
    read(session);
    await Promise.all([whenIn(session, wish), looked?.catch(() => {})]);
    // A session that is joined waits for what there is to it.
    if (!page.offer) await lookUntilSeen(wish.token);
    await begin(session, wish, began);
  } catch (error) {
    if (page.opening !== opening && !(session && page.session === session)) return;
    page.opening = undefined;
    failed(error);
  }
}

/** A place in line is no session yet; and what serves one that is joined is known once it has been caught up on. */
function whenIn(session, wish) {
  const isIn = ({ state }) => state !== 'queued' && (state !== 'connecting' || Boolean(wish.backend && !wish.session));
  if (isIn(session.status)) return undefined;
  return new Promise((done) => {
    const off = session.on('status', (status) => {
      if (!isIn(status)) return;
      off();
      done();
    });
  });
}

/** What a session is opened for: a picture, or words. */
async function begin(session, wish, began) {
  if (page.session !== session || page.stage) return;
  remember(true);
  if (!isMedia()) {
    // Who asked for words begins to write; a keyboard on glass would hide what there is to read.
    if (!wish.session && document.activeElement === $('main') && matchMedia('(hover: hover)').matches) {
      draw();
      $('text').focus();
    }
    return changed();
  }
  page.stage = new Stage(session, { note: (...what) => page.model.note(...what), began, returns: kindOf(backend()) === 'passthrough', muted: wish.muted ?? false, lost: () => sending.lost() });
  const mayPublish = page.model.role !== 'viewer' && wish.role !== 'viewer';
  const sends = mayPublish && wish.source !== 'none' ? sending.source(wish.source ?? 'pattern') : undefined;
  const speaks = mayPublish && wish.voice ? sending.speak(true) : undefined;
  changed();
  await Promise.all([sends, speaks]);
}

/** Events, to the end of the session; again after each `reconnect`. */
async function read(session) {
  const { model } = page;
  try {
    await model.read(session);
  } catch (error) {
    model.note('page', String(error), 'bad');
    throw error;
  }
  if (page.session !== session) return;
  const { status } = session;
  if (status.state === 'ended') over();
}

function failed(error) {
  if (!error.fault) page.model.note('page', String(error), 'bad');
  const fault = error.fault ?? { code: 'internal', message: error.message, retry: { when: 'after_action', what: 'try_again' } };
  const { model } = page;
  if (model.status.state !== 'failed') {
    model.status = { state: 'failed', fault, legs: [] };
    model.fault = fault;
    model.note('failed', `${fault.code}: ${fault.message}`, 'bad');
  }
  if (!page.session) view('join', true);
  changed();
}

/** The session is over, as somebody wanted it. What was said stays to be read, unless one has left. */
function over() {
  const { session, stage, model } = page;
  page.wish = { ...page.wish, ...SILENT };
  remember(false);
  stage?.close();
  page.stage = undefined;
  page.session = undefined;
  page.wish = { ...page.wish, session: undefined };
  if (session && !stage && model.status.reason !== 'detached' && model.turns.size > 0) {
    const { title, backend, project, cwd } = session.snapshot;
    page.reading = { session: session.id, title, backend, project, cwd, ended: true };
  } else view('join', true);
  changed();
}

async function leave() {
  const { session } = page;
  if (!session) return;
  page.stage?.close();
  page.stage = undefined;
  await session.detach();
  if (page.session === session) over();
}

/** Leaves what is open, and opens another session of the list. @param {import('./sessions.js').Row} row */
async function go(row) {
  if (row.session === (page.session?.id ?? page.reading?.session) || (page.opening && row.session === page.wish.session)) return;
  if (!await quit()) return;
  const wish = { ...page.wish, session: row.session, backend: undefined, source: 'none', ...SILENT };
  if (row.ended) return peruse(row, wish);
  await open(wish);
}

/** Leaves what is open, and asks what to open. */
async function fresh() {
  if (!await quit()) return;
  page.wish = { ...page.wish, session: undefined, ...SILENT, on: false };
  $('session').value = '';
  page.model = new Model();
  view('join');
  changed();
}

/** Lets go of a session; its work goes on. Whether what is to come next is still wanted. */
async function quit() {
  const { session } = page, quitting = page.quitting = {};
  page.stage?.close();
  page.stage = page.session = page.reading = page.opening = undefined;
  sessionStorage.removeItem(`evenkeel.${KEPT}`);
  page.model.removeEventListener('change', changed);
  await session?.detach();
  return page.quitting === quitting;
}

/** A session that is over is only read. */
function peruse(row, wish) {
  page.wish = wish;
  page.reading = row;
  page.model = new Model();
  page.model.addEventListener('change', changed);
  page.model.status = { state: 'ended', reason: 'ended', legs: [] };
  page.model.isCut = true;
  page.model.chat.first = row.head + 1;
  view('session');
  changed();
}

/** After it has failed: the same session again, else as asked for first. */
async function retry() {
  const { session } = page;
  if (!session) return page.opening ? undefined : reopen(page.wish);
  // Only its media was given up.
  if (session.status.state !== 'failed') {
    page.model.note('trying again', 'media');
    return session.media.retry();
  }
  page.model.note('trying again');
  try {
    const done = session.reconnect();
    read(session);
    await done;
    remember(true);
  } catch (error) {
    // Its place is gone: as a new participant of the same session, if there is one.
    if (error.fault?.retry.when !== 'never' || page.session !== session) return changed();
    const gone = error.code === 'session_not_found';
    page.stage?.close();
    page.stage = undefined;
    page.session = undefined;
    await session.close();
    sessionStorage.removeItem(`evenkeel.${KEPT}`);
    await reopen({ ...page.wish, session: gone ? undefined : session.id ?? page.wish.session });
  }
  changed();
}

/** What could not be said the time before can still be said. @param {import('./link.js').Wish} wish */
function reopen(wish) {
  chat.carryOver();
  return open(wish);
}

function remember(on) {
  keep({ ...page.wish, session: page.session?.id ?? page.wish.session, on });
}

const kindOf = (name) => page.offer?.backends.find((one) => one.name === name)?.kind;
const isNamed = () => Boolean(page.session?.snapshot.title);
/** What serves the session that is open. */
const backend = () => page.session?.snapshot.backend || page.wish.backend || page.offer?.default;
const isMedia = () => MEDIA_KINDS.includes(kindOf(backend()));

// Drawing: at most once a frame, and everything from what is known then.

function view(name, keepsLog = false) {
  document.body.dataset.view = name;
  $('join').hidden = name === 'session';
  // Who had just pressed what is hidden now goes on from the top of what is shown.
  const { activeElement } = document;
  if (activeElement !== document.body && activeElement?.checkVisibility?.() === false) $('main').focus({ preventScroll: true });
  if (!keepsLog) $('shared').textContent = '';
}

let due = false, told = '';
function changed() {
  // What the list of sessions tells of this one.
  const tells = `${page.session?.id} ${page.model.status.state} ${page.session?.snapshot.title} ${[...page.model.turns.values()].at(-1)?.state}`;
  if (tells !== told) {
    told = tells;
    sessions.draw();
    sessions.soon();
  }
  if (due) return;
  due = true;
  if (document.hidden) setTimeout(draw);
  else requestAnimationFrame(draw);
}

function draw() {
  due = false;
  const { session, model, stage, offer } = page;
  const stands = ['live', 'degraded', 'recovering'].includes(model.status.state) && Boolean(session);
  drawHealth(model, { id: session?.id, name: session && isNamed() ? line(session.snapshot.title, 60) : undefined, mayLineUp: !session && !page.wish.wait });
  drawLog(model);
  put($('chaos-media').children[1], stage?.isFrozen ? 'Let the source go on' : 'Freeze the source');
  put($('chaos-media').children[2], stage && encoders().some(isStopped) ? 'Let the encoder go on' : 'Stop the encoder');
  drawChaos({ stands, faults: offer?.faults ?? false, media: Boolean(stage), sends: Boolean(stage?.publication) });
  const isText = !isMedia() && Boolean(session);
  chat.draw(isText);
  drawPeople();
  drawStage();
  $('sessions').hidden = !offer || Boolean(claims(page.wish.token).session) || Boolean(stage);
  // What this token can never do is not there; what cannot be done now is.
  $('share').hidden = !session || !offer?.mints;
  $('share').disabled = !stands || !offer?.mints;
  $('share').title = 'Whoever has the link can watch for an hour';
  $('end').hidden = !session || (model.role && model.role !== 'owner');
  $('end').disabled = !stands || model.role !== 'owner';
  $('leave').hidden = $('people').hidden = $('chaos').hidden = !session;
  $('stage').hidden = !stage;
}

function drawStage() {
  const { session, model, stage } = page;
  const stands = ['live', 'degraded', 'recovering'].includes(model.status.state) && Boolean(session);
  stage?.draw({ model, stands, mayPublish: model.role !== 'viewer' });
}

function drawPeople() {
  const { session, model } = page;
  const { participants = [], tracks = [] } = session?.snapshot ?? {};
  keyed($('participants'), participants, ({ participant }) => participant, ({ participant, role, subject }) => make('li', { children: [
    make('strong', { text: participant === session?.participant ? `${subject} (you)` : subject }), make('span', { kind: 'badge', text: role }),
    make('span', { kind: 'speaks', text: 'speaking', hidden: true }), make('small'),
  ] }), (node, { participant }) => {
    const own = tracks.filter((one) => one.participant === participant);
    put(node.querySelector('small'), own.map(({ track, kind, muted }) => `${track} (${kind}${muted ? ', muted' : ''})`).join(', '));
    node.querySelector('.speaks').hidden = !model.speaking.has(participant);
  });
}

/** What is told above the chat takes of its room, and does not push away what one writes in. */
function makeRoom() {
  const chat = $('chat'), measure = () => chat.checkVisibility() && document.documentElement.style.setProperty('--chat-top', `${Math.ceil(chat.getBoundingClientRect().top + scrollY)}px`);
  const room = new ResizeObserver(() => requestAnimationFrame(measure));
  for (const node of [document.querySelector('.bar'), $('sessions'), $('fault'), chat]) room.observe(node);
}

/** A command whose refusal is shown and not thrown. */
function tried(promise) {
  promise.catch((error) => page.model.note('refused', error.fault?.message ?? String(error), 'warn'));
}

// What the server offers, and the form.

async function look(token) {
  const offer = await ask(token, '/v1/backends');
  page.offer = offer;
  sessions.read();
  const wanted = page.wish.backend ?? preferred(offer);
  const options = offer.backends.map(({ name, kind }) => {
    const input = make('input', { type: 'radio', name: 'backend', value: name, checked: name === wanted });
    return make('label', { children: [input, make('span', { text: title(name), children: [make('small', { text: KINDS[kind] ?? kind })] })] });
  });
  $('backends').replaceChildren($('backends').querySelector('legend'), ...options);
  $('backends').hidden = false;
  shape();
  changed();
  return offer;
}

/** A network that changes is no answer, nor is a server that is not well: it is asked again, less and less often. */
async function lookUntilSeen(token) {
  for (let pause = AGAIN_MS; ; pause = Math.min(2 * pause, AGAIN_MAX_MS)) {
    try {
      return await look(token);
    } catch (error) {
      if (error.status < 500) throw error;
      await new Promise((done) => setTimeout(done, pause));
    }
  }
}

/** A picture that returns shows the most; where there is none, what the server has by default. */
const preferred = (offer) => (offer.media && offer.backends.find(({ kind }) => kind === 'passthrough')?.name) || offer.default;

const chosen = () => $('connect').querySelector('input[name="backend"]:checked')?.value;

/** Only what the choice needs. */
function shape() {
  const one = page.offer?.backends.find(({ name }) => name === chosen()), isText = Boolean(one) && !MEDIA_KINDS.includes(one.kind);
  $('sources').hidden = !one || isText;
  $('choices').hidden = !isText;
  $('cwd-box').hidden = !one?.cwd;
  $('model-box').hidden = !one?.models?.length;
  keyed($('model'), one?.models ?? [], String, (name) => make('option', { value: name, text: name }), () => {});
}

function setUpForm() {
  $('connect').addEventListener('change', shape);
  $('token').addEventListener('change', () => {
    const token = $('token').value.trim();
    const { role, session } = claims(token);
    if (role) $('role').value = role;
    if (session) $('session').value = session;
    look(token).catch((error) => failed({ fault: { code: error.code ?? 'internal', message: error.message, retry: { when: 'never' } } }));
  });
  $('connect').addEventListener('submit', async (event) => {
    event.preventDefault();
    const token = $('token').value.trim();
    const wish = {
      token, session: $('session').value.trim() || undefined, backend: chosen(), role: $('role').value,
      source: $('connect').querySelector('input[name="source"]:checked').value, wait: $('wait').checked,
      project: $('project').value.trim() || undefined, title: $('title').value.trim() || undefined, cwd: $('cwd').value.trim() || undefined, model: $('model').value || undefined, busy: $('busy').value,
    };
    const began = performance.now();
    if (!page.offer) await look(token).catch(() => {}); // What is wrong with it, connecting will say.
    open({ ...wish, backend: wish.backend ?? chosen() }, began);
  });
}

function fill({ token = '', session = '', role }) {
  $('token').value = token;
  $('session').value = session;
  $('role').value = role ?? claims(token).role ?? 'owner';
}

// Buttons.

function setUpButtons() {
  $('leave').addEventListener('click', leave);
  $('end').addEventListener('click', () => tried(page.session.end()));
  $('again').addEventListener('click', retry);
  $('another').addEventListener('click', fresh);
  $('line-up').addEventListener('click', () => {
    page.wish = { ...page.wish, wait: true };
    $('wait').checked = true;
    retry();
  });
  $('share').addEventListener('click', share);
  $('use-pattern').addEventListener('click', () => sending.source('pattern'));
  $('use-camera').addEventListener('click', () => sending.source('camera'));
  $('mute').addEventListener('click', () => sending.mute());
  $('stop').addEventListener('click', () => sending.stop());
  $('speak').addEventListener('click', () => sending.speak(!page.stage?.speaks));
  $('hear').addEventListener('click', () => {
    page.stage?.hear(!page.stage.isHeard);
    changed();
  });
  $('longer').addEventListener('click', () => chat.say(LONG));
  setUpChaos({ session: () => page.session, model: () => page.model, media: [
    ['Close the transport', () => page.peers.at(-1)?.close(), 'The WebRTC transport is closed under the session'],
    ['Freeze the source', freeze, 'Your picture stands still: connected, and nothing flows'],
    ['Stop the encoder', stopEncoder, 'Your picture is no longer encoded, by the transport that there is'],
  ] });
}

async function freeze() {
  await page.stage.freeze();
  changed();
}

/** What encodes the picture, on the last transport. */
const encoders = () => (page.peers.at(-1)?.getTransceivers() ?? []).filter(({ direction, receiver }) => direction === 'sendonly' && receiver.track.kind === 'video').map(({ sender }) => sender);
const isStopped = (sender) => sender.getParameters().encodings.some(({ active }) => !active);

/** Of the last transport; the one after it has another. */
async function stopEncoder() {
  const all = encoders(), active = all.some(isStopped);
  for (const sender of all) {
    const parameters = sender.getParameters();
    for (const encoding of parameters.encodings) encoding.active = active;
    await sender.setParameters(parameters);
  }
  changed();
}

async function share() {
  const note = $('shared');
  try {
    const link = await viewerLink(page.wish.token, page.session.id);
    page.shared = link;
    const copied = await navigator.clipboard?.writeText(link).then(() => true, () => false);
    put(note, copied ? 'The link is copied. Whoever has it can watch for an hour.' : 'Copy this link; whoever has it can watch for an hour:');
    if (!copied) note.append(' ', make('code', { text: link }));
  } catch (error) {
    put(note, error.code === 'permission_denied' ? 'This token may not make links for viewers.' : error.message);
  }
}

// Beginning.

async function boot() {
  setUpTheme(changed);
  setUpForm();
  setUpButtons();
  makeRoom();
  const { wish, isNew } = arrive();
  page.wish = wish;
  fill(wish);
  setInterval(() => {
    drawCountdown(page.model);
    drawOutage(page.model);
    drawStage();
  }, 100);
  setInterval(() => timeline.sample(page.model, page.stage?.returned?.returned.frames ?? 0), timeline.EVERY_MS);
  for (const what of ['online', 'offline', 'visibilitychange', 'resize']) addEventListener(what, changed);
  addEventListener('hashchange', () => location.hash.includes('token=') && location.reload());
  draw();
  if (!wish.token) return;
  // Who asks for something new does not go on in what this tab had before.
  if (isNew) sessionStorage.removeItem(`evenkeel.${KEPT}`);
  const looked = look(wish.token);
  looked.catch(() => {}); // Whoever waits for it says so.
  if (!isNew && wish.on === false) return void looked.catch(failed);
  try {
    const claimed = claims(wish.token), named = { ...wish, session: wish.session ?? claimed.session, role: wish.role ?? claimed.role };
    // What is named needs no choice.
    const backend = named.session || named.backend ? named.backend : preferred(await looked);
    await open({ ...named, backend }, 0, looked);
  } catch (error) {
    failed(error.fault ? error : { fault: { code: error.code ?? 'internal', message: error.message, retry: { when: 'never' } } });
  }
}

boot();
