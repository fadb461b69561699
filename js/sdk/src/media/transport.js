// One transport: an `RTCPeerConnection`, and the agreement about it by perfect negotiation (the client is
// the polite end).
//
// Steps are taken one after the other. What is to be offered is never kept: `#needed` says that there is
// something, and each offer describes what is published and received at its moment. After `close`
// nothing is said.

import { prefer } from './codecs.js';
import { mediaFailed } from './faults.js';
import * as limits from './limits.js';

/**
 * @typedef {import('./publication.js').Publication} Publication
 * @typedef {import('../wire/types.js').MediaSignal} MediaSignal
 * @typedef {import('../wire/types.js').MediaLine} MediaLine
 * @typedef {import('../wire/types.js').IceServer} IceServer
 * @typedef {import('../client/media/io.js').TransportState} TransportState
 * @typedef {import('../client/media/io.js').LineSample} LineSample
 */

/**
 * What a transport needs of the one who opened it.
 * @typedef {object} Owner
 * @property {(signal: MediaSignal) => void} say
 * @property {() => Publication[]} publications
 * @property {(publication: Publication, isCautious: boolean) => boolean} isNamed whether the server knows it, as far as is known; for certain, if cautious
 * @property {() => { audio: number, video: number } | undefined} receives how many lines are wanted; undefined when nothing is received
 * @property {() => boolean} isSignaled whether anything that is said passes
 * @property {(transport: Transport, lines: MediaLine[]) => void} lines what comes on which line
 * @property {(transport: Transport, state: TransportState) => void} state
 * @property {(fault: import('../wire/types.js').Fault) => void} fault
 * @property {import('../connection.js').Timers} timers
 */

/** Candidates that no server can use: their names are for the own network (RFC 8828 §3). */
const isLocalName = /\.local /;

/** Something that will have happened. */
function whenever() {
  /** @type {() => void} */
  let done = () => {};
  const promise = new Promise((resolve) => void (done = () => resolve(undefined)));
  return { promise, done };
}

export class Transport {
  /** @type {Map<Publication, RTCRtpTransceiver>} */
  #senders = new Map();
  /** Lines that were sent on, and may be again. @type {Set<RTCRtpTransceiver>} */
  #spare = new Set();
  #turn = Promise.resolve();
  #steps = 0;
  #needed = true;
  /** Lines to receive on are to be brought along. */
  #brings = true;
  /** No more lines are taken. */
  #isFull = false;
  /** Offers of ours that will be answered. */
  #unanswered = 0;
  #refusals = 0;
  #saidCandidates = 0;
  /** Candidates of the server's that came before its description. @type {string[]} */
  #early = [];
  /** @type {TransportState | undefined} */
  #state = undefined;
  /** @type {any} */
  #timer = undefined;
  #closed = false;
  #left = whenever();
  #owner;
  #pc;

  /**
   * @param {Owner} owner
   * @param {number} peer
   * @param {{ iceServers: IceServer[], iceTransportPolicy?: RTCIceTransportPolicy }} ways
   * @param {typeof RTCPeerConnection} PeerConnection
   */
  constructor(owner, peer, ways, PeerConnection) {
    this.#owner = owner;
    this.peer = peer;
    const pc = new PeerConnection({ ...ways, bundlePolicy: 'max-bundle' });
    this.#pc = pc;
    // Chromium tells of silence by the one, and of the end by the other.
    pc.onconnectionstatechange = pc.oniceconnectionstatechange = () => this.#look();
    pc.onicecandidate = ({ candidate }) => this.#found(candidate?.candidate ?? '');
    this.negotiate();
  }

  /** What is published or received has changed, or nothing was ever agreed on. */
  negotiate() {
    this.#needed = true;
    this.#run(() => this.#offer());
  }

  /** Lines are wanted, or wanted no more. */
  receive() {
    this.#brings = true;
    this.negotiate();
  }

