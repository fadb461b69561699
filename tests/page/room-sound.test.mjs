// The sound of a room in real Chromiums: who speaks is heard by the others, and each page shows whose voice it is.
//
// Chromium's own microphone for tests beeps for a fiftieth of each half second, which a server does not take for
// a voice: it is given something that sounds like one.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe } from 'node:test';
import { drawn, live, mediaFlags, open, rig, shot, until, watched } from './playground.mjs';
import { MediaServer, patience } from './server.mjs';

const RATE = 48_000, VOICE_S = 4;

/** Syllables of a voice that rises and falls, as a WAV file of one channel: a steady tone would be taken for noise. */
function voice() {
  const samples = new Int16Array(RATE * VOICE_S);
  for (let at = 0, phase = 0; at < samples.length; at += 1) {
    const s = at / RATE, pitch = 140 + 30 * Math.sin(2 * Math.PI * s / VOICE_S), syllable = 0.55 - 0.45 * Math.cos(2 * Math.PI * 4 * s);
    phase += (2 * Math.PI * pitch) / RATE;
    const tone = [1, 2, 3, 4, 5, 6, 8, 10].reduce((sum, n) => sum + Math.sin(n * phase) / n, 0);
    samples[at] = 9_000 * syllable * tone;
  }
  const head = Buffer.alloc(44);
  for (const [at, text] of [[0, 'RIFF'], [8, 'WAVEfmt '], [36, 'data']]) head.write(text, at);
  for (const [at, size] of [[4, 36 + samples.byteLength], [16, 16], [24, RATE], [28, 2 * RATE], [40, samples.byteLength]]) head.writeUInt32LE(size, at);
  for (const [at, count] of [[20, 1], [22, 1], [32, 2], [34, 16]]) head.writeUInt16LE(count, at); // PCM, one channel, two bytes each
  return Buffer.concat([head, Buffer.from(samples.buffer)]);
}

const folder = mkdtempSync(join(tmpdir(), 'evenkeel-voice-'));
writeFileSync(join(folder, 'voice.wav'), voice());
after(() => rmSync(folder, { recursive: true, force: true }));

const shared = rig(MediaServer, [...mediaFlags, `--use-file-for-fake-audio-capture=${join(folder, 'voice.wav')}`]);
const { page } = shared;

/** Ann, who has opened a room, and Ben and Cleo, who have come to it; Ben's picture is seen. */
async function room(context, server, run) {
  const ann = await open(context, server.link({ backend: 'room', source: 'none' }));
  await live(ann);
  const session = await ann.evaluate(() => playground.session.id), all = { ann }, who = {}, errors = [];
  for (const [name, source] of [['ben', 'pattern'], ['cleo', 'none']]) {
    const token = server.token(name, { session, role: 'publisher' }), guests = await shared.guest();
    errors.push(watched(guests));
    all[name] = await open(guests, server.link({ session, source, token }));
  }
  for (const [name, tab] of Object.entries(all)) {
    await until(tab, () => playground.stage && document.querySelectorAll('#participants li').length === 3);
    who[name] = await tab.evaluate(() => {
      window.told = [];
      playground.session.media.on('speaking', ({ participant }) => told.push(participant));
      return playground.session.participant;
    });
    await tab.click('#hear');
  }
  await run({ ...all, tabs: Object.values(all), who });
  for (const name of ['ben', 'cleo']) await all[name].context().close();
  assert.deepEqual(errors.flat(), []);
}

/** Until every page shows that this one speaks, and no other; nobody, if none is named. */
async function speaks(tabs, name = '') {
  for (const tab of tabs) {
    await until(tab, (name) => [...document.querySelectorAll('#participants li')].filter((one) => one.querySelector('.speaks').checkVisibility()).map((one) => one.querySelector('strong').textContent.replace(' (you)', '')).join() === name, name);
  }
}

/** Who was said to speak since this was asked for last. */
const told = async (tabs) => [...new Set((await Promise.all(tabs.map((tab) => tab.evaluate(() => window.told.splice(0))))).flat())].filter(Boolean);

/** What a page has got of somebody's voice, in the browser's own words. */
const sound = (tab, of) => tab.evaluate(async (of) => {
  const { mediaTrack } = playground.session.media.tracks.find(({ participant, kind }) => kind === 'audio' && participant === of);
  const { packetsReceived = 0, totalAudioEnergy = 0, totalSamplesDuration = 0 } = [...(await playground.peers.at(-1).getStats(mediaTrack)).values()].find(({ type }) => type === 'inbound-rtp') ?? {};
  return { state: mediaTrack.readyState, packets: packetsReceived, energy: totalAudioEnergy, seconds: totalSamplesDuration };
}, of);

/** Until a page has got so much more of it: what it had, and what it has. */
async function over(tab, of, what, more) {
  await until(tab, (of) => playground.session.media.tracks.some(({ participant, kind }) => kind === 'audio' && participant === of), of);
  const before = await sound(tab, of);
  for (const end = Date.now() + patience; ;) {
    const now = await sound(tab, of);
    if (now[what] >= before[what] + more) return [before, now];
    assert.ok(Date.now() < end, `${what}: ${before[what]}, then ${now[what]}`);
    await drawn(tab);
  }
}

