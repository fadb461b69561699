// Media of a session: what this participant publishes, and what the others do, over whatever transport
// there is at the moment. The machine decides when one is opened, restarted and given up; this performs
// it, and keeps what outlives each: publications, and a stream for each participant.
//
//   import { media } from '@evenkeel/client/media';
//   const session = await connect({ token, media: media() });
//   await session.media.publish(track);

import { Leg } from './client/media.js';
import { FaultError, over } from './error.js';
import { MEDIA_RESTORE_WITHIN } from './limits.js';
import { Listeners } from './listeners.js';
import { mediaFailed } from './media/faults.js';
import { Publication, nameOf, refuse } from './media/publication.js';
import { Meter, samples } from './media/stats.js';
import { Streams } from './media/streams.js';
import { Transport } from './media/transport.js';
import { until } from './until.js';
import { fold } from './wire/snapshot.js';

export { fromCamera } from './media/devices.js';

/**
 * @typedef {import('./driver.js').Driver} Driver
 * @typedef {import('./client/media/io.js').MediaOrder} MediaOrder
 * @typedef {import('./client/io.js').Event} Event
 * @typedef {import('./media/streams.js').Received} Received
 * @typedef {import('./media/stats.js').TrackStats} TrackStats
 * @typedef {import('./wire/types.js').Fault} Fault
 */

/**
 * @typedef {object} MediaOptions
 * @property {boolean} [receive] whether the tracks of others are received from the beginning; false by default
 * @property {typeof RTCPeerConnection} [peerConnection] in place of `RTCPeerConnection`
 * @property {RTCIceTransportPolicy} [iceTransportPolicy] `'relay'`: over a TURN server alone, so that nobody sees this address; `'all'` by default
 * @property {new () => MediaStream} [mediaStream] in place of `MediaStream`
 */

/**
 * What is told, by its type: tracks that are received, come, are carried by another `MediaStreamTrack`
 * or go; a publication whose device has ended (it is muted), and one that could not be restored after a
 * recovery; who speaks; and what is wrong with a transport, with the reason that the session's status is too short for.
 * @typedef {object} MediaEvents
 * @property {Received} track
 * @property {Received} track_replaced
 * @property {Received} track_removed
 * @property {{ participant?: string, track?: string }} speaking whose voice is heard in a room; nobody's, too
 * @property {{ publication: Publication }} publication_ended
 * @property {{ publication: Publication, fault: Fault }} publication_lost
 * @property {{ fault: Fault }} fault
 */

/** @typedef {{ participant: string, track: string, wanted: boolean, max?: 'low' | 'medium' | 'high' }} Wish */
/** @typedef {{ leg: () => Leg, open: (driver: Driver) => Media, fold: import('./client/apply.js').Folding }} MediaPart */

/**
 * For `connect({ media: media() })`.
 * @param {MediaOptions} [options]
 * @returns {MediaPart}
 */
export const media = (options = {}) => ({ fold, leg: () => new Leg(), open: (driver) => new Media(driver, options) });

/**
 * A session's media. What gives a promise takes a `signal`: when that is aborted, the promise rejects with its
 * reason, and nothing is undone but a publishing; if it is aborted already, nothing is begun.
 */
export class Media {
  #listeners = new Listeners();
  /** @type {Map<string, Publication>} */
  #publications = new Map();
  /** In the order of their numbers: the last is the one that counts. @type {Map<number, Transport>} */
  #transports = new Map();
  #meter = new Meter();
  /** What was said of the tracks of others, and who said it. @type {Map<string, Wish>} */
  #wishes = new Map();
  /** @type {string | undefined} */
  #wisher = undefined;
  #receives = false;
  #wants = false;
  #closed = false;
  /** @type {any} */
  #tidying = undefined;
  #driver;
  #options;
  #streams;

