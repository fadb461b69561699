// The conversation with a text backend: puts its parts together. What a model, a tool or another
// participant says becomes text nodes, and nothing else.

import { $, conversation, keepFocus, keyed, make, put } from './dom.js';
import { Announcer } from './chat/announce.js';
import { Composer } from './chat/composer.js';
import { TurnView } from './chat/turn.js';
import { Outbox, drawOutbox, drawQueue } from './chat/waiting.js';
import { claims } from './link.js';
import { Older } from './older.js';
import { TURNS_MAX, isOpen } from './turns.js';
import { line } from './text/visible.js';
import { sentenced } from './words.js';

/** How near the end counts as at the end. */
const NEAR = 80;
/** The longest that the first picture of a conversation waits for its older part. */
const FIRST_MS = 4_000;
/** Windows that are read of a log for the beginning of one turn. */
const READS_MAX = 32;
/** Characters of the title that a session gets by itself. */
const TITLE_MAX = 60;
/** Roles that may say something. */
const SAY = ['owner', 'publisher'];

/**
 * @typedef {object} Around
 * @property {() => any} session
 * @property {() => { session: string, title?: string, backend: string, project?: string } | undefined} reading a session that is over
 * @property {() => import('./model.js').Model} model
 * @property {() => string} token
 * @property {() => void} changed
 * @property {() => { kind?: string, models?: string[] } | undefined} backend what serves it, as the server offers it
 * @property {(what: string, text: string) => void} note
 */

export class Chat {
  outbox = new Outbox();
  /** @type {Older | undefined} */
  older = undefined;
  /** What was shown before the log was passed over: it stays, though the reader has not got there. @type {Map<string, import('./turns.js').Turn>} */
  #kept = new Map();
  /** Where that was; what lies between is read. */
  #passedFrom = Infinity;
  /** Commands that this server does not know. @type {Set<string>} */
  missing = new Set();
  /** @type {Map<string, TurnView>} */
  #views = new Map();
  #announcer = new Announcer();
  #model;
  #around;
  #follows = true;
  #isFirst = true;
  #began = 0;
  /** What was said first has named the session, or is on its way to. */
  #isNamed = false;
  /** @type {Outbox | undefined} */
  #carried = undefined;

