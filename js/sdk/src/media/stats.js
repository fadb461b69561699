// Figures of what flows: for the machine, which judges by them, and for people.

/** @typedef {import('./transport.js').Transport} Transport */

/**
 * What has come on each line, since the transport was opened.
 * @param {RTCStatsReport} report
 * @param {boolean} isHidden a page that nobody sees may decode no pictures: then nothing is known of them
 * @returns {import('../client/media/io.js').LineSample[]}
 */
export function samples(report, isHidden) {
  /** @type {import('../client/media/io.js').LineSample[]} */
  const lines = [];
  report.forEach((stat) => {
    if (stat.type !== 'inbound-rtp' || typeof stat.mid !== 'string') return;
    const frames = stat.kind === 'video' && !isHidden ? { frames: stat.framesDecoded ?? 0 } : {};
    lines.push({ mid: stat.mid, packets: stat.packetsReceived ?? 0, ...frames });
  });
  return lines;
}

/**
 * How a track is doing, for people. `lost` and `round_trip_ms` are the other end's word for what is sent;
 * `bitrate` is in bits a second since the last look, `frames` are pictures encoded or decoded.
 * @typedef {object} TrackStats
 * @property {'sent' | 'received'} direction
 * @property {string} participant whose
 * @property {string} track
 * @property {'audio' | 'video'} kind
 * @property {number} packets
 * @property {number} lost
 * @property {number} bytes
 * @property {number} [bitrate]
 * @property {number} [frames]
 * @property {number} [frames_per_second]
 * @property {number} [width]
 * @property {number} [height]
 * @property {number} [freezes]
 * @property {number} [jitter_ms]
 * @property {number} [round_trip_ms]
 */

/** @param {unknown} seconds */
const ms = (seconds) => (typeof seconds === 'number' ? Math.round(seconds * 1_000) : undefined);

/** Remembers what it saw last, for rates. */
export class Meter {
  /** @type {Map<string, { bytes: number, at: number }>} */
  #last = new Map();

  /**
   * @param {RTCStatsReport} report
   * @param {(mid: string, direction: 'sent' | 'received') => { participant: string, track: string, kind: 'audio' | 'video' } | undefined} named
   * @returns {TrackStats[]}
   */
  read(report, named) {
    /** @type {Map<string, TrackStats>} */
    const found = new Map();
    /** @type {Map<string, { bytes: number, at: number }>} */
    const seen = new Map();
    const pair = [...report.values()].find(({ type, nominated, state }) => type === 'candidate-pair' && nominated && state === 'succeeded');
    for (const stat of report.values()) {
      const direction = stat.type === 'inbound-rtp' ? 'received' : stat.type === 'outbound-rtp' ? 'sent' : undefined;
      const name = direction && typeof stat.mid === 'string' ? named(stat.mid, direction) : undefined;
      if (!direction || !name) continue;
      const bytes = stat.bytesReceived ?? stat.bytesSent ?? 0;
      const last = this.#last.get(stat.id);
      seen.set(stat.id, { bytes, at: stat.timestamp });
      const remote = report.get(stat.remoteId);
      // Each layer of a simulcast has figures of its own.
      const key = `${direction} ${stat.mid}`;
      const sum = found.get(key);
      const bitrate = last && stat.timestamp > last.at ? Math.round(((bytes - last.bytes) * 8_000) / (stat.timestamp - last.at)) : undefined;
      found.set(key, {
        ...sum, direction, ...name,
        packets: (sum?.packets ?? 0) + (stat.packetsReceived ?? stat.packetsSent ?? 0),
        lost: (sum?.lost ?? 0) + (stat.packetsLost ?? remote?.packetsLost ?? 0),
        bytes: (sum?.bytes ?? 0) + bytes,
        bitrate: bitrate === undefined ? sum?.bitrate : (sum?.bitrate ?? 0) + bitrate,
        ...(stat.kind === 'video' && {
          frames: Math.max(sum?.frames ?? 0, stat.framesDecoded ?? stat.framesEncoded ?? 0),
          frames_per_second: Math.max(sum?.frames_per_second ?? 0, stat.framesPerSecond ?? 0),
          width: Math.max(sum?.width ?? 0, stat.frameWidth ?? 0),
          height: Math.max(sum?.height ?? 0, stat.frameHeight ?? 0),
          freezes: stat.freezeCount,
        }),
        jitter_ms: ms(stat.jitter ?? remote?.jitter),
        round_trip_ms: ms(remote?.roundTripTime ?? pair?.currentRoundTripTime),
      });
    }
    this.#last = seen;
    return [...found.values()];
  }
}