/** A voice is heard: its packets come, and there is something in them. */
async function hears(tab, of) {
  const [before, now] = await over(tab, of, 'packets', 50);
  assert.equal(now.state, 'live');
  assert.ok(now.energy > before.energy + 0.01, `an energy of ${before.energy}, then ${now.energy}`);
}

describe('the sound of a room', () => {
  page('whoever_speaks_is_heard_by_the_others_and_every_page_shows_whose_voice_it_is', [], (context, server) => room(context, server, async ({ ann, ben, cleo, tabs, who }) => {
    await ben.click('#speak');
    for (const tab of [ann, cleo]) await hears(tab, who.ben);
    await speaks(tabs, 'ben');
    for (const tab of [ann, cleo]) await until(tab, () => document.querySelectorAll('.pane.speaks').length === 1);
    await shot(ann, 'speaking');
    assert.deepEqual(await told(tabs), [who.ben], 'and nobody else');
    await ben.click('#speak');
    await speaks(tabs);
    await until(ann, () => playground.session.media.tracks.every(({ kind }) => kind === 'video'));
    await told(tabs);
    await cleo.click('#speak');
    await speaks(tabs, 'cleo');
    for (const tab of [ann, ben]) await hears(tab, who.cleo);
    assert.equal(await ann.evaluate(() => document.querySelectorAll('.pane.speaks').length), 0, 'who is seen is not who is heard');
    assert.deepEqual(await told(tabs), [who.cleo], 'and nobody else');
  }));

  page('who_mutes_is_heard_no_longer_and_said_to_speak_no_longer_and_it_is_no_fault_m18_v11', [], (context, server) => room(context, server, async ({ ann, ben, cleo, tabs, who }) => {
    await ben.click('#speak');
    await speaks(tabs, 'ben');
    await hears(ann, who.ben);
    const outages = await Promise.all(tabs.map((tab) => tab.evaluate(() => playground.model.outages.length)));
    await ben.click('#mute');
    await speaks(tabs);
    for (const tab of [ann, cleo]) {
      const [before, now] = await over(tab, who.ben, 'seconds', 2.5); // longer than silence may last
      assert.ok(now.packets <= before.packets + 5, `${before.packets} packets, then ${now.packets}`); // some were on their way
    }
    assert.equal(await ann.evaluate((of) => document.querySelector(`#participants [data-key="${of}"] small`).textContent, who.ben), 'camera (video, muted), microphone (audio, muted)');
    // A hiccup of a loaded machine ends by itself, 2 s after it began and 1.4 s after it was told; a silence that counts as a fault does not.
    for (const [n, tab] of tabs.entries()) {
      await until(tab, (before) => playground.model.outages.slice(before).every(({ backMs }) => backMs !== undefined), outages[n]);
      assert.deepEqual(await tab.evaluate((before) => playground.model.outages.slice(before).filter(({ toldAt, wellAt }) => wellAt - toldAt > 1_400), outages[n]), [], 'a silence that is meant');
    }
    await ben.click('#mute');
    await speaks(tabs, 'ben');
    for (const tab of [ann, cleo]) await hears(tab, who.ben);

    // Whoever sends a voice alone is muted by the same button.
    await ben.click('#mute');
    await cleo.click('#speak');
    await speaks(tabs, 'cleo');
    await cleo.click('#mute');
    await speaks(tabs);
    assert.equal(await cleo.getAttribute('#mute', 'aria-pressed'), 'true');
  }));

  page('who_mutes_while_the_microphone_is_asked_for_is_not_heard_and_one_press_takes_it_all_back_m18_v11', [], (context, server) => room(context, server, async ({ ann, ben, tabs, who }) => {
    await ben.evaluate(() => {
      const { mediaDevices } = navigator, ask = mediaDevices.getUserMedia.bind(mediaDevices);
      const granted = new Promise((done) => (window.grant = done));
      mediaDevices.getUserMedia = (...wants) => granted.then(() => ask(...wants));
    });
    await ben.click('#speak');
    await ben.click('#mute');
    await ben.evaluate(() => grant());
    const tracks = (of, muted) => until(ann, ([of, muted]) => {
      const has = playground.session.snapshot.tracks.filter(({ participant }) => participant === of);
      return has.length === 2 && has.every((track) => (track.muted ?? false) === muted);
    }, [of, muted]);
    await tracks(who.ben, true);
    await speaks(tabs);
    assert.equal(await ben.getAttribute('#mute', 'aria-pressed'), 'true');

    // It stays so when the page is loaded again: all of it, once the page has it.
    await until(ben, () => playground.stage.voice);
    await ben.reload();
    await until(ben, () => playground.stage?.publication?.muted && playground.stage.voice?.muted);
    assert.equal(await ben.getAttribute('#mute', 'aria-pressed'), 'true');
    await tracks(who.ben, true);
    await ben.click('#mute');
    await tracks(who.ben, false);
    await speaks(tabs, 'ben');
    await hears(ann, who.ben);
  }));
});
