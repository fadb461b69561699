// What the tests of the SDK's media share: a server, a Chromium with a camera, and a page with a session.

import { existsSync } from 'node:fs';
import { after, before } from 'node:test';
import { chromium } from 'playwright-core';
import { Relay } from './relay.mjs';
import { MediaServer, patience } from './server.mjs';
import { serveSdk } from './site.mjs';
import { flags } from './tabs.mjs';

export const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
const needs = existsSync(executablePath) ? false : 'needs: chromium';
if (needs && process.env.CI) throw new Error(`${executablePath} is not there`);
export const options = { skip: needs, timeout: 120_000 };

/** A page with a session in `session`, and in `seen` what its media tells and what a person would see. */
const PAGE = `<!doctype html><meta charset="utf-8" /><title>SDK</title><script type="module">
  import { connect } from '/sdk/index.js';
  import { fromCamera, media } from '/sdk/media.js';
  const seen = window.seen = { told: [], faults: [], frames: {}, at: {}, streams: new Map(), plays: {} };
  const sent = window.sent = [], heard = window.heard = [];
  /** What is spoken through. A test can say something in the server's name, or change what that says. */
  class Recorded extends WebSocket {
    constructor(...args) { super(...args); window.socket = this; }
    send(text) { sent.push({ at: performance.now(), ...JSON.parse(text) }); super.send(text); }
    set onmessage(hear) {
      this.hear = (frame) => hear({ data: JSON.stringify(frame) });
      super.onmessage = (event) => {
        const frame = JSON.parse(event.data);
        heard.push({ at: performance.now(), type: frame.type });
        return window.changed ? this.hear(changed(frame, this.url)) : hear(event);
      };
    }
  }
  const transports = window.transports = [];
  class Connection extends RTCPeerConnection {
    constructor(config) {
      super(config);
      transports.push(this);
      this.addEventListener('connectionstatechange', () => { if (this.connectionState === 'connected') this.connectedAt ??= performance.now(); });
    }
    close() { this.closedAt ??= performance.now(); super.close(); }
  }
  /** Takes each picture off a track: a headless page shows none, so none would be counted by showing. */
  async function watch(key, track) {
    const pictures = new MediaStreamTrackProcessor({ track }).readable.getReader();
    for (let next; !(next = await pictures.read()).done; next.value.close()) {
      seen.frames[key] = (seen.frames[key] ?? 0) + 1;
      (seen.at[key] ??= []).push(performance.now());
    }
  }
  window.open_ = async ({ url, token, receive = true, policy, ...rest }) => {
    const session = window.session = await connect({
      url, token: () => token, transport: Recorded, media: media({ receive, peerConnection: Connection, iceTransportPolicy: policy }), ...rest,
    });
    for (const type of ['track', 'track_replaced', 'track_removed']) {
      session.media.on(type, ({ participant, track, kind, stream, mediaTrack }) => {
        const key = participant === session.participant ? 'own/' + track : participant + '/' + track;
        seen.told.push(type + ' ' + key);
        const before = seen.streams.get(participant);
        if (before && before !== stream) seen.faults.push('another stream of ' + participant);
        seen.streams.set(participant, stream);
        if (type !== 'track_removed' && kind === 'video') watch(key, mediaTrack);
        if (type !== 'track' || kind !== 'video') return;
        const video = Object.assign(document.createElement('video'), { muted: true, autoplay: true, srcObject: stream });
        document.body.append(video);
        seen.plays[key] = video;
      });
    }
    seen.lost = [];
    seen.back = [];
    session.on('media_lost', ({ fault }) => seen.lost.push({ at: performance.now(), code: fault.code, why: fault.detail.why ?? null, state: session.status.state }));
    session.on('media_recovered', ({ strategy, attempts, lost_ms }) => seen.back.push({ at: performance.now(), strategy, attempts, lost_ms }));
    session.media.on('fault', ({ fault }) => seen.faults.push(fault.message));
    session.on('fault', ({ fault }) => seen.faults.push(fault.code + ': ' + fault.message));
    return session.participant;
  };
  window.camera = async () => (await fromCamera({ video: { width: 640, height: 360 } }))[0];
  /** The longest time without a picture between two moments, in milliseconds. */
  window.gap = (key, since, end = Infinity) => {
    const from = Math.max(since, seen.at[key][0]), at = seen.at[key].filter((at) => at > from && at <= end);
    return Math.round(Math.max(...at.map((one, n) => one - (at[n - 1] ?? from))));
  };
  /**
   * What was told as lost since a moment though pictures came. A machine that is held up makes real gaps: of 600 ms the
   * server has to tell, and of those, as pictures are seen at times a little late, no less than 500 are seen. It has 1.5 s
   * for it. What is told once more is another loss: a picture came in between, and was told.
   */
  window.wronglyLost = (key, since) => {
    const at = [...seen.at[key] ?? [], performance.now()];
    return seen.lost.filter((lost, k) => {
      const before = seen.lost[k - 1]?.at ?? 0, back = seen.back.findLast((one) => one.at <= lost.at)?.at ?? 0;
      const isGap = (one, n) => n > 0 && at[n - 1] >= before && at[n - 1] <= lost.at && one >= lost.at - 1_500 && one - Math.max(at[n - 1], back) >= 500;
      return lost.at >= since && !at.some(isGap);
    });
  };
  window.count = async () => {
    const told = { decoded: 0, lost: 0, sent: 0 };
    (await transports.at(-1).getStats()).forEach((stat) => {
      if (stat.type === 'inbound-rtp') told.decoded += stat.framesDecoded ?? 0, told.lost += stat.packetsLost ?? 0;
      if (stat.type === 'outbound-rtp') told.sent += stat.packetsSent ?? 0;
    });
    return told;
  };
  /** How the pictures go: what the pair that is in use says of itself, and what it was. */
  window.way = async () => {
    const stats = await transports.at(-1).getStats(), { selectedCandidatePairId: id } = [...stats.values()].find(({ type }) => type === 'transport');
    const pair = stats.get(id), [local, remote] = [stats.get(pair.localCandidateId), stats.get(pair.remoteCandidateId)];
    return { protocol: local.protocol, tcp: local.tcpType ?? null, type: local.candidateType, port: remote.port };
  };
  window.ready = true;
</script>`;