  /** @param {Around} around */
  constructor(around) {
    this.#around = around;
    this.composer = new Composer({
      say: (text) => this.say(text), stop: () => this.stop(), canStop: () => Boolean(this.#running), changed: around.changed,
    });
    const list = $('turns');
    list.addEventListener('scroll', () => {
      this.#follows = list.scrollHeight - list.scrollTop - list.clientHeight < NEAR;
      if (list.scrollTop < 200) this.#readOlder();
      $('latest').hidden = this.#follows;
    });
    list.addEventListener('click', (event) => this.#copied(event));
    $('latest').addEventListener('click', () => {
      list.focus({ preventScroll: true });
      this.#toEnd();
    });
    $('cancel').addEventListener('click', () => this.stop());
    $('chat-model').addEventListener('change', () => {
      const session = this.#around.session(), model = $('chat-model').value;
      if (session) this.#tried('params.set', session.set({ model }));
    });
    new ResizeObserver(() => this.#follows && this.#toEnd()).observe(list);
  }

  get #running() {
    return [...this.#model?.turns.values() ?? []].find(({ state }) => state === 'running' || state === 'waiting');
  }

  // What is sent.

  say(text) {
    const session = this.#around.session();
    if (!session) return this.composer.put(text);
    const asks = [...this.#model.turns.values()].find(({ state, action }) => state === 'waiting' && !action?.options?.length);
    this.#follows = true;
    const sent = asks ? session.answer(asks.turn, asks.action.id, text.trim()) : session.say(text);
    this.outbox.add(text, sent, this.#around.changed);
    // A session is called by what it began with, until somebody calls it something else.
    const isNew = this.#model.turns.size === 0 && !this.#model.isCut && this.#model.role === 'owner' && !session.snapshot.title && !this.#isNamed;
    this.#isNamed ||= isNew;
    if (isNew) sent.then(() => session.describe({ title: line(text.trim().split('\n')[0], TITLE_MAX) })).catch(() => {}); // It stays without.
  }

  /** What was refused is still there in the session that is opened next. */
  carryOver() {
    this.#carried = this.outbox;
  }

  stop(turn = this.#running?.turn) {
    const session = this.#around.session();
    if (session && turn) this.#tried('turn.cancel', session.cancel(turn));
  }

  /** A command that the server may not know, or refuse; then that is said. */
  async #tried(name, promise) {
    try {
      put($('chat-note'), '');
      await promise;
    } catch (error) {
      const { fault } = error, isUnknown = fault?.code === 'invalid_request' && /no such command/.test(fault.message);
      if (isUnknown) this.missing.add(name);
      put($('chat-note'), isUnknown ? 'This server cannot do that.' : sentenced(fault?.message ?? error));
      this.#around.note('refused', fault?.message ?? String(error));
    }
    this.#around.changed();
  }

  // What is drawn.

  /** @param {boolean} isText whether words are what it is for */
  draw(isText) {
    keepFocus($('chat'), () => this.#draw(isText), conversation);
  }

  /** @param {boolean} isText */
  #draw(isText) {
    const model = this.#around.model(), session = this.#around.session();
    if (model !== this.#model) this.#begin(model);
    const { chat } = model, isShown = isText || chat.all.size > 0 || Boolean(this.#around.reading());
    $('chat').hidden = !isShown;
    this.composer.belongsTo(isText ? session?.id : undefined);
    const about = this.#about(session, model);
    this.#header(session, model);
    if (isShown && this.#isReady(model)) {
      this.#turns(chat, about);
      this.#announcer.tell(chat, about.nameOf);
    }
    drawQueue(chat.waiting, about);
    drawOutbox(this.outbox, {
      again: (said) => (this.outbox.remove(said), this.say(said.text)),
      back: (said) => (this.outbox.remove(said), this.composer.put(said.text), this.composer.field.focus(), this.#around.changed()),
      drop: (said) => (this.outbox.remove(said), this.#around.changed()),
    }, model.status.state === 'recovering');
    this.#controls(isText, model, about);
  }

  #begin(model) {
    this.#model = model;
    this.#views.clear();
    this.#announcer.reset();
    $('turns').replaceChildren();
    this.older = undefined;
    this.#kept.clear();
    this.#passedFrom = Infinity;
    this.outbox = this.#carried ?? new Outbox();
    this.#carried = undefined;
    this.#isNamed = false;
    this.#follows = this.#isFirst = true;
    this.#began = performance.now();
    put($('chat-note'), '');
  }

  /** The first that is seen is all that is known: nothing that was there before a reload comes bit by bit. */
  #isReady(model) {
    if (!this.#isFirst) return true;
    const { state, phase } = model.status, isLate = performance.now() - this.#began > FIRST_MS;
    const isCatching = state === 'connecting' || phase === 'replay';
    if (model.isCut && !this.older && !isCatching) this.#readOlder();
    const isWaiting = isCatching || (model.isCut && (this.older === undefined || this.older.isReading || (model.chat.missingSome && !this.older.isAtEnd && !this.older.error)));
    if (isWaiting && !isLate) {
      setTimeout(this.#around.changed, 50);
      return false;
    }
    this.#isFirst = false;
    return true;
  }

  #about(session, model) {
    const { chat, role } = model, me = session?.participant;
    const subjects = new Map(chat.subjects);
    for (const { participant, subject } of session?.snapshot.participants ?? []) subjects.set(participant, subject);
    const mine = session ? subjects.get(me) : claims(this.#around.token() ?? '').sub;
    const maySay = Boolean(session) && SAY.includes(role);
    const nameOf = (participant) => (participant === undefined ? 'the server' : participant === me ? 'you' : line(subjects.get(participant) ?? participant, 60));
    return {
      nameOf, maySay, mayAnswer: maySay, isBusy: Boolean(this.#running),
      isMine: (participant) => participant === me || (mine !== undefined && subjects.get(participant) === mine),
      can: (command) => !this.missing.has(command),
      answer: (turn, action, answer) => {
        const sent = session.answer(turn, action, answer);
        this.#tried('turn.answer', sent);
        return sent;
      },
      stop: (turn) => this.stop(turn),
      retry: (turn) => this.#tried('turn.retry', session.retry(turn)),
      goOn: (turn) => this.#tried('turn.continue', session.continueTurn(turn)),
      promote: (turn) => this.#tried('turn.promote', session.promote(turn)),
      copy,
    };
  }

  #header(session, model) {
    const snapshot = session?.snapshot ?? this.#around.reading();
    put($('chat-title'), line(snapshot?.title, 80) || 'Conversation');
    const facts = snapshot ? [snapshot.backend, snapshot.project, snapshot.cwd, model.role && BUSY[snapshot.busy?.policy], [...model.turns.values()].at(-1)?.mode] : [];
    this.#models(session, model.role);
    put($('chat-facts'), facts.filter(Boolean).map((fact) => line(fact, 80)).join(' · '));
  }

  /** Another model, where the backend has several. */
  #models(session, role) {
    const { models = [] } = this.#around.backend() ?? {}, chosen = session?.snapshot.params?.model ?? '';
    const box = $('chat-model');
    box.hidden = models.length === 0 || role !== 'owner';
    keyed(box, box.hidden ? [] : models, String, (name) => make('option', { value: name, text: name }), () => {});
    // Its usual one comes first.
    if (document.activeElement !== box) box.value = models.includes(chosen) ? chosen : models[0] ?? '';
  }

  #turns(chat, about) {
    if (chat.passed || (this.older && chat.first !== Infinity && chat.first > this.older.until)) this.#passOver(chat);
    const list = $('turns'), { older } = this;
    if (older && chat.missingSome) chat.complete(older.fold);
    const before = [...this.#kept.values()].filter(({ turn }) => !older?.turns.has(turn));
    const old = [...before, ...older?.turns.values() ?? []].filter(({ turn }) => !chat.all.has(turn));
    if (this.#follows && old.length + chat.all.size > 2 * TURNS_MAX && chat.trim()) return this.#restart();
    const shown = [...old, ...[...chat.all.values()].filter(({ state }) => state !== 'queued')];
    // What is read stays where it is when something older comes in above it.
    const anchor = this.#follows ? undefined : [...list.children].find((node) => node.offsetTop + node.offsetHeight > list.scrollTop);
    const top = anchor?.offsetTop ?? 0;
    let isWhole = true;
    keyed(list, shown, ({ turn }) => turn, ({ turn }) => {
      const view = new TurnView();
      this.#views.set(turn, view);
      return view.element;
    }, (_, turn) => {
      if (!this.#views.get(turn.turn)?.show(turn, about)) isWhole = false;
    });
    if (this.#views.size > shown.length) for (const [id, view] of this.#views) if (!view.element.isConnected) this.#views.delete(id);
    if (this.#follows) this.#toEnd();
    else if (anchor?.isConnected) list.scrollTop += anchor.offsetTop - top;
    if (!isWhole) setTimeout(this.#around.changed, 30);
    const hasMore = older ? !older.isAtEnd : chat.first > 1 && chat.first !== Infinity;
    put($('older'), older?.isReading ? 'Reading what was said before…' : older?.error ? `What was said before cannot be read: ${older.error.message}` : older?.isTrimmed ? (before.length > 0 ? 'Some of what was said in between is no longer kept.' : 'What was said before is no longer kept.') : hasMore ? 'Scroll up for what was said before.' : '');
    // A short conversation does not fill its room: then there is nothing to scroll.
    if (hasMore && !older?.error && !older?.isReading && list.scrollHeight <= list.clientHeight) this.#readOlder();
  }

  /** A snapshot stands in for what was between: it is read from there on, and what was here stays. @param {import('./turns.js').Turns} chat */
  #passOver(chat) {
    const { turns, from } = chat.passed ?? { turns: [], from: Infinity };
    const known = [...this.#kept, ...this.older?.turns ?? [], ...turns.map((turn) => [turn.turn, turn])];
    this.#kept = new Map(known.slice(-2 * TURNS_MAX));
    this.#passedFrom = Math.min(this.#passedFrom, from);
    chat.passed = this.older = undefined;
    this.#readOlder();
  }

  #restart() {
    this.older = undefined;
    this.#kept.clear();
    this.#passedFrom = Infinity;
    this.#around.changed();
  }

  async #readOlder() {
    const id = this.#around.session()?.id ?? this.#around.reading()?.session, model = this.#model;
    const { first } = model.chat;
    if (!id || first === Infinity) return;
    this.older ??= new Older(this.#around.token(), id, first);
    const { older } = this;
    if (older.isReading) return;
    // As far back as the beginning of what is here only in part.
    for (let n = 0; n < READS_MAX; n += 1) {
      if (!await older.read() || model !== this.#model || older !== this.older) break;
      model.chat.complete(older.fold);
      if (older.isAtEnd) break;
      const isClosed = older.from <= this.#passedFrom && !(older.wantsMore && this.#passedFrom < Infinity);
      if (isClosed) this.#passedFrom = Infinity;
      if (isClosed && !model.chat.missingSome) break;
    }
    if (model === this.#model) this.#around.changed();
  }

  #toEnd() {
    const list = $('turns');
    this.#follows = true;
    $('latest').hidden = true;
    list.scrollTop = list.scrollHeight;
  }

  #controls(isText, model, about) {
    const running = this.#running;
    // Who can say nothing has no field for it, and a word about why.
    const whyNot = this.#whyNot(isText, model, about);
    put($('say-not').firstChild, whyNot);
    $('say-not').hidden = !whyNot;
    $('another').hidden = !this.#around.reading();
    $('say').hidden = Boolean(whyNot);
    $('longer').hidden = this.#around.backend()?.kind !== 'echo'; // No other would understand it.
    const isIdle = !running || Boolean(running.cancelling);
    if (isIdle && document.activeElement === $('cancel')) conversation().focus({ preventScroll: true }); // Before it is lost.
    $('cancel').disabled = isIdle;
    put($('cancel'), running?.cancelling ? 'Stopping…' : 'Stop');
    const { waits } = this.outbox;
    put($('receipts'), waits > 0 && model.status.state === 'recovering' ? `${waits} said and not answered yet; kept until there is an answer.` : '');
    const asks = running?.state === 'waiting' && !running.action?.options?.length;
    const policy = this.#around.session()?.snapshot.busy?.policy;
    put($('hint'), this.composer.isAsking ? 'Press Escape once more to stop.' : asks ? 'What you say now answers the question.' : running ? HINTS[policy] ?? '' : 'Enter sends, Shift+Enter is a new line.');
    $('chat').dataset.busy = running ? 'yes' : 'no';
  }

  #whyNot(isText, { role, status }, about) {
    if (!isText) return this.#around.reading() ? 'This session is over: nothing more is said in it.' : '';
    if (status.state === 'queued') return 'You can say something once it is your turn.';
    return role && !about.maySay ? 'You are watching. Only who takes part can say something.' : '';
  }

  async #copied({ target }) {
    if (!target.matches?.('button.copy')) return;
    const pre = target.closest('.code')?.querySelector('pre');
    put(target, pre && await copy(pre.source ?? pre.textContent) ? 'Copied' : 'Not copied');
    setTimeout(() => put(target, 'Copy'), 1_500);
  }

  /** Whether something runs or waits here. */
  get isBusy() {
    return [...this.#model?.turns.values() ?? []].some(isOpen);
  }
}

const BUSY = { reject: 'one at a time', queue: 'queues', steer: 'steers', replace: 'replaces' };
const HINTS = {
  queue: 'What you say now waits for its turn. Esc twice stops.',
  reject: 'A turn runs: say more when it is over. Esc twice stops.',
  steer: 'What you say now is added to the turn. Esc twice stops.',
  replace: 'What you say now replaces the turn. Esc twice stops.',
};

/** @param {string} text */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
