// The ways that media takes besides UDP, in a real Chromium: TCP where UDP is blocked, from the start or
// in mid-call.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { onceWithin } from './machine.mjs';
import { RelayedServer, SAME, before_, faults, flows, framesOver, onPage, open, options, publish, same, shared, until } from './media-tab.mjs';

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
  await onceWithin(async () => {
    const asked = await publish(tab);
    await framesOver(tab, 'own/camera', 30);
    const first = await tab.evaluate((asked) => seen.at['own/camera'][0] - asked, asked);
    context.diagnostic(`the first picture ${Math.round(first)} ms after publishing, over ${JSON.stringify(await way(tab))}; ${relay.counted} datagrams went into the hole`);
    return [['the first picture', first, 5_000]];
  });
  assert.ok(relay.counted > 0, 'UDP was tried');
  await isTcp(tab, relay);
  await flows(tab);
  assert.deepEqual([await faults(tab), await tab.evaluate(() => wronglyLost('own/camera', 0))], [[], []]);
}, {}, ({ relay }) => relay.block()));

test('udp_that_dies_in_mid_call_is_told_and_the_picture_moves_to_tcp_v01_m36', options, (context) => led(TcpServer, async (tab, { relay }) => {
  await publish(tab);
  await framesOver(tab, 'own/camera', 60);
  await before_(tab);
  assert.equal((await way(tab)).protocol, 'udp', 'the better way is taken where there is one');
  let begun;
  await onceWithin(async () => {
    begun = await onPage(tab, relay.block());
    await until(tab, (begun) => seen.lost.some(({ at }) => at >= begun) && seen.back.some(({ at }) => at >= begun), begun);
    await flows(tab);
    const [lost, back] = await tab.evaluate((begun) => [seen.lost, seen.back].map((all) => all.find(({ at }) => at >= begun)), begun);
    context.diagnostic(`told after ${Math.round(lost.at - begun)} ms (${lost.code}), back over ${JSON.stringify(await way(tab))} after ${Math.round(back.at - begun)} ms (${back.strategy}, ${back.attempts} attempts)`);
    // ICE is restarted after 2 s of silence; Chromium leaves a way a second after a check of it was missed, of
    // which it makes one each 2.5 s.
    return [['told', lost.at - begun, 1_500], ['back', back.at - begun, 8_000]];
  });
  await isTcp(tab, relay);
  assert.deepEqual(await same(tab), SAME);
  await until(tab, () => session.status.state === 'live');
  const told = await tab.evaluate((begun) => ({ lost: seen.lost.filter(({ at }) => at >= begun), back: seen.back.filter(({ at }) => at >= begun), wrongly: wronglyLost('own/camera', begun), transports: transports.length }), begun);
  assert.deepEqual([told.back.length, told.wrongly, told.transports], [told.lost.length, [], 1], `told once, over the same transport: ${JSON.stringify({ begun, ...told })}`);
  assert.deepEqual(await faults(tab), []);
}));
