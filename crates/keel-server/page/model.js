// What the page knows of one session: what was told, in order, and what came of it. It draws nothing;
// it says `change` when something has changed, and `note` when something happened.

import { Turns } from './turns.js';

const LOG_MAX = 500;
/** Characters of one entry. */
const NOTE_MAX = 400;
/** How long after a button a loss still counts as its doing. */
const BLAME_MS = 20_000;

/** A picture that does not come for so long after an outage is another matter. */
const PICTURE_MS = 5_000;
/** How old the last picture may be where one flows. */
const FLOWS_MS = 300;

/** How long after an outage lost frames are still its own. */
const SETTLES_MS = 1_000;

export class Model extends EventTarget {
  /** What happened, oldest first. @type {{ at: number, kind: string, text: string, tone: string }[]} */
  log = [];
  chat = new Turns();
  /** Where a snapshot stood in for the log before it, as it was asked to. */
  isCut = false;
  /** Outages, the last one last. @type {Outage[]} */
  outages = [];
  counters = { lost: 0, recovered: 0, attemptsFailed: 0, holes: 0, gaps: 0, notices: 0 };
  /** What ended it, if it failed. */
  fault = undefined;
  how = undefined;
  role = undefined;
  status = { state: 'idle', legs: [] };
  /** When the status came, on the clock of `performance`. */
  statusAt = 0;
  /** Who speaks, where the server tells. @type {Set<string>} */
  speaking = new Set();
  /** The last thing that was broken by a button. */
  broke = undefined;
  /** The figures of the picture, where there is one: `{ at, lost }`. @type {() => { at: number, lost?: number } | undefined} lost: what is known of it */
  picture = () => undefined;
  #told = 0;

  get turns() {
    return this.chat.all;
  }

