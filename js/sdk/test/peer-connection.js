// A model of `RTCPeerConnection` and of what hangs on it: the rules of RFC 8829 that an agreement can
// break (states, rollback, mids, the order of m-lines), without a network. Descriptions are JSON.

/** Rejects as a browser does. */
const wrong = (message) => Object.assign(new Error(message), { name: 'InvalidStateError' });

let ids = 0;

export class ModelTrack extends EventTarget {
  muted = false;
  readyState = 'live';

  constructor(kind = 'video', more = {}) {
    super();
    Object.assign(this, { kind, id: `track-${(ids += 1)}` }, more);
  }

  /** Packets come. */
  flow() {
    this.muted = false;
    this.dispatchEvent(new Event('unmute'));
  }

  /** The device is unplugged. */
  end() {
    this.readyState = 'ended';
    this.dispatchEvent(new Event('ended'));
  }

  stop() {
    this.readyState = 'ended';
  }
}

export class ModelStream {
  #tracks = [];
  /** What a player of it would have seen: whether it was ever without a live track. */
  wentDark = false;

  addTrack(track) {
    if (!this.#tracks.includes(track)) this.#tracks.push(track);
  }

  removeTrack(track) {
    this.#tracks = this.#tracks.filter((one) => one !== track);
    this.wentDark ||= !this.#tracks.some(({ readyState }) => readyState === 'live');
  }

  getTracks() {
    return [...this.#tracks];
  }
}

class Transceiver {
  mid = null;

  constructor(kind, direction, track, encodings) {
    this.direction = direction;
    this.encodings = encodings;
    this.receiver = { track: new ModelTrack(kind, { muted: true }) };
    const sender = (this.sender = { track, replaceTrack: async (next) => {
      if (next && next.kind !== kind) throw new TypeError('another kind');
      sender.track = next;
    } });
  }
}

/** The class, and every one that was made of it. */
export function peerConnections() {
  const made = [];
  class ModelConnection {
    signalingState = 'stable';
    connectionState = 'new';
    iceConnectionState = 'new';
    localDescription = null;
    remoteDescription = null;
    candidates = [];
    report = new Map();
    fragment = 1;
    refuses = undefined;
    /** What each line is described with. */
    codecs = '';
    #lines = [];
    #stable = [];
    #mids = 0;
    #restarts = false;
    #offersRestart = false;
    #before = [];

    constructor(config) {
      if (ModelConnection.refuses) throw new Error(ModelConnection.refuses);
      this.config = config;
      made.push(this);
    }

    static refuses = undefined;

    getConfiguration() {
      return this.config;
    }

    setConfiguration(config) {
      this.config = config;
    }

    restartIce() {
      this.#restarts = true;
    }

    getTransceivers() {
      return [...this.#lines];
    }

    addTransceiver(track, { direction, sendEncodings } = {}) {
      this.#live();
      const [kind, sends] = typeof track === 'string' ? [track, null] : [track.kind, track];
      const line = new Transceiver(kind, direction, sends, sendEncodings);
      this.#lines.push(line);
      return line;
    }

    async setLocalDescription(description) {
      this.#live();
      if (description?.type === 'rollback') {
        if (this.signalingState !== 'have-local-offer') throw wrong('nothing to roll back');
        return this.#rollBack();
      }
      await undefined;
      this.#live();
      if (this.signalingState === 'have-remote-offer') {
        this.#agree();
        this.localDescription = this.#describe('answer');
      } else {
        if (this.signalingState === 'stable') this.#stable = this.#lines.map((line) => line.mid);
        for (const line of this.#lines) line.mid ??= `${(this.#mids += 1) - 1}`;
        if (this.#restarts) this.fragment += 1;
        this.#offersRestart = this.#restarts;
        this.signalingState = 'have-local-offer';
        this.localDescription = this.#describe('offer');
      }
    }

    async createAnswer() {
      return this.#describe('answer');
    }

    async setRemoteDescription({ type, sdp }) {
      this.#live();
      if (this.refuses) throw new Error(this.refuses);
      if (type === 'rollback') {
        if (this.signalingState !== 'have-remote-offer') throw wrong('nothing to roll back');
        [this.#lines, this.remoteDescription, this.signalingState] = [...this.#before, 'stable'];
        return;
      }
      const lines = JSON.parse(sdp);
      if (type === 'answer') {
        if (this.signalingState !== 'have-local-offer') throw wrong('an answer to nothing');
        const offered = this.#lines.map(({ mid }) => mid);
        if (lines.map(({ mid }) => mid).join() !== offered.join()) throw new Error('the m-lines are not those of the offer');
        this.remoteDescription = { type, sdp };
        return this.#agree();
      }
      if (this.signalingState === 'have-local-offer') this.#rollBack();
      this.#before = [[...this.#lines], this.remoteDescription];
      for (const [at, { mid, kind }] of lines.entries()) {
        const known = this.#lines.find((line) => line.mid === mid);
        if (known && this.#lines.filter((line) => line.mid !== null).indexOf(known) !== at) throw new Error('the order of m-lines');
        if (known) continue;
        const line = new Transceiver(kind, 'recvonly', null);
        line.mid = mid;
        this.#lines.splice(at, 0, line);
      }
      this.signalingState = 'have-remote-offer';
      this.remoteDescription = { type, sdp };
    }

    async addIceCandidate({ candidate }) {
      if (!this.remoteDescription) throw wrong('no description');
      if (candidate.includes('broken')) throw new Error('cannot be read');
      this.candidates.push(candidate);
    }

    getStats() {
      return this.report;
    }

    close() {
      this.signalingState = this.connectionState = this.iceConnectionState = 'closed';
      for (const { receiver } of this.#lines) receiver.track.stop();
    }

    // What the test does.

    becomes(connectionState, iceConnectionState = connectionState) {
      Object.assign(this, { connectionState, iceConnectionState });
      this.onconnectionstatechange?.();
    }

    finds(candidate) {
      this.onicecandidate?.({ candidate: candidate === null ? null : { candidate } });
    }

    /** What comes on a line. */
    on(mid) {
      return this.#lines.find((line) => line.mid === mid).receiver.track;
    }

    /** What is sent, by mid. */
    get sends() {
      return Object.fromEntries(this.#lines.filter(({ direction }) => direction === 'sendonly').map(({ mid, sender }) => [mid, sender.track]));
    }

    #live() {
      if (this.signalingState === 'closed') throw wrong('closed');
    }

    #agree() {
      if (this.#offersRestart) this.#restarts = false;
      this.signalingState = 'stable';
    }

    #rollBack() {
      for (const [at, line] of this.#lines.entries()) line.mid = this.#stable[at] ?? null;
      this.signalingState = 'stable';
    }

    #describe(type) {
      const lines = this.#lines.filter(({ mid }) => mid !== null).map(({ mid, direction, receiver }) => ({ mid, kind: receiver.track.kind, direction }));
      return { type, sdp: JSON.stringify(lines.map((line) => ({ ...line, fragment: this.fragment, codecs: this.codecs }))) };
    }
  }
  return { ModelConnection, made };
}

/** The server's answer to an offer: it takes everything. */
export const answerTo = ({ peer, sdp }, lines = []) => ({ type: 'answer', peer, sdp, lines });
