// A transport as the client knows it: how it says it is, and what was seen to come on its lines.
//
// Silence is judged between samples that were taken, never by a timer alone: who did not look has seen
// nothing. A look that comes late counts as one that came a little late.

import * as limits from '../../limits.js';
import { since } from '../../time.js';

/**
 * @typedef {import('../../wire/types.js').Snapshot} Snapshot
 * @typedef {import('../../wire/types.js').MediaLine} MediaLine
 * @typedef {import('./io.js').LineSample} LineSample
 */

/**
 * How a transport is: not connected yet; connected, or says so; it says that nobody answers, since then;
 * it says so, and what is expected comes; at its end.
 * @typedef {{ kind: 'opening' | 'up' | 'proven' | 'failed' } | { kind: 'lost', since: number }} Way
 */
/** Whose track, and which. @typedef {{ participant: string, track: string }} TrackKey */

/** What is expected on an m-line, and what came. */
export class Line {
  packets = 0;
  /** The server says that its source is silent. */
  stalledAtSource = false;
  /** @type {number | undefined} */
  frames = undefined;
  /** How long no packet came. */
  quiet = 0;
  /** How long packets came, and no picture. */
  still = 0;
  /** How long it usually is quiet, as far as looks can tell. */
  usual = limits.MEDIA_SAMPLE_EVERY;
  /** When it was seen last that packets had come, and pictures. @type {number | undefined} */
  cameAt = undefined;
  /** @type {number | undefined} */
  shownAt = undefined;

  /** @param {string} mid @param {TrackKey} of @param {number} now silence is counted from then at the earliest */
  constructor(mid, of, now) {
    this.mid = mid;
    this.of = of;
    this.countedFrom = now;
  }

  /** Silence of it means nothing so far. @param {number} now */
  countAnew(now) {
    this.countedFrom = now;
    this.quiet = this.still = 0;
  }

  /** @param {number} now @param {LineSample | undefined} sample @param {number} gap */
  judge(now, sample, gap) {
    const packets = sample ? sample.packets : this.packets;
    const came = packets !== this.packets;
    const quiet = this.quiet + gap;
    if (came) {
      if (this.cameAt !== undefined && quiet <= this.#patience(this.cameAt)) this.usual = Math.floor((this.usual * 7 + quiet) / 8);
      this.packets = packets;
      this.cameAt = now;
    }
    this.quiet = came ? 0 : quiet;
    const frames = sample ? sample.frames : this.frames;
    if (frames === undefined) this.still = 0;
    else if (frames !== (this.frames ?? 0)) {
      this.still = 0;
      this.shownAt = now;
    } else if (came) this.still += gap;
    this.frames = frames;
  }

  /** @param {number | undefined} seenAt */
  #patience(seenAt) {
    if (seenAt === undefined) return limits.MEDIA_FIRST_WITHIN;
    return Math.min(Math.max(this.usual * limits.MEDIA_SILENT_GAPS, limits.MEDIA_SILENT_AFTER), limits.MEDIA_SILENT_MAX);
  }

  /** No packet comes. */
  get isSilent() {
    return this.quiet >= this.#patience(this.cameAt);
  }

  /** Packets come, and no picture. */
  get isFrozen() {
    return this.frames !== undefined && this.still >= this.#patience(this.shownAt);
  }

  get isTroubled() {
    return this.isSilent || this.isFrozen;
  }

  /** Whether what is expected of it was seen after a moment, and since its silence counts. @param {number} moment */
  cameSince(moment) {
    const from = Math.max(moment, this.countedFrom);
    return (this.cameAt ?? -1) > from && (this.frames === undefined || (this.shownAt ?? -1) > from);
  }
}

/** See above. */
export class Transport {
  /** @type {Way} */
  way = { kind: 'opening' };
  /** Another one is to take its place: it is not to be repaired. */
  superseded = false;
  /** @type {number | undefined} */
  connectedAt = undefined;
  /** @type {Line[]} */
  lines = [];
  /** @type {number | undefined} */
  sampledAt = undefined;

  /** @param {number} peer @param {number} now */
  constructor(peer, now) {
    this.peer = peer;
    /** When it was opened, or when what was said of it could pass again. */
    this.countedFrom = now;
  }

  /** The server says what it sends on which line: all of it. @param {number} now @param {MediaLine[]} named */
  nameLines(now, named) {
    const known = this.lines;
    this.lines = [];
    for (const { mid, participant, track } of named.slice(0, limits.MEDIA_LINES_MAX)) {
      if (participant === undefined) continue;
      const at = known.findIndex((line) => line.mid === mid && line.of.participant === participant && line.of.track === track);
      const [line] = at < 0 ? [] : known.splice(at, 1);
      this.lines.push(line ?? new Line(mid, { participant, track }, now));
    }
  }

  /** The lines that something is to come on. @param {Snapshot} snapshot */
  expected(snapshot) {
    return this.lines.filter((line) => isExpected(snapshot, line.of));
  }

  /** Takes a look at what has come. @param {number} now @param {LineSample[]} samples @param {Snapshot} snapshot */
  sampled(now, samples, snapshot) {
    /** @param {number} at */
    const gapSince = (at) => Math.min(since(now, at), limits.MEDIA_SAMPLE_COUNTS_MAX);
    const gap = this.sampledAt === undefined ? 0 : gapSince(this.sampledAt);
    for (const line of this.lines) {
      line.judge(now, samples.find(({ mid }) => mid === line.mid), Math.min(gap, gapSince(line.countedFrom)));
      if (!isExpected(snapshot, line.of)) line.countAnew(now);
    }
    this.sampledAt = now;
  }

  /** Nobody looked for a while: the next look is the first again. @param {number} now */
  notLooked(now) {
    this.sampledAt = undefined;
    for (const line of this.lines) line.countAnew(now);
  }

  /** Whether it stands by its own account. */
  get isUp() {
    return this.way.kind === 'up' || this.way.kind === 'proven';
  }
}

/** Whether something is to come of a track: one that is published, and not muted. @param {Snapshot} snapshot @param {TrackKey} of */
export const isExpected = ({ tracks = [] }, of) => tracks.some((view) => isSame(view, of) && !view.muted);

/** @param {TrackKey} a @param {TrackKey} b */
export const isSame = (a, b) => a.participant === b.participant && a.track === b.track;
