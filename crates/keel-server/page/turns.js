// The turns of a session, folded from its log: what was asked, what was said and done in answer, in the
// order in which it came, and how it ended. It draws nothing.

/** Turns that are held; older ones are read again from the log when somebody looks for them. */
export const TURNS_MAX = 200;
/** The same while somebody reads older ones. */
const HELD_MAX = 2_000;
/** Characters of a thought, or of what one tool says, that are held. */
const ITEM_CHARS_MAX = 64 * 1024;
/** Parts of a turn: beyond it only text is added. */
const PARTS_MAX = 2_000;
const OPEN = ['queued', 'running', 'waiting'];

const encoder = new TextEncoder(), decoder = new TextDecoder();
export const bytesOf = (text) => encoder.encode(text).length;
const fromByte = (text, byte) => decoder.decode(encoder.encode(text).subarray(byte));

/**
 * @typedef {{ kind: 'text', text: string }
 *   | { kind: 'thought', text: string }
 *   | { kind: 'tool', id: string, title: string, tool?: string, status: string, input?: unknown, output?: unknown }
 *   | { kind: 'plan', entries: { content: string, status: string, priority?: string }[] }
 *   | { kind: 'notice', level: string, text: string }
 *   | { kind: 'action', action: any, answer?: unknown, by?: string, isOver: boolean }
 *   | { kind: 'steered', by: string, text: string }
 *   | { kind: 'raw', data: any }} Part
 */

/**
 * @typedef {object} Turn
 * @property {string} turn
 * @property {string} by
 * @property {string} prompt
 * @property {string} state `queued`, `running`, `waiting`, or how it ended
 * @property {number} attempt
 * @property {number} bytes of its text
 * @property {string} text
 * @property {Part[]} parts
 * @property {number} [missing] bytes at its beginning that are not here
 * @property {any} [action] what it waits for
 * @property {any} [fault]
 * @property {any} [tried] why there was another attempt
 * @property {string} [stop_reason]
 * @property {boolean} [forced]
 * @property {{ step: string, by?: string }} [cancelling]
 * @property {{ attempt: number, fault: any, until: number }} [retrying]
 * @property {any} [usage]
 * @property {string} [mode]
 * @property {string} [retry_of]
 * @property {string} [continues]
 * @property {number} [seq] where in the log it was accepted
 * @property {number} [ended] where in the log it ended
 * @property {{ bytes: number, parts: number, chars: number }} [base] what a snapshot told of it, where what was before is missing
 * @property {boolean} began
 * @property {number} rev grows with each change
 */

export const isOpen = (turn) => OPEN.includes(turn.state);

/** Adds to a text that is held up to a bound. */
const held = (text) => (text.length > ITEM_CHARS_MAX ? `${text.slice(0, ITEM_CHARS_MAX)}…` : text);
/** Whatever a provider says in the place of a text. */
const textOf = (value) => (typeof value === 'string' ? value : value === undefined || value === null ? '' : JSON.stringify(value, undefined, 2));

export class Turns {
  /** In the order in which they began; who waits stands behind. @type {Map<string, Turn>} */
  all = new Map();
  /** The turns that wait, the next one first. @type {string[]} */
  queue = [];
  /** Holes in a text, which there must not be. */
  holes = 0;
  /** Who took part, by participant. @type {Map<string, string>} */
  subjects = new Map();
  /** What became of the agent's own session. @type {any} */
  agent = undefined;
  /** The first position of the log that was told to this fold. */
  first = Infinity;
  /** Turns that were over before a snapshot took the place of the log, and where it did. @type {{ turns: Turn[], from: number } | undefined} */
  passed = undefined;

  clear() {
    this.all.clear();
    this.queue = [];
    this.first = Infinity;
    this.passed = undefined;
  }

  /** Whether a snapshot stands in for the beginning of something here. */
  get missingSome() {
    for (const { base } of this.all.values()) if (base) return true;
    return false;
  }

  get waiting() {
    return this.queue.flatMap((id) => this.all.get(id) ?? []);
  }

  /** @param {string} kind @param {any} data @param {number} seq where it stands in the log */
  apply(kind, data, seq) {
    this.first = Math.min(this.first, seq);
    if (kind === 'participant.joined') return void this.subjects.set(data.participant, data.subject);
    if (kind === 'agent.bound') return void (this.agent = data);
    if (kind === 'turn.accepted') return this.#accepted(data, seq);
    const turn = this.all.get(data?.turn);
    if (!turn) return;
    turn.rev += 1;
    this.#turn(turn, kind, data);
    if (kind === 'turn.ended') turn.ended = seq;
  }