  /** The server says something. @param {MediaSignal} signal */
  hear(signal) {
    this.#run(() => {
      switch (signal.type) {
        case 'offer': return this.#offered(signal);
        case 'answer': return this.#answered(signal);
        case 'candidate': return this.#named(signal.candidate);
        case 'lines': return this.#carries(signal.lines);
        case 'refresh': return undefined;
      }
    });
  }

  /** Way and keys are agreed on anew. @param {IceServer[]} iceServers */
  restart(iceServers) {
    this.#run(async () => {
      const pc = this.#pc;
      pc.setConfiguration({ ...pc.getConfiguration(), iceServers });
      pc.restartIce();
      // The server counts anew, too.
      this.#saidCandidates = 0;
      this.#needed = true;
      return this.#offer();
    });
  }

  /** The connection is another one: an offer on its way, or its answer, went with the one before. */
  resume() {
    this.#run(() => {
      this.#unanswered = 0;
      return this.#pc.signalingState === 'have-local-offer' ? this.#sayOffer() : this.#offer();
    });
  }

  /** The server refused an offer, because of what it says that is sent. */
  refused() {
    this.#run(() => this.#sayAgain('the server refuses what is offered'));
  }

  /** Sends what a publication is now. @param {Publication} publication */
  async send(publication) {
    const line = this.#senders.get(publication);
    // The next one sends it.
    if (!line || this.#pc.signalingState === 'closed') return;
    // What a closed connection was asked for is never answered.
    await Promise.race([line.sender.replaceTrack(publication.sending), this.#left.promise]);
  }

  /** What comes on a line. @param {string} mid */
  receivedOn(mid) {
    return this.#transceivers().find((line) => line.mid === mid)?.receiver.track;
  }

  /** The line of a publication. @param {Publication} publication */
  midOf(publication) {
    return this.#senders.get(publication)?.mid ?? undefined;
  }

  /** The browser's own figures; undefined when it does not say in time. @returns {Promise<RTCStatsReport | undefined>} */
  async stats() {
    const { timers } = this.#owner;
    /** @type {any} */
    let timer;
    const late = new Promise((done) => void (timer = timers.setTimeout(() => done(undefined), limits.SAMPLE_WITHIN)));
    try {
      return await Promise.race([this.#pc.getStats(), late]);
    } catch {
      return undefined;
    } finally {
      timers.clearTimeout(timer);
    }
  }

  get isClosed() {
    return this.#closed;
  }

  close() {
    if (this.#closed) return;
    this.#closed = true;
    this.#left.done();
    this.#owner.timers.clearTimeout(this.#timer);
    const pc = this.#pc;
    pc.onconnectionstatechange = pc.oniceconnectionstatechange = pc.onicecandidate = null;
    pc.close();
  }

  /** One after the other; the first that fails ends the transport. @param {() => unknown} step */
  #run(step) {
    if (this.#closed) return;
    this.#steps += 1;
    if (this.#steps > limits.STEPS_MAX) return this.#fail('more is said of the transport than it can follow');
    this.#turn = this.#turn.then(async () => {
      this.#steps -= 1;
      if (this.#closed) return;
      try {
        await step();
      } catch (error) {
        this.#fail(error instanceof Error ? error.message : String(error));
      }
    });
  }

  /** @param {string} message */
  #fail(message) {
    if (this.#closed || this.#state === 'failed') return;
    this.#owner.fault(mediaFailed(message, { peer: this.peer }));
    this.#is('failed');
  }

  /** Offers what there is to be offered, as soon as nothing is under way. */
  async #offer() {
    if (!this.#needed || this.#pc.signalingState !== 'stable') return;
    this.#needed = false;
    await this.#arrange();
    await this.#pc.setLocalDescription();
    const large = this.#tooLarge();
    if (large === undefined) return this.#sayOffer();
    if (!this.#pc.remoteDescription) return this.#fail(large);
    // It was not said. What was agreed on before goes on.
    await this.#pc.setLocalDescription({ type: 'rollback' });
    this.#owner.fault(mediaFailed(large, { peer: this.peer }));
  }

  /** The offer that is under way. */
  #sayOffer() {
    const sdp = this.#pc.localDescription?.sdp;
    if (this.#closed || sdp === undefined) return;
    this.#unanswered += 1;
    const isSettled = this.#isFull || !this.#owner.receives();
    this.#owner.say({ type: 'offer', peer: this.peer, sdp, lines: this.#sends(), ...(isSettled && { settled: true }) });
    const { timers } = this.#owner;
    timers.clearTimeout(this.#timer);
    this.#timer = timers.setTimeout(() => this.#run(() => this.#sayAgain('the server does not answer what is offered')), limits.ANSWER_WITHIN);
  }

  /**
   * An offer is never taken back: the server may have taken it, and then what is offered next would not
   * go with what it has. Who hears one twice answers it twice.
   * @param {string} why
   */
  #sayAgain(why) {
    // While nothing can be said nothing is refused: `resume` comes.
    if (this.#pc.signalingState !== 'have-local-offer' || !this.#owner.isSignaled()) return undefined;
    this.#refusals += 1;
    if (this.#refusals > limits.REFUSALS_MAX) return this.#fail(why);
    this.#unanswered = 0;
    return this.#sayOffer();
  }

  /** What is wrong with a description that the server would not read. @param {string} [sdp] */
  #tooLarge(sdp = this.#pc.localDescription?.sdp ?? '') {
    return sdp.length <= limits.SDP_CHARS_MAX ? undefined : `the description has ${sdp.length} characters, ${limits.SDP_CHARS_MAX} are allowed`;
  }

  /** The server's offer stands: ours, if there was one, is made again after it. @param {{ sdp: string, lines?: MediaLine[] }} signal */
  async #offered({ sdp, lines = [] }) {
    const pc = this.#pc;
    this.#needed ||= pc.signalingState === 'have-local-offer';
    this.#unanswered = 0;
    const before = new Set(this.#transceivers());
    await pc.setRemoteDescription({ type: 'offer', sdp });
    await this.#described();
    for (const line of this.#transceivers()) if (!before.has(line)) prefer(line);
    if (!this.#owner.receives()) this.#receiveNothing();
    const large = this.#tooLarge((await pc.createAnswer()).sdp);
    if (large !== undefined) return this.#takeNoMore(large);
    this.#carries(lines);
    await pc.setLocalDescription();
    const answer = pc.localDescription?.sdp;
    if (this.#closed || answer === undefined) return;
    this.#owner.say({ type: 'answer', peer: this.peer, sdp: answer, lines: this.#sends() });
    return this.#offer();
  }

  /** There is no room for more lines: what there is goes on, and the server is told not to offer any. @param {string} why */
  async #takeNoMore(why) {
    await this.#pc.setRemoteDescription({ type: 'rollback' });
    if (!this.#isFull) this.#owner.fault(mediaFailed(why, { peer: this.peer }));
    this.#isFull = this.#needed = true;
    return this.#offer();
  }

  /** Of several offers the last one counts, and so does its answer. @param {{ sdp: string, lines?: MediaLine[] }} signal */
  async #answered({ sdp, lines = [] }) {
    this.#unanswered = Math.max(0, this.#unanswered - 1);
    if (this.#unanswered > 0 || this.#pc.signalingState !== 'have-local-offer') return;
    await this.#pc.setRemoteDescription({ type: 'answer', sdp });
    this.#owner.timers.clearTimeout(this.#timer);
    this.#refusals = 0;
    await this.#described();
    this.#carries(lines);
    return this.#offer();
  }

  async #described() {
    for (const candidate of this.#early.splice(0)) await this.#add(candidate);
  }

  /** A candidate of the server's. @param {string} candidate */
  async #named(candidate) {
    if (this.#pc.remoteDescription) return this.#add(candidate);
    if (this.#early.length < limits.CANDIDATES_MAX) this.#early.push(candidate);
  }

  /** One that is of no use here is no fault: there may be others. @param {string} candidate */
  async #add(candidate) {
    await this.#pc.addIceCandidate({ candidate, sdpMLineIndex: 0 }).catch(() => {});
  }

  /** One of our own. @param {string} candidate empty after the last */
  #found(candidate) {
    if (this.#closed || isLocalName.test(candidate) || this.#saidCandidates >= limits.CANDIDATES_MAX) return;
    this.#saidCandidates += 1;
    this.#owner.say({ type: 'candidate', peer: this.peer, candidate });
  }

  /** @param {MediaLine[]} lines */
  #carries(lines) {
    if (this.#owner.receives()) this.#owner.lines(this, lines);
  }

  /** What is sent on which line. @returns {MediaLine[]} */
  #sends() {
    const isCautious = this.#refusals > 0;
    const lines = [];
    for (const [publication, { mid }] of this.#senders) {
      if (mid !== null && this.#owner.isNamed(publication, isCautious)) lines.push({ mid, track: publication.name });
    }
    return lines;
  }

  /** Makes the lines what is published and received. */
  async #arrange() {
    const publications = this.#owner.publications();
    for (const [publication, line] of this.#senders) {
      if (publications.includes(publication)) continue;
      this.#senders.delete(publication);
      line.direction = 'inactive';
      await line.sender.replaceTrack(null);
      if (!publication.encodings) this.#spare.add(line);
    }
    for (const publication of publications) if (!this.#senders.has(publication)) await this.#bring(publication);
    const receives = this.#owner.receives();
    if (!receives) this.#receiveNothing();
    else if (this.#brings) this.#receive(receives);
    this.#brings = false;
  }

  /** @param {Publication} publication */
  async #bring(publication) {
    const { kind, encodings, sending } = publication;
    const spare = encodings ? undefined : [...this.#spare].find((line) => line.receiver.track.kind === kind);
    if (spare) {
      this.#spare.delete(spare);
      this.#senders.set(publication, spare);
      spare.direction = 'sendonly';
      return spare.sender.replaceTrack(sending);
    }
    const line = this.#pc.addTransceiver(sending ?? kind, { direction: 'sendonly', ...(encodings && { sendEncodings: encodings }) });
    prefer(line);
    this.#senders.set(publication, line);
  }

  /** Lines to receive on, so that the server has no need to offer some. @param {{ audio: number, video: number }} wanted */
  #receive(wanted) {
    for (const kind of /** @type {const} */ (['audio', 'video'])) {
      const there = this.#receivers().filter((line) => line.receiver.track.kind === kind);
      for (const line of there) line.direction = 'recvonly';
      const enough = Math.min(wanted[kind], limits.BROUGHT_LINES_MAX);
      for (let n = there.length; n < enough; n += 1) prefer(this.#pc.addTransceiver(kind, { direction: 'recvonly' }));
    }
  }

  #receiveNothing() {
    for (const line of this.#receivers()) line.direction = 'inactive';
  }

  #transceivers() {
    return this.#closed ? [] : this.#pc.getTransceivers().filter(({ direction }) => direction !== 'stopped');
  }

  #receivers() {
    const senders = new Set([...this.#senders.values(), ...this.#spare]);
    return this.#transceivers().filter((line) => !senders.has(line));
  }

  #look() {
    const { connectionState, iceConnectionState } = this.#pc;
    const states = [connectionState, iceConnectionState];
    if (states.includes('failed')) this.#is('failed');
    else if (states.includes('disconnected')) this.#is('disconnected');
    else if (connectionState === 'connected') this.#is('connected');
  }

  /** @param {TransportState} state */
  #is(state) {
    if (this.#closed || state === this.#state) return;
    this.#state = state;
    this.#owner.state(this, state);
  }
}
