// A `goaway` with a target under a live picture, in a real Chromium: make before break.
//
// The target is another address of the same server, a server that has never heard of the session, or one
// that the session is handed over to while its picture runs.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { onceWithin } from './machine.mjs';
import { SAME, before_, faults, flows, framesOver, open, options, publish, same, shared, until } from './media-tab.mjs';
import { Door } from './relay.mjs';
import { setTimeout as sleep } from 'node:timers/promises';
import { MediaServer, patience } from './server.mjs';

/** A server that is reached at a door, too. */
class DooredServer extends MediaServer {
  config() {
    return super.config().replace('[store]', 'allowed_hosts = ["127.0.0.1"]\n[store]');
  }
}

/** Such a server, its door, and a page that has joined it. */
async function led(run) {
  const own = await DooredServer.start({ origins: [shared.site.url] });
  const door = await Door.start(own.port);
  try {
    const tab = await open({}, own);
    await run(tab, door);
    await tab.context().close();
  } finally {
    door.close();
    await own.stop();
  }
}

/** A page whose picture flows, for long enough to know how it does, and which notes what is told. */
async function ready(tab) {
  await publish(tab);
  await framesOver(tab, 'own/camera', 120);
  await before_(tab);
  await tab.evaluate(() => {
    window.told = [];
    for (const type of ['goaway', 'recovered', 'attempt_failed', 'connection_lost', 'failed']) session.on(type, (event) => told.push({ type, at: performance.now(), strategy: event.strategy, code: event.fault?.code }));
  });
}

/** Tells it to go to `port`; when. */
const goes = (tab, port) => tab.evaluate((target) => {
  const begun = performance.now();
  socket.hear({ type: 'goaway', reason: 'drain', deadline_ms: 20_000, target });
  return begun;
}, `ws://127.0.0.1:${port}`);

/** The pictures since `begun`, and in an equal time before it, and what was told. */
const came = (tab, begun) => tab.evaluate((begun) => ({ gap: gap('own/camera', begun), before: gap('own/camera', 2 * begun - performance.now(), begun), told: told.map(({ type }) => type), lost: wronglyLost('own/camera', begun), transports: transports.length, open: transports.filter(({ connectionState }) => connectionState !== 'closed').length, url: socket.url }), begun);

/** Longest that a picture may stand. */
const GAP = 500;
const stands = ({ gap, before }) => ['without a picture', gap, GAP, before];

test('a_move_to_another_address_of_the_server_costs_no_picture_m17', options, (context) => led(async (tab, door) => {
  await ready(tab);
  await onceWithin(async () => {
    const begun = await goes(tab, door.port);
    await until(tab, () => told.some(({ type }) => type === 'recovered'));
    const { strategy, at } = await tab.evaluate(() => told.find(({ type }) => type === 'recovered'));
    await flows(tab);
    const seen = await came(tab, begun), { gap, told, lost, transports, url } = seen;
    context.diagnostic(`there after ${Math.round(at - begun)} ms (${strategy}); at most ${gap} ms without a picture`);
    assert.equal(strategy, 'migrate');
    assert.equal(new URL(url).port, String(door.port));
    assert.deepEqual([told, lost, transports], [['goaway', 'recovered'], [], 1], 'the transport is not of the connection: it stays');
    return [stands(seen)];
  });
  assert.deepEqual(await same(tab), SAME);
  assert.deepEqual(await faults(tab), []);
}));

test('the_old_picture_plays_until_the_transport_at_the_target_is_connected_m17', options, (context) => led(async (tab, door) => {
  // The target has no transport of this client, as another server has none.
  await tab.evaluate((port) => {
    window.changed = ({ peer, ...frame }, url) => (frame.type === 'welcome' && new URL(url).port === port ? frame : { ...(peer !== undefined && { peer }), ...frame });
  }, String(door.port));
  await ready(tab);
  await onceWithin(async () => {
    const begun = await goes(tab, door.port);
    await until(tab, () => transports.length === 2 && transports[0].connectionState === 'closed');
    await flows(tab);
    const seen = await came(tab, begun), { gap, told, lost, transports, open: opened, url } = seen;
    const [closed, connected] = await tab.evaluate(() => [window.transports[0].closedAt, window.transports[1].connectedAt]);
    context.diagnostic(`the next transport stood after ${Math.round(connected - begun)} ms, the one before it was closed after ${Math.round(closed - begun)} ms; at most ${gap} ms without a picture`);
    assert.equal(new URL(url).port, String(door.port));
    assert.ok(closed >= connected, 'make before break');
    assert.deepEqual([told, lost, transports, opened], [['goaway', 'recovered'], [], 2, 1]);
    return [stands(seen)];
  });
  assert.deepEqual(await same(tab), SAME);
  assert.deepEqual(await tab.evaluate(() => seen.told), ['track own/camera', 'track_replaced own/camera']);
  assert.deepEqual(await faults(tab), []);
}));