  /** @param {string} kind @param {string} [text] @param {'plain' | 'good' | 'warn' | 'bad'} [tone] */
  note(kind, text = '', tone = 'plain') {
    this.log.push({ at: Date.now(), kind, text: text.length > NOTE_MAX ? `${text.slice(0, NOTE_MAX)}…` : text, tone, n: (this.#told += 1) });
    if (this.log.length > LOG_MAX) this.log.shift();
    this.changed();
  }

  changed() {
    this.dispatchEvent(new Event('change'));
  }

  /** A button has broken something now. @param {string} what */
  breaks(what) {
    this.broke = { what, at: performance.now() };
    this.note('broken on purpose', what, 'warn');
  }

  /** Follows a session until it is over, and once more after each reconnect. @param {import('/sdk/index.js').Session} session */
  follow(session) {
    session.on('status', (status) => this.#status(status));
    session.on('receipt', ({ name, outcome }) => this.#receipt(name, outcome));
    session.on('slow_consumer', () => this.note('slow consumer', 'Events were passed over here.', 'warn'));
    this.#status(session.status);
  }

  /** Reads what happens, to its end. @param {import('/sdk/index.js').Session} session */
  async read(session) {
    for await (const event of session.events()) {
      this.#event(event);
      this.changed();
    }
  }

  #status(status) {
    const before = this.status;
    this.status = status;
    this.statusAt = performance.now();
    if (status.state !== before.state) {
      const tone = { live: 'good', degraded: 'warn', recovering: 'warn', failed: 'bad' }[status.state];
      this.note(status.state, status.fault ? `${status.fault.code}: ${status.fault.message}` : '', tone);
    }
    for (const leg of status.legs) {
      const was = before.legs.find((one) => one.leg === leg.leg)?.health ?? 'up';
      if (was !== leg.health && leg.leg !== 'signaling') this.note(`${leg.leg} ${leg.health}`, leg.fault?.message ?? '', leg.health === 'up' ? 'good' : 'warn');
    }
    if (status.state === 'failed') this.fault = status.fault;
    else if (status.state !== 'ended') this.fault = undefined;
    this.#outage(status);
    this.changed();
  }

  /** From the first word about a loss to the first of its being over. */
  #outage(status) {
    const now = performance.now(), last = this.outages.at(-1), isOpen = last && last.wellAt === undefined && !last.failed;
    const isWell = status.state === 'live', isOff = status.legs.some(({ health }) => health !== 'up') || status.state === 'failed';
    if (!isOpen && isOff && status.state !== 'connecting' && status.state !== 'ended') {
      const leg = status.legs.find(({ health }) => health !== 'up')?.leg ?? 'signaling';
      const picture = this.picture();
      const isOurs = this.broke && now - this.broke.at < BLAME_MS;
      // What it began with: the button, or the last picture that came.
      const began = isOurs ? this.broke.at : leg === 'media' && picture?.at ? picture.at : undefined;
      this.outages.push({ leg, code: status.fault?.code, began: began ?? now, toldAt: now, toldMs: began === undefined ? undefined : now - began, by: isOurs ? this.broke.what : undefined, lostBefore: picture ? picture.lost : 0, lost: undefined, wellAt: undefined, backMs: undefined, failed: false });
      if (isOurs) this.broke = undefined;
      if (this.outages.length > 50) this.outages.shift();
    } else if (isOpen && isWell) {
      last.wellAt = now;
      this.settle();
    } else if (isOpen && (status.legs.some(({ leg, health }) => leg === 'media' && health === 'down') || status.state === 'failed' || status.state === 'ended')) {
      // The server's own legs come back by themselves.
      last.failed = true;
    }
  }

  /** An outage is over with the first picture after it, where there was one: only that knows what was lost. */
  settle() {
    const last = this.outages.at(-1), picture = this.picture();
    if (!last || last.failed) return;
    const isOver = last.backMs !== undefined;
    // The first that comes may be an old one, sent again: what it says of the lost is not the last word.
    const settles = !isOver || performance.now() <= last.began + last.backMs + SETTLES_MS;
    if (settles && picture?.lost !== undefined && last.lostBefore !== undefined) last.lost = picture.lost - last.lostBefore;
    if (isOver || last.wellAt === undefined) return;
    const isLate = performance.now() - last.wellAt > PICTURE_MS;
    if (!picture || isLate) last.backMs = last.wellAt - last.began;
    else if (picture.at > last.toldAt && performance.now() - picture.at < FLOWS_MS) last.backMs = Math.max(picture.at, last.wellAt) - last.began;
  }

  #receipt(name, outcome) {
    const fault = outcome.answered?.fault ?? outcome.refused ?? outcome.unknown;
    this.note(`receipt of ${name}`, fault ? `${fault.code}: ${fault.message}` : 'ok', fault ? 'warn' : 'plain');
  }

  #event(event) {
    switch (event.type) {
      case 'joined': {
        const { how, role } = event;
        this.how = how;
        this.role = role;
        // From the beginning again, or on from where it was.
        if (how === 'created' || how === 'joined') this.chat.clear();
        return this.note('joined', `${how} as ${role}`, 'good');
      }
      case 'log': {
        this.chat.apply(event.kind, event.data, event.from);
        this.counters.holes = this.chat.holes;
        return this.#log(event.kind, event.data, event.known);
      }
      case 'gap': {
        const isAsked = event.from === 1 && this.turns.size === 0 && !event.fault;
        this.chat.gap(event.snapshot, event, event.fault?.code === 'log_rewound');
        if (isAsked) return void (this.isCut = true);
        this.counters.gaps += 1;
        return this.note('gap', `${event.from} to ${event.to}${event.fault ? `: ${event.fault.message}` : ''}`, event.fault ? 'warn' : 'plain');
      }
      case 'ephemeral': return this.#ephemeral(event.kind, event.data);
      case 'connection_lost': {
        this.counters.lost += 1;
        return this.note('connection lost', `${event.fault.code}: ${event.fault.message}`, 'warn');
      }
      case 'attempt_failed': {
        this.counters.attemptsFailed += 1;
        return this.note('attempt failed', `${event.strategy} ${event.attempt}: ${event.fault.code}`, 'warn');
      }
      case 'recovered': {
        this.counters.recovered += 1;
        return this.note('recovered', `${event.strategy}, ${event.attempts} attempt${event.attempts === 1 ? '' : 's'}, ${event.lost_ms} ms, ${event.replayed} replayed`, 'good');
      }
      case 'fault': return this.note('fault', `${event.fault.code}: ${event.fault.message}`, 'warn');
      case 'queued': return this.note('queued', `${event.position} of ${event.of}`);
      case 'goaway': return this.note('goaway', event.reason, 'warn');
      case 'ended': return this.note('ended', event.reason);
      case 'failed': return this.note('failed', `${event.fault.code}: ${event.fault.message}`, 'bad');
      case 'still_waiting': return this.note('still waiting', `${event.because.for}${event.because.waiting_for ? `, for ${event.because.waiting_for}` : ''}, ${Math.round(event.for_ms / 1e3)} s`);
      case 'protocol_notice': {
        this.counters.notices += 1;
        return this.note('notice', event.notice === 'nothing_to_break' ? 'There is nothing to break.' : event.notice, 'warn');
      }
      default: return undefined;
    }
  }

  #ephemeral(kind, data) {
    // Told in either shape: who speaks now, or one of them and whether.
    if (kind.startsWith('speak')) {
      const named = data?.participants ?? data?.speakers ?? (data?.participant ? [data.participant] : []);
      this.speaking = new Set(named.map((one) => one.participant ?? one));
    } else this.note(kind, typeof data === 'object' ? JSON.stringify(data).slice(0, 200) : String(data));
  }

  #log(kind, data, known) {
    switch (kind) {
      case 'message': return this.note('message', `${data.by}: ${JSON.stringify(data.data)}`);
      case 'participant.joined': return this.note('came', `${data.subject} (${data.role})`);
      case 'participant.left': return this.note('left', `${data.participant}: ${data.reason}`);
      case 'track.published': return this.note('track', `${data.track} (${data.kind}) of ${data.participant}`);
      case 'track.unpublished': return this.note('track ended', `${data.track} of ${data.participant}`);
      case 'track.muted': return this.note(data.muted ? 'muted' : 'unmuted', `${data.track} of ${data.participant}`);
      default: return known || /^(turn|session|agent)\./.test(kind) ? undefined : this.note(kind, JSON.stringify(data));
    }
  }
}

/**
 * @typedef {object} Outage
 * @property {string} leg the first that was not up
 * @property {string} [code]
 * @property {number} began
 * @property {number} toldAt
 * @property {number | undefined} toldMs from when it began, where that is known
 * @property {string} [by] the button that did it
 * @property {number | undefined} lost frames
 * @property {number | undefined} wellAt when every leg was up again
 * @property {number | undefined} backMs from when it began until all of it flowed
 * @property {boolean} failed
 */
