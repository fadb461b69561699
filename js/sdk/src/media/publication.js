// A track that this participant publishes: it outlives every transport and every recovery.

import { FaultError, ownFault } from '../error.js';
import { until } from '../until.js';

/** A name of the wire, as `camera`. */
const NAME = /^[a-z0-9-]{1,64}$/;

/** @param {string} message @returns {never} */
export function refuse(message) {
  throw new FaultError(ownFault('invalid_request', { scope: 'command', message }), 'refused');
}

/**
 * A name for what is given none: by what it shows, and free.
 * @param {MediaStreamTrack} track
 * @param {(name: string) => boolean} isTaken
 */
export function nameOf(track, isTaken) {
  const isScreen = 'displaySurface' in (track.getSettings?.() ?? {});
  const base = track.kind === 'audio' ? 'microphone' : isScreen ? 'screen' : 'camera';
  let name = base;
  for (let n = 2; isTaken(name); n += 1) name = `${base}-${n}`;
  return name;
}

/**
 * What a publication needs of the one who made it.
 * @typedef {object} Owner
 * @property {(publication: Publication) => Promise<void>} send what is to be sent has changed
 * @property {(publication: Publication, muted: boolean) => Promise<void>} mute
 * @property {(publication: Publication) => Promise<void>} remove
 * @property {(publication: Publication) => void} ended
 */

/**
 * What is published. What gives a promise takes a `signal`: when that is aborted, the promise rejects with its
 * reason, and nothing is undone; if it is aborted already, nothing is begun.
 */
export class Publication {
  /** Who it was announced as. @type {string | undefined} */
  announcedAs = undefined;
  /** The server has it. */
  confirmed = false;
  #muted = false;
  #listening = new AbortController();
  #owner;
  #track;

  /**
   * @param {Owner} owner
   * @param {string} name
   * @param {MediaStreamTrack} track
   * @param {{ encodings?: RTCRtpEncodingParameters[], muted?: boolean }} [options]
   */
  constructor(owner, name, track, { encodings, muted = false } = {}) {
    if (!NAME.test(name)) refuse(`${JSON.stringify(name)} is not a name: want a-z, 0-9 and -, at most 64`);
    this.#owner = owner;
    this.name = name;
    this.kind = /** @type {'audio' | 'video'} */ (track.kind);
    this.encodings = encodings;
    this.#muted = muted;
    this.#track = track;
    this.#listen();
  }

  /** What is sent, unless it is muted. */
  get track() {
    return this.#track;
  }

  /** Whether silence is meant. */
  get muted() {
    return this.#muted;
  }

  /** What a transport is given. */
  get sending() {
    return this.#muted ? null : this.#track;
  }

  /**
   * Sends another track of the same kind in its place: nothing is agreed on anew, and it stays so across
   * recoveries. The one before is not stopped. Resolves when it is sent. One that has ended is muted, and told.
   * @param {MediaStreamTrack} track
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {Promise<void>}
   * @throws {FaultError}
   */
  replaceTrack(track, options) {
    return until(async () => {
      if (track.kind !== this.kind) refuse(`${this.name} carries ${this.kind}, not ${track.kind}`);
      this.#track = track;
      this.#listen();
      await this.#owner.send(this);
      // It will not say so again.
      if (track.readyState === 'ended') this.#owner.ended(this);
    }, options);
  }

  /** Sends nothing, and says that this is meant. @param {{ signal?: AbortSignal }} [options] @returns {Promise<void>} @throws {FaultError} */
  mute(options) {
    return this.#mute(true, options);
  }

  /** Sends again. @param {{ signal?: AbortSignal }} [options] @returns {Promise<void>} @throws {FaultError} */
  unmute(options) {
    return this.#mute(false, options);
  }

  /** Ends it for everybody. The track is not stopped: it is the caller's. @param {{ signal?: AbortSignal }} [options] @returns {Promise<void>} @throws {FaultError} */
  unpublish(options) {
    return until(() => this.#owner.remove(this), options);
  }

  /** Hears no more of its track. */
  release() {
    this.#listening.abort();
  }

  /** @param {boolean} muted @param {{ signal?: AbortSignal }} [options] */
  #mute(muted, options) {
    return until(() => {
      this.#muted = muted;
      return this.#owner.mute(this, muted);
    }, options);
  }

  /** A device that was unplugged, or a screen that is no longer shared. */
  #listen() {
    this.release();
    this.#listening = new AbortController();
    this.#track.addEventListener('ended', () => this.#owner.ended(this), { signal: this.#listening.signal });
  }
}