test('a_target_that_does_not_know_the_session_costs_no_picture_and_the_way_back_stays_m17_s01', options, async (context) => {
  const own = await MediaServer.start({ origins: [shared.site.url] });
  class Twin extends MediaServer {
    async prepare() {
      this.secret = own.secret;
    }
  }
  const other = await Twin.start({ origins: [shared.site.url] });
  try {
    const tab = await open({}, own);
    await ready(tab);
    let gap;
    await onceWithin(async () => {
      const begun = await goes(tab, other.port);
      await until(tab, () => told.some(({ type }) => type === 'attempt_failed'));
      await flows(tab);
      const seen = await came(tab, begun), { lost, transports } = seen;
      gap = seen.gap;
      assert.equal(await tab.evaluate(() => told.find(({ type }) => type === 'attempt_failed').code), 'session_not_found');
      assert.deepEqual([lost, transports], [[], 1]);
      return [stands(seen)];
    });
    // The one that wanted to stop does; the one that it named knows nothing; it comes back.
    await own.kill();
    await until(tab, () => told.some(({ type }) => type === 'connection_lost'));
    await own.run();
    const listening = await tab.evaluate(() => performance.now());
    await until(tab, () => window.transports.length >= 2);
    await flows(tab);
    const back = await tab.evaluate((since) => seen.at['own/camera'].find((at) => at > since) - since, listening);
    context.diagnostic(`refused by the target: at most ${gap} ms without a picture; killed and back: a picture after ${Math.round(back)} ms; told ${await tab.evaluate(() => told.map(({ type, code }) => `${type} ${code ?? ''}`))}`);
    assert.ok(back <= 5_000, `${Math.round(back)} ms`);
    assert.deepEqual(await same(tab), SAME);
    assert.deepEqual(await faults(tab), []);
    await tab.context().close();
  } finally {
    await other.stop();
    await own.stop();
  }
});

/** A server that hands its sessions over to the one at `to`, or takes them over. */
const paired = (secret, to) => class extends MediaServer {
  async prepare() {
    if (secret) this.secret = secret;
    writeFileSync(join(this.dir, 'peer.key'), 'ab'.repeat(32), { mode: 0o600 });
  }

  config() {
    return `${super.config()}
[peers.other]
url = "http://127.0.0.1:${to}"
key = "${this.dir}/peer.key"
`;
  }

  /** Begins to hand everything over, and comes back when nothing is left to do. */
  async drain(within_ms) {
    const headers = { authorization: `Bearer ${this.token('root', { admin: true })}`, 'content-type': 'application/json' };
    const begun = await fetch(`${this.url}/v1/node/drain`, { method: 'POST', headers, body: JSON.stringify({ target: 'other', within_ms }) });
    assert.equal(begun.status, 202, await begun.text());
    for (const end = Date.now() + patience; ; await sleep(50)) {
      const { census: { handover } } = await (await fetch(`${this.url}/v1/node`, { headers })).json();
      if (handover?.done) return handover;
      assert.ok(Date.now() < end, JSON.stringify(handover));
    }
  }
};

test('a_live_picture_moves_between_two_running_servers_m17', options, async (context) => {
  const green = await paired(undefined, 1).start({ origins: [shared.site.url] });
  const blue = await paired(green.secret, green.port).start({ origins: [shared.site.url] });
  try {
    const tab = await open({}, blue);
    await ready(tab);
    await onceWithin(async () => {
      const begun = await tab.evaluate(() => performance.now());
      const handed = await blue.drain(10_000);
      assert.deepEqual([handed.moved, handed.stayed], [1, 0]);
      await until(tab, () => transports.length === 2 && transports[0].connectionState === 'closed');
      await flows(tab);
      const seen = await came(tab, begun), { gap, told, lost, transports, open: opened, url } = seen;
      const [closed, connected] = await tab.evaluate(() => [window.transports[0].closedAt, window.transports[1].connectedAt]);
      context.diagnostic(`the transport at the other server stood after ${Math.round(connected - begun)} ms, the one before it was closed after ${Math.round(closed - begun)} ms; at most ${gap} ms without a picture`);
      assert.equal(new URL(url).port, String(green.port));
      assert.ok(closed >= connected, 'make before break');
      assert.deepEqual([told, lost, transports, opened], [['goaway', 'recovered'], [], 2, 1]);
      return [stands(seen)];
    });
    assert.deepEqual(await same(tab), SAME, 'the same MediaStream plays on');
    assert.deepEqual(await faults(tab), []);
    // Nothing hangs on the server that it left.
    await onceWithin(async () => {
      await blue.kill();
      const after = await tab.evaluate(() => performance.now());
      await flows(tab);
      const seen = await came(tab, after);
      assert.deepEqual([seen.told, seen.lost], [['goaway', 'recovered'], []]);
      return [stands(seen)];
    });
    await tab.context().close();
  } finally {
    await blue.stop();
    await green.stop();
  }
});
