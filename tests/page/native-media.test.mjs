// The native client and a real Chromium in one room: each is shown the other's picture.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { camera } from './camera.mjs';
import { thrownAway } from './machine.mjs';
import { mediaFlags, rig } from './playground.mjs';
import { MediaServer, binary, patience } from './server.mjs';

const { page } = rig(MediaServer, mediaFlags);

/** `evenkeel connect`, and what it tells, an object a line. */
class Native {
  constructor(server, args) {
    const env = { ...process.env, EVENKEEL_TOKEN: server.token('native') };
    const all = ['connect', `ws://127.0.0.1:${server.port}`, '--json', ...args];
    this.child = spawn(binary, all, { env, cwd: server.dir, stdio: ['ignore', 'pipe', 'pipe'] });
    this.told = [];
    this.errors = '';
    this.gone = once(this.child, 'exit');
    this.child.stderr.on('data', (text) => (this.errors += text));
    createInterface(this.child.stdout).on('line', (line) => this.told.push(JSON.parse(line)));
  }

  async until(wanted) {
    for (const end = Date.now() + patience; ; await sleep(20)) {
      const found = this.told.find(wanted);
      if (found) return found;
      assert.ok(Date.now() < end && this.child.exitCode === null, `not told: ${JSON.stringify(this.told.slice(-3))} ${this.errors}`);
    }
  }

  /** Interrupts it, as a person would; its last word. */
  async stop() {
    this.child.kill('SIGINT');
    const [code] = await Promise.race([this.gone, sleep(patience, ['it goes on though it was interrupted'], { ref: false })]);
    assert.equal(code, 0, this.errors);
    return this.told.findLast(({ event }) => event === 'media_summary');
  }
}

/** Runs in the browser: the numbers in the squares of each picture that is decoded, and of the others why there are none. */
function read() {
  window.numbers = [];
  window.losses = async () => {
    const came = [...(await cam.pc.getStats()).values()].filter(({ type }) => type === 'inbound-rtp');
    return { packets: came.reduce((sum, { packetsLost = 0 }) => sum + packetsLost, 0), frames: came.reduce((sum, { framesDropped = 0 }) => sum + framesDropped, 0) };
  };
  const canvas = new OffscreenCanvas(160, 96);
  const drawn = canvas.getContext('2d', { willReadFrequently: true });
  const watch = async (track) => {
    const pictures = new MediaStreamTrackProcessor({ track, maxBufferSize: 100 }).readable.getReader(); // A page that is held up reads them late.
    for (let next; !(next = await pictures.read()).done; next.value.close()) {
      if (next.value.codedWidth > 176) continue;
      drawn.drawImage(next.value, 0, 0, 160, 96);
      const { data } = drawn.getImageData(0, 0, 160, 16);
      let bits = 0n;
      for (let column = 0; column < 10; column += 1) {
        for (const [x, y] of [[4, 4], [12, 4], [4, 12], [12, 12]]) bits = (bits << 1n) | (data[4 * (y * 160 + column * 16 + x)] > 128 ? 1n : 0n);
      }
      window.numbers.push({ number: Number(bits >> 8n), check: Number(bits & 0xffn) });
    }
  };
  for (const { receiver } of window.cam.pc.getTransceivers()) watch(receiver.track.clone());
}

/** The check that the picture carries, of a number. */
const check = (number) => [24, 16, 8, 0].reduce((sum, shift) => (((sum << 3) | (sum >> 5)) & 0xff) ^ ((number >>> shift) & 0xff), 0xa5);

page('a process and a browser in one room see each other, picture by picture', [], async (context, server) => {
  const record = join(server.dir, 'chromium.ivf'), thrown = thrownAway();
  const native = new Native(server, ['--backend', 'room', '--publish', 'pattern', '--record', record]);
  try {
    const { session } = await native.until(({ event }) => event === 'joined');
    await native.until(({ event }) => event === 'media_connected');
    const tab = await context.newPage();
    await tab.goto(server.url);
    await tab.evaluate(camera, { token: server.token('tab', { session }), session });
    const patiently = { timeout: patience };
    await tab.waitForFunction(() => window.cam.frames > 0, undefined, patiently);
    await tab.evaluate(read);
    const before = await tab.evaluate(() => window.losses());
    await tab.waitForFunction(() => window.numbers.length >= 90, undefined, patiently);
    const [numbers, losses] = await tab.evaluate(async () => [window.numbers.slice(), await window.losses()]);
    for (const told of numbers) assert.equal(told.check, check(told.number), `not read: ${JSON.stringify(told)}`);
    const steps = numbers.slice(1).map(({ number }, at) => number - numbers[at].number);
    assert.ok(steps.every((step) => step >= 1), `pictures go backwards: ${steps}`);
    const missing = steps.reduce((sum, step) => sum + step - 1, 0), lost = losses.packets - before.packets;
    assert.ok(lost <= thrownAway() - thrown, `${lost} packets lost`);
    assert.ok(missing <= losses.frames - before.frames + lost, `${missing} pictures are missing, and the browser dropped ${losses.frames - before.frames}: ${steps}`);
    await native.until(({ event, received }) => event === 'media' && received > 60);
    const summary = await native.stop();
    assert.ok(summary.received > 60 && summary.recorded > 60, JSON.stringify(summary));
    assert.ok(summary.lost <= thrownAway() - thrown, JSON.stringify(summary));
  } finally {
    native.child.kill('SIGKILL');
  }
  const file = readFileSync(record);
  assert.equal(file.toString('latin1', 0, 4), 'DKIF');
  assert.equal(file.toString('latin1', 8, 12), 'VP80');
  assert.ok(file.readUInt16LE(12) >= 160 && file.readUInt16LE(14) >= 90, 'its size is that of the camera');
});