  #accepted({ turn, by, text, retry_of, continues }, seq) {
    this.all.set(turn, { turn, by, prompt: text, retry_of, continues, attempt: 0, bytes: 0, text: '', parts: [], state: 'queued', seq, began: false, rev: 0 });
    this.queue.push(turn);
    if (this.all.size > HELD_MAX) this.trim();
  }

  /** Lets go of the oldest turns that are over: they are in the log. @returns {boolean} whether there were any */
  trim() {
    const before = this.all.size;
    for (const [id, old] of this.all) {
      if (this.all.size <= TURNS_MAX) break;
      if (isOpen(old)) continue;
      this.all.delete(id);
      this.first = Math.max(this.first, (old.ended ?? 0) + 1);
    }
    return this.all.size < before;
  }

  /** @param {Turn} turn */
  #turn(turn, kind, data) {
    switch (kind) {
      case 'turn.started': return this.#started(turn, data);
      case 'text': return this.#text(turn, data);
      case 'item': return data.attempt === turn.attempt ? this.#item(turn, data.data) : undefined;
      case 'turn.waiting': {
        turn.parts.push({ kind: 'action', action: data.action, isOver: false });
        return void Object.assign(turn, { action: data.action, state: 'waiting' });
      }
      case 'turn.answered': {
        const asked = turn.parts.findLast((part) => part.kind === 'action' && part.action.id === data.action);
        if (asked) Object.assign(asked, { answer: data.answer, by: data.by, isOver: true });
        return void Object.assign(turn, { action: undefined, state: 'running' });
      }
      case 'turn.cancelling': return void (turn.cancelling = { step: data.step, by: data.by });
      case 'turn.retrying': return void (turn.retrying = { attempt: data.attempt, fault: data.fault, until: performance.now() + data.in_ms });
      case 'turn.steered': return void turn.parts.push({ kind: 'steered', by: data.by, text: data.text });
      case 'turn.moved': return this.#moved(turn, data.position);
      case 'turn.ended': return this.#ended(turn, data);
      default: return undefined;
    }
  }

  /** @param {Turn} turn */
  #started(turn, { attempt, fault }) {
    this.#dequeue(turn);
    if (!turn.began) {
      // In the order in which they began.
      this.all.delete(turn.turn);
      this.all.set(turn.turn, turn);
    }
    Object.assign(turn, { attempt, bytes: 0, text: '', parts: [], state: 'running', tried: fault, began: true, retrying: undefined, missing: undefined, base: undefined });
  }

  /** @param {Turn} turn */
  #text(turn, { attempt, at_byte, data }) {
    if (attempt !== turn.attempt) return;
    if (at_byte > turn.bytes) this.holes += 1;
    const text = at_byte < turn.bytes ? fromByte(data, turn.bytes - at_byte) : data;
    turn.bytes = Math.max(turn.bytes, at_byte + bytesOf(data));
    turn.retrying = undefined;
    turn.text += text;
    const last = turn.parts.at(-1);
    if (last?.kind === 'text') last.text += text;
    else if (text) turn.parts.push({ kind: 'text', text });
  }

  /** @param {Turn} turn @param {any} said */
  #item(turn, said) {
    // A program of one's own wraps what it says.
    const item = said?.type === 'item' && typeof said.item === 'object' ? said.item : said;
    const { parts } = turn, last = parts.at(-1);
    turn.retrying = undefined;
    const add = (part) => void (parts.length < PARTS_MAX && parts.push(part));
    switch (item?.type) {
      case 'thought': {
        if (last?.kind === 'thought') last.text = held(last.text + textOf(item.text));
        else add({ kind: 'thought', text: held(textOf(item.text)) });
        return;
      }
      case 'tool_call':
      case 'tool_update': {
        const known = parts.findLast((part) => part.kind === 'tool' && part.id === item.id);
        const tool = known ?? { kind: 'tool', id: item.id, title: '', status: 'pending' };
        for (const name of ['title', 'status']) if (item[name] !== undefined) tool[name] = textOf(item[name]);
        if (item.kind !== undefined) tool.tool = textOf(item.kind);
        for (const name of ['input', 'output']) if (item[name] !== undefined) tool[name] = held(textOf(item[name]));
        if (!known) add(tool);
        return;
      }
      case 'plan': {
        const entries = (Array.isArray(item.entries) ? item.entries : []).map(({ content, status, priority } = {}) => ({ content: textOf(content), status: textOf(status), priority }));
        const known = parts.findLast(({ kind }) => kind === 'plan');
        if (known) known.entries = entries;
        else add({ kind: 'plan', entries });
        return;
      }
      case 'mode': return void (turn.mode = textOf(item.mode));
      case 'usage': return void (turn.usage = item);
      case 'notice': return add({ kind: 'notice', level: textOf(item.level), text: held(textOf(item.text)) });
      case 'commands': return undefined;
      default: return add({ kind: 'raw', data: held(textOf(item)) });
    }
  }

  /** @param {Turn} turn */
  #moved(turn, position) {
    // Behind as many open ones as it now has before it; those that run are not in the queue.
    const running = [...this.all.values()].filter(({ state }) => state === 'running' || state === 'waiting').length;
    this.#dequeue(turn);
    this.queue.splice(Math.max(0, position - running), 0, turn.turn);
  }

  /** @param {Turn} turn */
  #ended(turn, { end, attempt, bytes, fault, stop_reason, forced }) {
    this.#dequeue(turn);
    if (attempt === turn.attempt && bytes !== turn.bytes && !turn.missing) this.holes += 1;
    for (const part of turn.parts) if (part.kind === 'action') part.isOver = true;
    Object.assign(turn, { state: end, fault, stop_reason, forced, action: undefined, cancelling: undefined, retrying: undefined });
  }

  /** @param {Turn} turn */
  #dequeue({ turn }) {
    this.queue = this.queue.filter((id) => id !== turn);
  }

  /**
   * A snapshot's turns in place of these, with what was known of their text before its tail.
   * @param {any} snapshot
   * @param {{ from: number, to: number }} range what it stands in for
   * @param {boolean} [isOther] whether what was told before may not be in the log any more
   */
  gap({ turns, participants }, { from, to }, isOther = false) {
    for (const { participant, subject } of participants) this.subjects.set(participant, subject);
    const old = this.all;
    this.all = new Map(turns.map((view) => [view.turn, ofView(view, old.get(view.turn))]));
    this.queue = turns.filter(({ state }) => state === 'queued').map(({ turn }) => turn);
    this.first = to + 1;
    if (isOther || old.size === 0) return;
    const over = [...old.values()].filter((turn) => !isOpen(turn) && !this.all.has(turn.turn));
    this.passed = { turns: [...this.passed?.turns ?? [], ...over], from: Math.min(from, this.passed?.from ?? from) };
  }

  /**
   * What an older part of the log says of turns that are here from a snapshot: what they had said before.
   * @param {Turns} older the fold of the log up to there
   */
  complete(older) {
    for (const turn of this.all.values()) {
      const known = older.all.get(turn.turn);
      const base = turn.base;
      if (!known || !base || known.attempt !== turn.attempt || known.bytes !== base.bytes) continue;
      const since = turn.parts.slice(base.parts), tail = turn.text.slice(base.chars), last = known.parts.at(-1);
      // What came on in the same breath is one text.
      const parts = [...known.parts], grown = turn.parts[base.parts - 1];
      const more = grown?.kind === 'text' ? grown.text.slice(base.chars) : '';
      if (more) last?.kind === 'text' ? parts.splice(-1, 1, { ...last, text: last.text + more }) : parts.push({ kind: 'text', text: more });
      const isAsked = turn.action && ![...parts, ...since].some((part) => part.kind === 'action' && part.action.id === turn.action.id);
      if (isAsked) parts.push({ kind: 'action', action: turn.action, isOver: false });
      const { prompt, retry_of, continues, seq, usage, mode } = known;
      Object.assign(turn, { prompt, retry_of, continues, seq, usage: turn.usage ?? usage, mode: turn.mode ?? mode, text: known.text + tail, parts: [...parts, ...since.filter((part) => part.kind !== 'action' || !parts.some((one) => one.kind === 'action' && one.action.id === part.action.id))], base: undefined, missing: undefined, rev: turn.rev + 1 });
    }
    for (const [participant, subject] of older.subjects) if (!this.subjects.has(participant)) this.subjects.set(participant, subject);
  }
}

