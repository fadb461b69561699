// What is received, as objects that stay: one stream a participant, whatever carries its tracks.
//
// A line of a transport carries a track of a participant for a while. When another line carries it, the
// stream's track is exchanged once the new one has something to show: what is on the screen freezes at
// worst, and never goes black in between.

/**
 * @typedef {import('./transport.js').Transport} Transport
 * @typedef {import('../wire/types.js').MediaLine} MediaLine
 * @typedef {{ participant: string, track: string, kind: 'audio' | 'video', stream: MediaStream, mediaTrack: MediaStreamTrack }} Received
 * @typedef {{ transport: Transport, mid: string, mediaTrack: MediaStreamTrack }} Source
 */

/** One track that is received. */
class Entry {
  /** What is in the stream; undefined where its line carries something else by now. @type {Source | undefined} */
  source = undefined;
  /** What will be. @type {Source | undefined} */
  next = undefined;
  /** What was told last. @type {Received | undefined} */
  told = undefined;
  /** The log has told of it. */
  known = false;

  /** @param {string} participant @param {string} track @param {'audio' | 'video'} kind @param {MediaStream} stream */
  constructor(participant, track, kind, stream) {
    this.participant = participant;
    this.track = track;
    this.kind = kind;
    this.stream = stream;
  }
}

/** @param {{ participant?: string, track: string }} named */
const keyOf = ({ participant, track }) => `${participant}/${track}`;

export class Streams {
  /** By participant. @type {Map<string, MediaStream>} */
  byParticipant = new Map();
  /** @type {Map<string, Entry>} */
  #entries = new Map();
  #Stream;
  #tell;

  /**
   * @param {new () => MediaStream} Stream
   * @param {(type: 'track' | 'track_replaced' | 'track_removed', event: Received) => void} tell
   */
  constructor(Stream, tell) {
    this.#Stream = Stream;
    this.#tell = tell;
  }

  /** What is received, and over which line. */
  *received() {
    for (const { participant, track, kind, stream, source } of this.#entries.values()) {
      if (source) yield { participant, track, kind, stream, ...source };
    }
  }

  /** What the lines of a transport carry from now on. @param {Transport} transport @param {MediaLine[]} lines */
  set(transport, lines) {
    const carried = new Map(lines.map((line) => [line.mid, keyOf(line)]));
    for (const [key, entry] of this.#entries) {
      const { source, next } = entry;
      if (next?.transport === transport && carried.get(next.mid) !== key) entry.next = undefined;
      // Its line is another's: what comes there is not to be shown as this.
      const other = source?.transport === transport ? carried.get(source.mid) : undefined;
      if (source && other !== undefined && other !== key) {
        entry.stream.removeTrack(source.mediaTrack);
        entry.source = undefined;
      }
    }
    for (const { mid, participant, track } of lines) {
      const mediaTrack = transport.receivedOn(mid);
      if (participant === undefined || !mediaTrack) continue;
      this.#come(participant, track, { transport, mid, mediaTrack });
    }
    for (const [key, entry] of this.#entries) if (!entry.source && !entry.known && !entry.next) this.#drop(key, entry);
  }

  /** @param {string} participant @param {string} track @param {Source} source */
  #come(participant, track, source) {
    const key = keyOf({ participant, track });
    const { mediaTrack } = source;
    let entry = this.#entries.get(key);
    if (!entry) {
      const stream = this.byParticipant.get(participant) ?? new this.#Stream();
      this.byParticipant.set(participant, stream);
      entry = new Entry(participant, track, /** @type {'audio' | 'video'} */ (mediaTrack.kind), stream);
      this.#entries.set(key, entry);
    }
    // What is said of a transport that another follows takes nothing back from that one.
    if ([entry.source, entry.next].some((one) => one && !one.transport.isClosed && one.transport.peer > source.transport.peer)) return;
    if (entry.source?.mediaTrack === mediaTrack) {
      entry.next = undefined;
      return;
    }
    if (entry.next?.mediaTrack === mediaTrack) return;
    entry.next = source;
    if (!entry.source || !mediaTrack.muted) return this.#exchange(entry);
    const { next } = entry;
    mediaTrack.addEventListener('unmute', () => void (entry.next === next && this.#exchange(entry)), { once: true });
  }

  /** @param {Entry} entry */
  #exchange(entry) {
    const { source: before, next, stream } = entry;
    if (!next) return;
    entry.source = next;
    entry.next = undefined;
    // In this order: a stream without a track has ended for whoever plays it.
    stream.addTrack(next.mediaTrack);
    if (before) stream.removeTrack(before.mediaTrack);
    const { participant, track, kind, told } = entry;
    entry.told = { participant, track, kind, stream, mediaTrack: next.mediaTrack };
    this.#tell(told ? 'track_replaced' : 'track', entry.told);
  }

  /** Before a transport is closed, and its tracks with it. @param {Transport} transport */
  leave(transport) {
    for (const entry of this.#entries.values()) {
      if (entry.next?.transport === transport) entry.next = undefined;
      if (entry.source?.transport === transport) this.#exchange(entry);
    }
  }

  /** What the log says: a track that it no longer has is gone. @param {import('../wire/types.js').Snapshot} fold */
  settle({ tracks = [], participants }) {
    const known = new Set(tracks.map(keyOf));
    for (const [key, entry] of this.#entries) {
      if (known.has(key)) entry.known = true;
      else if (entry.known) this.#drop(key, entry);
    }
    const there = new Set(participants.map(({ participant }) => participant));
    const carried = new Set([...this.#entries.values()].map(({ participant }) => participant));
    for (const participant of this.byParticipant.keys()) {
      if (!there.has(participant) && !carried.has(participant)) this.byParticipant.delete(participant);
    }
  }

  /** Nothing is received any more. */
  clear() {
    for (const [key, entry] of this.#entries) this.#drop(key, entry);
  }

  /** @param {string} key @param {Entry} entry */
  #drop(key, entry) {
    this.#entries.delete(key);
    const { source, told, stream } = entry;
    entry.source = entry.next = undefined;
    if (source) stream.removeTrack(source.mediaTrack);
    if (told) this.#tell('track_removed', told);
  }
}
