// A camera in a real Chromium, through the real server and back, and what becomes of the picture when
// signaling, or the server, is lost.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { chromium } from 'playwright-core';
import { camera, measured } from './camera.mjs';
import { onceWithin, takesAtMost, thrownAway } from './machine.mjs';
import { MediaServer, patience } from './server.mjs';
import { flags } from './tabs.mjs';

const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
const needs = existsSync(executablePath) ? false : 'needs: chromium';
if (needs && process.env.CI) throw new Error(`${executablePath} is not there`);

const media = [
  '--allow-loopback-in-peer-connection', '--use-fake-ui-for-media-stream',
  '--use-fake-device-for-media-stream=device-count=1,fps=30',
];

let browser, server;
before(async () => {
  if (needs) return;
  server = await MediaServer.start();
  browser = await chromium.launch({ executablePath, args: [...flags, '--headless=new', ...media] });
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

async function open(options) {
  const context = await browser.newContext();
  const tab = await context.newPage();
  await tab.goto(server.url);
  await tab.evaluate(camera, { token: server.token(), ...options });
  return tab;
}

const until = (tab, what, arg) => tab.waitForFunction(what, arg, { timeout: patience });
const framesOver = (tab, frames) => until(tab, (frames) => cam.frames > frames, frames);
const flows = async (tab) => {
  const before = await tab.evaluate(() => cam.frames);
  await framesOver(tab, before + 30);
};

test('a camera comes back within a second', { skip: needs, timeout: 120_000 }, async (context) => {
  // From the welcome to the first picture, with what the device takes to begin.
  context.diagnostic(`the first picture after ${await takesAtMost(1_000, async () => {
    const tab = await open({});
    await framesOver(tab, 0);
    const first = await tab.evaluate(() => cam.frameAt[0] - cam.welcomes[0].at);
    await tab.context().close();
    return first;
  })}`);
});

test('a camera comes back, and a viewer sees it from a keyframe on', { skip: needs, timeout: 120_000 }, async () => {
  const thrown = thrownAway();
  const publisher = await open({});
  await framesOver(publisher, 60);
  const { faults, signals } = await publisher.evaluate(() => ({ ...cam, pc: null, ws: null, media: null, sender: null }));
  assert.deepEqual(faults, []);
  assert.ok(!signals.includes('offer'), 'the line that it brought is enough');
  const told = await publisher.evaluate(measured);
  assert.ok(told.decoded >= 60, JSON.stringify(told));
  assert.ok(told.lost <= thrownAway() - thrown, JSON.stringify(told));

  const session = await publisher.evaluate(() => cam.seat.session);
  const viewer = await open({ session, role: 'viewer', publishes: false });
  await framesOver(viewer, 60);
  const seen = await viewer.evaluate(measured);
  assert.ok(seen.lost <= thrownAway() - thrown, JSON.stringify(seen));
  assert.equal(seen.sent, 0);
  await publisher.context().close();
  await viewer.context().close();
});

test('N01 signaling is lost while media flows: the picture does not notice', { skip: needs, timeout: 120_000 }, async () => {
  const tab = await open({});
  await framesOver(tab, 60);
  const before = await tab.evaluate(measured), thrown = thrownAway();
  await onceWithin(async () => {
    await tab.evaluate(() => { cam.from = cam.frameAt.length - 1; cam.ws.close(); });
    await until(tab, () => cam.welcomes.length >= 2);
    await flows(tab);
    const gap = await tab.evaluate(() => Math.max(...cam.frameAt.slice(cam.from + 1).map((t, n) => t - cam.frameAt[cam.from + n])));
    return [['between two pictures', gap, 1_000]];
  });
  const { again, peer } = await tab.evaluate(() => ({ again: cam.welcomes[1], peer: cam.peer }));
  assert.deepEqual({ how: again.how, peer: again.peer }, { how: 'resumed', peer: 1 }, 'the server still has the transport');
  assert.equal(peer, 1, 'and so has the client');
  const after = await tab.evaluate(measured);
  assert.ok(after.lost - before.lost <= thrownAway() - thrown, `no packet was lost: ${before.lost}, then ${after.lost}`);
  await tab.context().close();
});

test('S01 the server is killed and comes back: so does the picture, by itself', { skip: needs, timeout: 120_000 }, async () => {
  const tab = await open({});
  await framesOver(tab, 60);
  await server.kill();
  await until(tab, () => cam.closes > 0);
  await sleep(1_000);
  await server.run();
  const listening = await tab.evaluate(() => performance.now());
  await until(tab, () => cam.peer === 2);
  await flows(tab);
  const { back, faults } = await tab.evaluate((since) => ({ back: cam.frameAt.find((at) => at > since) - since, faults: cam.faults }), listening);
  assert.deepEqual(faults, []);
  assert.ok(back < 3_000, `a picture ${Math.round(back)} ms after the server was there`);
  await tab.context().close();
});