/** A server whose media goes by a way that can be broken. */
export class RelayedServer extends MediaServer {
  async prepare() {
    this.relay = await Relay.start(this.mediaPort);
  }
}

export const media = ['--allow-loopback-in-peer-connection', '--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream=device-count=1,fps=30'];
/** Of every test of a file: a server, a site with the page, and a browser. */
export const shared = {};
before(async () => {
  if (needs) return;
  shared.site = await serveSdk(PAGE);
  shared.server = await MediaServer.start({ origins: [shared.site.url] });
  shared.browser = await chromium.launch({ executablePath, args: [...flags, '--headless=new', ...media] });
});
after(async () => {
  await shared.browser?.close();
  await shared.server?.stop();
  shared.site?.close();
});

export const until = (tab, holds, arg) => tab.waitForFunction(holds, arg, { timeout: patience });
export const framesOver = (tab, key, frames) => until(tab, ([key, frames]) => (seen.frames[key] ?? 0) > frames, [key, frames]);
export const flows = async (tab, key = 'own/camera') => framesOver(tab, key, 30 + await tab.evaluate((key) => seen.frames[key] ?? 0, key));

/** A page that has joined. */
export async function open(more = {}, of = shared.server) {
  const context = await shared.browser.newContext();
  const tab = await context.newPage();
  await tab.goto(`${shared.site.url}/sdk/page.html`);
  await until(tab, () => window.ready);
  await tab.evaluate((options) => open_(options), { url: of.url, token: of.token(), backend: 'passthrough', ...more });
  return tab;
}

/** When it was asked for. */
export const publish = (tab, name) => tab.evaluate(async (name) => {
  const asked = performance.now();
  window.publication = await session.media.publish(await camera(), { name });
  return asked;
}, name);
/** A moment of this process, on the page's clock. */
export const onPage = (tab, at) => tab.evaluate((at) => at - Date.now() + performance.now(), at);
export const faults = (tab) => tab.evaluate(() => seen.faults);

/** What must not change while something is broken; until then everything is well. */
export const before_ = async (tab) => {
  await until(tab, () => session.status.state === 'live');
  await tab.evaluate(() => {
    const [participant, stream] = [...seen.streams][0];
    window.kept = { participant, stream };
  });
};
/** The same object is still the stream of the same participant, and plays. */
export const same = (tab) => tab.evaluate(() => {
  const video = seen.plays['own/camera'];
  return { stream: session.media.streams.get(kept.participant) === kept.stream, shown: video.srcObject === kept.stream, paused: video.paused, ended: video.ended, tracks: kept.stream.getTracks().length };
});
export const SAME = { stream: true, shown: true, paused: false, ended: false, tracks: 1 };
