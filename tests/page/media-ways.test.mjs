// The ways that media takes besides UDP, in a real Chromium: TCP where UDP is blocked, from the start or
// in mid-call.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RelayedServer, SAME, before_, faults, flows, framesOver, open, options, publish, same, shared, until } from './media-tab.mjs';

/** One that is reached over TCP, too. */
class TcpServer extends RelayedServer {
  async prepare() {
    await super.prepare();
    await this.relay.letTcpThrough();
  }
}

/** A server of that kind, and a page that has joined it once `prepared`. */
async function led(Kind, run, more = {}, prepared = () => {}) {
  const own = await Kind.start({ origins: [shared.site.url] });
  try {
    await prepared(own);
    const tab = await open(more, own);
    await run(tab, own);
    await tab.context().close();
  } finally {
    await own.stop();
  }
}

const way = (tab) => tab.evaluate(() => way());
const isTcp = async (tab, { port }) => {
  const { protocol, tcp, port: to } = await way(tab);
  assert.deepEqual({ protocol, tcp, to }, { protocol: 'tcp', tcp: 'active', to: port });
};

test('where_udp_is_blocked_from_the_start_the_picture_goes_over_tcp_v01', options, (context) => led(TcpServer, async (tab, { relay }) => {
  const asked = await tab.evaluate(() => performance.now());
  await publish(tab);
  await framesOver(tab, 'own/camera', 30);
  const first = await tab.evaluate((asked) => seen.at['own/camera'][0] - asked, asked);
  context.diagnostic(`the first picture ${Math.round(first)} ms after publishing, over ${JSON.stringify(await way(tab))}; ${relay.counted} datagrams went into the hole`);
  assert.ok(relay.counted > 0, 'UDP was tried');
  await isTcp(tab, relay);
  assert.ok(first <= 5_000, `the first picture after ${Math.round(first)} ms`);
  await flows(tab);
  assert.deepEqual([await faults(tab), await tab.evaluate(() => seen.lost)], [[], []]);
}, {}, ({ relay }) => relay.block()));

test('udp_that_dies_in_mid_call_is_told_and_the_picture_moves_to_tcp_v01_m36', options, (context) => led(TcpServer, async (tab, { relay }) => {
  await publish(tab);
  await framesOver(tab, 'own/camera', 60);
  await before_(tab);
  assert.equal((await way(tab)).protocol, 'udp', 'the better way is taken where there is one');
  const begun = await tab.evaluate(() => performance.now());
  relay.block();
  await until(tab, () => seen.lost.length > 0);
  await until(tab, () => seen.back.length > 0);
  await flows(tab);
  const [lost, back] = await tab.evaluate(() => [seen.lost, seen.back]);
  context.diagnostic(`told after ${Math.round(lost[0].at - begun)} ms (${lost[0].code}), back over ${JSON.stringify(await way(tab))} after ${Math.round(back[0].at - begun)} ms (${back[0].strategy}, ${back[0].attempts} attempts)`);
  await isTcp(tab, relay);
  assert.ok(lost[0].at - begun <= 1_500, `told after ${Math.round(lost[0].at - begun)} ms`);
  // ICE is restarted after 2 s of silence; Chromium leaves a way a second after a check of it was missed, of
  // which it makes one each 2.5 s.
  assert.ok(back[0].at - begun <= 8_000, `back after ${Math.round(back[0].at - begun)} ms`);
  assert.deepEqual([lost.length, back.length, await tab.evaluate(() => transports.length)], [1, 1, 1], `told once, over the same transport: ${JSON.stringify({ begun, lost, back })}`);
  assert.deepEqual(await same(tab), SAME);
  await until(tab, () => session.status.state === 'live');
  assert.deepEqual(await faults(tab), []);
}));