  /** @param {Driver} driver @param {MediaOptions} options */
  constructor(driver, options) {
    this.#driver = driver;
    this.#options = options;
    const Stream = options.mediaStream ?? globalThis.MediaStream;
    this.#streams = new Streams(Stream, (type, event) => this.#tell(type, event));
    this.#receives = this.#wants = options.receive ?? false;
    if (this.#wants) driver.put({ type: 'media', media: { type: 'want', wanted: true } });
  }

  /** What is published, by name. @returns {ReadonlyMap<string, Publication>} */
  get publications() {
    return this.#publications;
  }

  /** What each participant publishes, as one stream that stays the same object whatever is lost and recovered. @returns {ReadonlyMap<string, MediaStream>} */
  get streams() {
    return this.#streams.byParticipant;
  }

  /** The tracks that are received. @returns {Received[]} */
  get tracks() {
    return [...this.#streams.received()].map(({ participant, track, kind, stream, mediaTrack }) => ({ participant, track, kind, stream, mediaTrack }));
  }

  /** Whether tracks are received. */
  get receives() {
    return this.#receives;
  }

  /**
   * Calls `listener` for each event of a type, until the function given back is called, or `signal` is
   * aborted. An error that it throws is reported, and goes no further.
   * @template {keyof MediaEvents} T
   * @param {T} type
   * @param {(event: MediaEvents[T]) => void} listener
   * @param {{ signal?: AbortSignal }} [options]
   */
  on(type, listener, options) {
    return this.#listeners.on(type, listener, options);
  }

  /**
   * Publishes a track: it is sent from here on, over every transport that is to come, until it is
   * unpublished. Resolves when the server has taken it. The track stays the caller's, who stops it.
   * After a reload a participant is the same, and so are its tracks: what is published again by its name goes
   * on for the others, and what is not within 5 s of media being connected is unpublished.
   * @param {MediaStreamTrack} track
   * @param {object} [options]
   * @param {string} [options.name] by default `camera`, `microphone` or `screen`
   * @param {RTCRtpEncodingParameters[]} [options.encodings] for simulcast: one for each `rid`
   * @param {boolean} [options.muted] begins silent, until `unmute`: nothing of it is sent before
   * @param {AbortSignal} [options.signal] gives the publishing up, and takes back what was done of it
   * @returns {Promise<Publication>}
   * @throws {FaultError}
   */
  async publish(track, { name, encodings, muted, signal } = {}) {
    signal?.throwIfAborted();
    this.#check();
    if (track?.kind !== 'audio' && track?.kind !== 'video') refuse('there is no track to publish');
    const publication = new Publication({
      send: (publication) => this.#send(publication),
      mute: (publication, muted) => this.#mute(publication, muted),
      remove: (publication) => this.#unpublish(publication),
      ended: (publication) => this.#ended(publication),
    }, name ?? nameOf(track, (name) => this.#publications.has(name)), track, { encodings, muted });
    if (this.#publications.has(publication.name)) {
      publication.release();
      refuse(`${publication.name} is published already`);
    }
    this.#publications.set(publication.name, publication);
    const announced = this.#announce(publication);
    this.#changed();
    try {
      await until(() => announced, { signal });
    } catch (error) {
      const isOurs = this.#forget(publication);
      // What was on its way may have been done, or be done yet.
      announced.then(async () => isOurs && !this.#closed && this.#driver.ask('track.unpublish', { track: publication.name })).catch(() => {});
      throw error;
    }
    if (track.readyState === 'ended') this.#ended(publication);
    return publication;
  }

  /** Receives the tracks of others, or no longer. @param {boolean} receives */
  receive(receives) {
    this.#check();
    if (receives === this.#receives) return;
    this.#receives = receives;
    if (!receives) this.#streams.clear();
    for (const transport of this.#transports.values()) transport.receive();
    this.#changed();
  }

  /**
   * Says whether somebody's track is wanted, and how large: of a track with several layers, `max` is the
   * largest that is sent. What was not said is wanted, as large as the way allows. It stays so across
   * recoveries.
   * @param {string} participant
   * @param {string} track
   * @param {{ wanted?: boolean, max?: 'low' | 'medium' | 'high', signal?: AbortSignal }} [wish] `signal` ends the waiting for the receipt, and not the wish
   * @returns {Promise<void>}
   * @throws {FaultError}
   */
  subscribe(participant, track, { wanted = true, max, signal } = {}) {
    return until(async () => {
      this.#check();
      const wish = { participant, track, wanted, ...(max && { max }) };
      this.#wishes.set(`${participant}/${track}`, wish);
      await this.#driver.ask('track.subscribe', wish);
    }, { signal });
  }

  /**
   * How each track is doing. Ask no more often than once a second.
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {Promise<TrackStats[]>}
   */
  stats(options) {
    return until(() => this.#stats(), options);
  }

  /** @returns {Promise<TrackStats[]>} */
  async #stats() {
    const transport = [...this.#transports.values()].at(-1);
    const report = await transport?.stats();
    if (!transport || !report) return [];
    const own = this.#driver.machine.seat?.participant ?? '';
    const received = [...this.#streams.received()];
    return this.#meter.read(report, (mid, direction) => {
      if (direction === 'received') {
        const found = received.find((one) => one.transport === transport && one.mid === mid);
        return found && { participant: found.participant, track: found.track, kind: found.kind };
      }
      const sent = [...this.#publications.values()].find((one) => transport.midOf(one) === mid);
      return sent && { participant: own, track: sent.name, kind: sent.kind };
    });
  }

  /** Tries again, after media was given up; the rest of the session does not mind. */
  retry() {
    this.#input({ type: 'retry' });
  }

  // What the driver tells.

  /** Does what the machine wants done. @param {MediaOrder} order */
  order(order) {
    if (this.#closed) return;
    switch (order.type) {
      case 'open': return this.#open(order.peer, order.ice_servers);
      case 'hear': return this.#transports.get(order.signal.peer)?.hear(order.signal);
      case 'restart': return this.#transports.get(order.peer)?.restart(order.ice_servers);
      case 'resume': return this.#transports.get(order.peer)?.resume();
      case 'sample': return void this.#sample(order.peer);
      case 'close': return this.#drop(order.peer);
    }
  }

  /** What happens in the session. @param {Event} event */
  told(event) {
    switch (event.type) {
      case 'log': case 'gap':
        if (event.type === 'log' && !/^(?:track|participant)\./.test(event.kind)) return;
        this.#forgetWishes(event);
        return this.#streams.settle(this.#driver.machine.fold.snapshot);
      case 'recovered': return this.#restore();
      case 'ephemeral':
        if (event.kind === 'subscriptions') this.#wishAgain(event.data?.kept);
        return event.kind === 'speaking' ? this.#tell('speaking', event.data) : undefined;
      case 'fault':
        // One that names no transport is about something else.
        if (event.fault.code === 'media_refused') this.#transports.get(event.fault.detail?.peer)?.refused();
        return undefined;
      // Nothing is left open; what is published is taken up again, if the session is.
      case 'failed': return this.#retire(Infinity);
    }
  }

  /** Nothing is said any more, and nothing is left. */
  close() {
    if (this.#closed) return;
    this.#closed = true;
    this.#driver.timers.clearTimeout(this.#tidying);
    this.#retire(Infinity);
    for (const publication of this.#publications.values()) publication.release();
  }

  // How it is done.

  #check() {
    if (this.#closed) throw new FaultError(over(), 'refused');
    if (!this.#PeerConnection) refuse('there is no RTCPeerConnection here: give one as `peerConnection`');
  }

  get #PeerConnection() {
    return this.#options.peerConnection ?? globalThis.RTCPeerConnection;
  }

  /** @param {keyof MediaEvents} type @param {unknown} event */
  #tell(type, event) {
    if (!this.#closed) this.#listeners.tell(type, event);
  }

  /** @param {import('./client/media/io.js').MediaInput} media */
  #input(media) {
    if (!this.#closed) this.#driver.put({ type: 'media', media });
  }

  /** What is published or received is another. */
  #changed() {
    for (const transport of this.#transports.values()) transport.negotiate();
    const wants = this.#receives || this.#publications.size > 0;
    if (wants === this.#wants) return;
    this.#wants = wants;
    this.#input({ type: 'want', wanted: wants });
  }

  /** @param {number} peer @param {import('./wire/types.js').IceServer[]} iceServers */
  #open(peer, iceServers) {
    this.#restore();
    try {
      this.#transports.set(peer, new Transport({
        say: (signal) => this.#input({ type: 'say', signal }),
        publications: () => [...this.#publications.values()],
        isNamed: (publication, isCautious) => (isCautious ? publication.confirmed : this.#isAnnounced(publication)),
        receives: () => (this.#receives ? this.#expected() : undefined),
        isSignaled: () => this.#driver.machine.mediaLeg?.isSignaled(this.#driver.machine) ?? false,
        lines: (transport, lines) => this.#lines(transport, lines),
        state: (transport, state) => this.#state(transport, state),
        fault: (fault) => this.#tell('fault', { fault }),
        timers: this.#driver.timers,
      }, peer, { iceServers, iceTransportPolicy: this.#options.iceTransportPolicy }, this.#PeerConnection));
    } catch (error) {
      this.#tell('fault', { fault: mediaFailed(String(error), { peer }) });
      this.#input({ type: 'transport', peer, state: 'failed' });
    }
  }

  /** Lines for what is published, and for one more of each kind. */
  #expected() {
    const { tracks = [] } = this.#driver.machine.fold.snapshot;
    const all = [...tracks.map(({ kind }) => kind), ...[...this.#publications.values()].map(({ kind }) => kind)];
    /** @param {'audio' | 'video'} kind */
    const count = (kind) => Math.max(1, all.filter((one) => one === kind).length);
    return { audio: count('audio'), video: count('video') };
  }

  /** @param {Transport} transport @param {import('./wire/types.js').MediaLine[]} lines */
  #lines(transport, lines) {
    if (this.#closed || transport.isClosed) return;
    this.#streams.set(transport, lines);
    this.#streams.settle(this.#driver.machine.fold.snapshot);
  }

  /** @param {Transport} transport @param {import('./client/media/io.js').TransportState} state */
  #state(transport, state) {
    if (this.#closed) return;
    // Make before break: the ones before have served.
    if (state === 'connected') {
      this.#retire(transport.peer - 1);
      const { timers } = this.#driver;
      timers.clearTimeout(this.#tidying);
      this.#tidying = timers.setTimeout(() => this.#tidy(), MEDIA_RESTORE_WITHIN / 1_000);
    }
    this.#input({ type: 'transport', peer: transport.peer, state });
  }

  /** Closes every transport up to that number. @param {number} last */
  #retire(last) {
    for (const peer of [...this.#transports.keys()]) if (peer <= last) this.#drop(peer);
  }

  /** Closes that one: another may be kept for its picture. @param {number} peer */
  #drop(peer) {
    const transport = this.#transports.get(peer);
    if (!transport) return;
    this.#transports.delete(peer);
    this.#streams.leave(transport);
    transport.close();
  }

  /** @param {number} peer */
  async #sample(peer) {
    const report = await this.#transports.get(peer)?.stats();
    if (report && this.#transports.has(peer)) this.#input({ type: 'sampled', peer, lines: samples(report, this.#driver.surroundings.document?.visibilityState === 'hidden') });
  }

  /** A server that was restarted has kept no wish: what it does not have is said again. @param {unknown} kept what it has of ours */
  #wishAgain(kept) {
    /** @type {Wish[]} */
    const has = Array.isArray(kept) ? kept : [];
    for (const { participant, track, wanted, max } of this.#wishes.values()) {
      const isAll = wanted && max === undefined;
      const known = has.find((one) => one?.participant === participant && one.track === track);
      if (known ? known.wanted !== wanted || known.max !== max : !isAll) this.#say({ participant, track, wanted, ...(max && { max }) });
    }
  }

  /** @param {Wish} wish */
  #say(wish) {
    this.#driver.ask('track.subscribe', wish).catch(() => {});
  }

  /** A wish ends with its track. @param {Event} event */
  #forgetWishes(event) {
    const { tracks = [] } = this.#driver.machine.fold.snapshot;
    const ends = event.type === 'gap' || (event.type === 'log' && (event.kind === 'track.unpublished' || event.kind === 'participant.left'));
    if (!ends) return;
    const known = new Set(tracks.map(({ participant, track }) => `${participant}/${track}`));
    for (const key of this.#wishes.keys()) if (!known.has(key)) this.#wishes.delete(key);
  }

  // Publications.

  /** @param {Publication} publication */
  #isAnnounced({ announcedAs }) {
    return announcedAs !== undefined && announcedAs === this.#driver.machine.seat?.participant;
  }

  /** A track, as the session has it. @param {string | undefined} of @param {string} name */
  #known(of, name) {
    return this.#driver.machine.fold.snapshot.tracks?.find(({ participant, track }) => participant === of && track === name);
  }

  /** Tells the session of it; nothing is done twice. @param {Publication} publication */
  async #announce(publication) {
    const participant = this.#driver.machine.seat?.participant;
    const { name, kind } = publication;
    publication.announcedAs = participant;
    publication.confirmed = false;
    // One that is there already, from before a reload, stays as muted as it was.
    const was = this.#known(participant, name)?.muted ?? false;
    const published = this.#driver.ask('track.publish', { track: name, kind });
    const muted = was !== publication.muted && this.#driver.ask('track.mute', { track: name, muted: publication.muted });
    if (muted) muted.catch(() => {});
    await published;
    // Who comes back as another has to begin anew.
    if (publication.announcedAs !== participant) return;
    publication.confirmed = true;
    await muted;
  }

  /** What the session does not know, or knows no more, is told again. */
  #restore() {
    const { seat } = this.#driver.machine;
    // Who comes back as another has said nothing yet.
    if (this.#wisher !== undefined && this.#wisher !== seat?.participant) for (const wish of this.#wishes.values()) this.#say(wish);
    this.#wisher = seat?.participant;
    for (const publication of [...this.#publications.values()]) {
      const { name, muted } = publication;
      const there = this.#known(seat?.participant, name);
      // What was said of its silence may never have been done.
      if (there && (there.muted ?? false) !== muted) this.#driver.ask('track.mute', { track: name, muted }).catch(() => {});
      if (there || (this.#isAnnounced(publication) && !publication.confirmed)) continue;
      this.#announce(publication).catch((error) => {
        if (!(error instanceof FaultError) || !this.#forget(publication)) return;
        this.#tell('publication_lost', { publication, fault: error.fault });
      });
    }
  }

  /** What was published before the page was loaded again, and has not been since then, is sent by nobody. */
  #tidy() {
    const { seat, fold } = this.#driver.machine;
    for (const { participant, track } of fold.snapshot.tracks ?? []) {
      if (participant === seat?.participant && !this.#publications.has(track)) this.#driver.ask('track.unpublish', { track }).catch(() => {});
    }
  }

  /** @param {Publication} publication @returns {boolean} whether it was published */
  #forget(publication) {
    publication.release();
    if (this.#publications.get(publication.name) !== publication) return false;
    this.#publications.delete(publication.name);
    this.#changed();
    return true;
  }

  /** @param {Publication} publication */
  async #send(publication) {
    try {
      await Promise.all([...this.#transports.values()].map((transport) => transport.send(publication)));
    } catch (error) {
      throw new FaultError(mediaFailed(`${publication.name}: ${error}`));
    }
  }

  /** Silence is announced before it falls, and its end before it ends. @param {Publication} publication @param {boolean} muted */
  async #mute(publication, muted) {
    if (this.#publications.get(publication.name) !== publication) refuse(`${publication.name} is not published`);
    const told = this.#driver.ask('track.mute', { track: publication.name, muted });
    await Promise.all([told, this.#send(publication)]);
  }

  /** @param {Publication} publication */
  async #unpublish(publication) {
    if (this.#publications.get(publication.name) !== publication) return;
    const told = this.#driver.ask('track.unpublish', { track: publication.name });
    this.#forget(publication);
    await told;
  }

  /** A device is gone: that nothing comes of it is meant, as far as anybody can mean it. @param {Publication} publication */
  #ended(publication) {
    if (this.#closed || this.#publications.get(publication.name) !== publication) return;
    publication.mute().catch(() => {});
    this.#tell('publication_ended', { publication });
  }
}
