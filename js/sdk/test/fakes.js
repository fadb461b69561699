// A scripted server, a clock that is a number, and a page that is two event targets.

import { decodeClientFrame } from './client-frames.js';

/** Lets everything that is ready run; no time passes. */
export const settled = () => new Promise((done) => setImmediate(done));

/** A clock with its timers. */
export class FakeTime {
  ms = 1_000;
  wallOffset = 1_700_000_000_000;
  #timers = new Map();
  #ids = 0;

  clock = { mono: () => this.ms, wall: () => this.ms + this.wallOffset };
  timers = {
    setTimeout: (run, ms) => {
      this.#ids += 1;
      this.#timers.set(this.#ids, { at: this.ms + ms, run });
      return this.#ids;
    },
    clearTimeout: (id) => void this.#timers.delete(id),
  };

  get pending() {
    return this.#timers.size;
  }

  /** Moves time on, firing what is due in order. */
  async pass(ms) {
    const end = this.ms + ms;
    for (;;) {
      const [id, timer] = [...this.#timers].filter(([, { at }]) => at <= end).sort((a, b) => a[1].at - b[1].at)[0] ?? [];
      if (!timer) break;
      this.ms = Math.max(this.ms, timer.at);
      this.#timers.delete(id);
      timer.run();
      await settled();
    }
    this.ms = end;
    await settled();
  }

  /** Time passes and nothing runs: a frozen page. */
  jump(ms) {
    this.ms += ms;
  }
}

/** Sockets that do what the test says. */
export class FakeServer {
  sockets = [];
  Transport;

  constructor() {
    const server = this;
    this.Transport = class {
      readyState = 0;
      bufferedAmount = 0;
      sent = [];
      closedWith = undefined;

      constructor(url, protocol) {
        Object.assign(this, { url, protocol });
        server.sockets.push(this);
      }

      send(text) {
        const decoded = decodeClientFrame(text);
        if (!decoded.frame) throw new Error(`not a frame of ours: ${text}`);
        this.sent.push(decoded.frame);
      }

      close(code) {
        if (code !== undefined && code !== 1000 && !(code >= 3000 && code < 5000)) throw new Error(`a browser refuses ${code}`);
        this.closedWith = code ?? 'none';
        this.readyState = 3;
        queueMicrotask(() => this.onclose?.({ code: code ?? 1005, reason: '' }));
      }

      open() {
        this.readyState = 1;
        this.onopen();
      }

      say(...frames) {
        for (const frame of frames) this.onmessage?.({ data: typeof frame === 'string' ? frame : JSON.stringify(frame) });
      }

      die(code = 1006, reason = '') {
        this.readyState = 3;
        this.onclose({ code, reason });
      }

      /** The frames of a type that it was sent. */
      got(type) {
        return this.sent.filter((frame) => frame.type === type);
      }
    };
  }

  get last() {
    return this.sockets.at(-1);
  }
}

export const live = { state: 'live', legs: [], since: 0 };

export const welcome = (how = 'created', seq = 0, consumed = 0) => ({
  type: 'welcome', session: 's-1', participant: 'p-1', role: 'owner', how, resume_key: 'key', resume_window_ms: 120_000,
  cursor: { epoch: 1, seq }, consumed, beat: { every_ms: 3_000, suspect_ms: 7_000 },
  limits: { frame_bytes: 65_536, commands: 64, frames_per_s: 200 }, params: {}, params_version: 0, status: live,
});

export const event = (at, kind = 'message', data = { by: 'p-1', command: { stream: 'c-1', n: 1 }, data: at }) => ({ type: 'event', from: at, to: at, kind, data });

export const fault = (code, retry = { when: 'never' }, scope = 'connection') => ({
  type: 'fault', fault: { id: 'f-1', code, scope, origin: 'server', retry, message: 'because', at: 1 },
});

/** A page: what it listens with, and what it says. */
export function page() {
  const window = new EventTarget(), document = Object.assign(new EventTarget(), { visibilityState: 'visible' });
  return { window, document, navigator: { onLine: true } };
}