/** @param {any} view @param {Turn | undefined} known @returns {Turn} */
function ofView({ turn, by, prompt, attempt, bytes, tail, state, ended, action }, known) {
  const start = bytes - bytesOf(tail);
  const how = { attempt, bytes, state: ended?.end ?? state, fault: ended?.fault, stop_reason: ended?.stop_reason, forced: ended?.forced, action, began: state !== 'queued' };
  const joins = known?.attempt === attempt && known.bytes >= start && known.bytes <= bytes;
  const parts = joins ? known.parts : [], more = joins ? fromByte(tail, known.bytes - start) : tail, last = parts.at(-1);
  if (more && last?.kind === 'text') last.text += more;
  else if (more) parts.push({ kind: 'text', text: more });
  const text = joins ? known.text + more : tail, count = parts.length;
  if (action && !parts.some((part) => part.kind === 'action' && part.action.id === action.id)) parts.push({ kind: 'action', action, isOver: false });
  for (const part of parts) if (part.kind === 'action' && part.action.id !== action?.id) part.isOver = true;
  const fresh = { turn, by, prompt, text, parts, rev: (known?.rev ?? 0) + 1, seq: known?.seq, missing: joins ? known.missing : start, base: joins ? known.base : { bytes, parts: count, chars: tail.length } };
  return { ...known, ...fresh, prompt: known?.prompt ?? prompt, ...how };
}
