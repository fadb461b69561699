// The SDK's media in a real Chromium, through the real server: what is published comes back, stays the
// same objects through every recovery, and ends when it is told to.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { onceWithin, thrownAway } from './machine.mjs';
import { RelayedServer, SAME, before_, executablePath, faults, flows, framesOver, media, onPage, open, options, publish, same, shared, until } from './media-tab.mjs';
import { MediaServer, patience } from './server.mjs';
import { Tabs } from './tabs.mjs';

const hiddenMs = process.env.FULL ? 75_000 : 15_000;

test('a_camera_comes_back_within_a_second_and_a_viewer_sees_it_m4', options, async (context) => {
  const tab = await open();
  await onceWithin(async () => {
    const asked = await publish(tab);
    await framesOver(tab, 'own/camera', 0);
    const first = await tab.evaluate((asked) => seen.at['own/camera'][0] - asked, asked);
    context.diagnostic(`the first picture ${Math.round(first)} ms after publishing`);
    return [['the first picture', first, 2_000]];
  });
  await framesOver(tab, 'own/camera', 60);
  const viewer = await open({ session: await tab.evaluate(() => session.id), role: 'viewer' });
  const key = `${await tab.evaluate(() => session.participant)}/camera`;
  await framesOver(viewer, key, 60);
  assert.deepEqual([await faults(tab), await faults(viewer)], [[], []]);
  // An offer that is not answered within 5 s is said again; nothing else makes another one.
  const offers = await viewer.evaluate(() => sent.filter(({ type }) => type === 'offer').map((one, n, all) => n === 0 || (one.at - all[n - 1].at >= 5_000 && !heard.some(({ at, type }) => type === 'answer' && at > all[n - 1].at && at < one.at))));
  assert.deepEqual([new Set(offers), await viewer.evaluate(() => seen.told.length)], [new Set([true]), 1]);
  assert.equal(await viewer.evaluate(() => session.media.publish(null).catch(({ code }) => code)), 'invalid_request');
  assert.equal(await viewer.evaluate(async () => session.media.publish(await camera()).catch(({ code }) => code)), 'permission_denied');
  await tab.context().close();
  await viewer.context().close();
});

test('signaling_is_reset_while_media_flows_and_no_packet_is_lost_n01_m37', options, async (context) => {
  const tab = await open();
  await publish(tab);
  await framesOver(tab, 'own/camera', 60);
  await before_(tab);
  const before = await tab.evaluate(() => count()), thrown = thrownAway();
  await tab.evaluate(() => {
    window.recovered = new Promise((done) => session.on('recovered', done));
    session.inject({ kind: 'drop_connection' }).catch(() => {});
  });
  const { lost_ms } = await tab.evaluate(() => recovered);
  await flows(tab);
  const after = await tab.evaluate(() => count());
  context.diagnostic(`signaling back after ${lost_ms} ms; ${after.lost - before.lost} packets lost`);
  assert.ok(after.lost - before.lost <= thrownAway() - thrown, `${after.lost - before.lost} packets lost`);
  assert.equal(await tab.evaluate(() => transports.length), 1, 'the transport is the same');
  assert.deepEqual(await same(tab), SAME);
  assert.deepEqual(await faults(tab), []);
  await tab.context().close();
});

test('the_server_is_killed_and_comes_back_and_the_same_stream_plays_on_s01_m36', options, async (context) => {
  const own = await MediaServer.start({ origins: [shared.site.url] });
  try {
    const tab = await open({}, own);
    await publish(tab);
    await framesOver(tab, 'own/camera', 60);
    await before_(tab);
    // What is sent is replaced before the loss: it is the replaced one that comes back.
    await tab.evaluate(async () => {
      window.second = (await camera()).clone();
      await publication.replaceTrack(second);
    });
    await own.kill();
    await until(tab, () => session.status.state !== 'live');
    await own.run();
    const listening = await tab.evaluate(() => performance.now());
    await until(tab, () => transports.length >= 2);
    await flows(tab);
    const back = await tab.evaluate((since) => seen.at['own/camera'].find((at) => at > since) - since, listening);
    context.diagnostic(`a picture ${Math.round(back)} ms after the server listened again`);
    assert.ok(back < 5_000, `${Math.round(back)} ms`);
    assert.deepEqual(await same(tab), SAME);
    assert.deepEqual(await tab.evaluate(() => ({ told: seen.told, sends: transports.at(-1).getSenders().some(({ track }) => track === second), open: transports.filter(({ connectionState }) => connectionState !== 'closed').length })), {
      told: ['track own/camera', 'track_replaced own/camera'], sends: true, open: 1,
    });
    // And what is sent is replaced after it, too.
    await tab.evaluate(async () => publication.replaceTrack(await camera()));
    assert.equal(await tab.evaluate(() => transports.at(-1).getSenders().some(({ track }) => track === publication.track)), true);
    await flows(tab);
    assert.deepEqual(await faults(tab), []);
    await tab.context().close();
  } finally {
    await own.stop();
  }
});

test('three_participants_of_a_room_see_each_other_come_mute_and_go', options, async () => {
  const tabs = [await open({ backend: 'room' })];
  const id = await tabs[0].evaluate(() => session.id);
  for (let n = 1; n < 3; n += 1) tabs.push(await open({ backend: 'room', session: id }));
  const who = await Promise.all(tabs.map((tab) => tab.evaluate(() => session.participant)));
  await Promise.all(tabs.map((tab) => publish(tab)));
  for (const [n, tab] of tabs.entries()) {
    for (const other of who.filter((one) => one !== who[n])) await framesOver(tab, `${other}/camera`, 30);
    assert.equal(await tab.evaluate(() => seen.frames['own/camera']), undefined, 'the own picture does not come back');
    assert.equal(await tab.evaluate(() => session.media.streams.size), 2);
  }
  await tabs[0].evaluate(() => publication.mute());
  await until(tabs[1], (who) => session.snapshot.tracks.find(({ participant }) => participant === who)?.muted, who[0]);
  await tabs[0].evaluate(() => publication.unmute());
  await flows(tabs[1], `${who[0]}/camera`);
  // Live: one more track, and one less.
  await tabs[1].evaluate(async () => void (window.extra = await session.media.publish(await camera(), { name: 'second' })));
  await framesOver(tabs[2], `${who[1]}/second`, 30);
  await tabs[1].evaluate(() => extra.unpublish());
  await until(tabs[2], (key) => seen.told.includes(`track_removed ${key}`), `${who[1]}/second`);
  await tabs[1].evaluate(async () => void (window.extra = await session.media.publish(await camera(), { name: 'third' })));
  await framesOver(tabs[2], `${who[1]}/third`, 30);
  await flows(tabs[2], `${who[0]}/camera`);
  await tabs[0].evaluate(() => session.detach());
  await until(tabs[2], (who) => !session.media.streams.has(who), who[0]);
  for (const tab of tabs) {
    assert.deepEqual(await faults(tab), []);
    await tab.context().close();
  }
});

test('layers_are_sent_by_their_names_and_a_smaller_one_is_had_for_the_asking_v16', options, async (context) => {
  const tab = await open({ receive: false });
  await tab.evaluate(async () => void (window.publication = await session.media.publish(await camera(), {
    encodings: [{ rid: 'low', scaleResolutionDownBy: 4, maxBitrate: 80_000 }, { rid: 'high', maxBitrate: 600_000 }],
  })));
  const viewer = await open({ session: await tab.evaluate(() => session.id), role: 'viewer' });
  const who = await tab.evaluate(() => session.participant);
  await framesOver(viewer, `${who}/camera`, 30);
  const layers = () => tab.evaluate(async () => {
    const sent = {};
    (await transports.at(-1).getStats()).forEach((stat) => stat.type === 'outbound-rtp' && (sent[stat.rid] = stat.packetsSent));
    return sent;
  });
  const sent = await layers();
  assert.deepEqual(Object.keys(sent).sort(), ['high', 'low'], JSON.stringify(sent));
  await viewer.evaluate((who) => session.media.subscribe(who, 'camera', { max: 'low' }), who);
  const width = () => viewer.evaluate(async () => (await session.media.stats()).find(({ direction }) => direction === 'received').width);
  for (const end = Date.now() + patience; (await width()) !== 160; await sleep(100)) assert.ok(Date.now() < end, `never small: ${await width()}`);
  context.diagnostic(`sent ${JSON.stringify(await layers())}; the viewer's picture is ${await width()} wide`);
  await flows(viewer, `${who}/camera`);
  assert.deepEqual([await faults(tab), await faults(viewer)], [[], []]);
  await tab.context().close();
  await viewer.context().close();
});

test('after_close_nothing_goes_out_m30', options, async () => {
  const tab = await open();
  await publish(tab);
  await framesOver(tab, 'own/camera', 30);
  await tab.evaluate(() => session.close());
  const said = await tab.evaluate(() => sent.length);
  assert.equal(await tab.evaluate(() => session.media.publish(publication.track).catch(({ code }) => code)), 'connection_closed');
  await tab.evaluate(async () => {
    publication.replaceTrack(publication.track);
    publication.unpublish();
    session.media.retry();
    await new Promise((done) => setTimeout(done, 500));
  });
  assert.deepEqual(await tab.evaluate(() => ({ said: sent.length, open: transports.map(({ connectionState }) => connectionState), live: publication.track.readyState })), { said, open: ['closed'], live: 'live' });
  await tab.context().close();
});

for (const [name, holeMs, row] of [['a_short_black_hole', 1_300, 'v04'], ['a_black_hole_that_outlasts_an_ice_restart', 4_000, 'v02'], ...(process.env.FULL ? [['a_black_hole_that_outlasts_a_transport', 9_000, 'v02']] : [])]) {
  test(`${name}_is_told_and_back_within_a_second_and_a_half_${row}_m36`, options, async (context) => {
    const own = await RelayedServer.start({ origins: [shared.site.url] });
    try {
      const tab = await open({}, own);
      await publish(tab);
      await framesOver(tab, 'own/camera', 60);
      await before_(tab);
      await onceWithin(async () => {
        const begun = await onPage(tab, own.relay.block());
        const end = sleep(holeMs);
        await until(tab, (begun) => seen.lost.some(({ at }) => at >= begun), begun);
        const lost = await tab.evaluate((begun) => seen.lost.find(({ at }) => at >= begun), begun);
        await end;
        assert.notEqual(await tab.evaluate(() => session.status.state), 'live');
        assert.equal(await tab.evaluate(() => session.status.legs.find(({ leg }) => leg === 'signaling').health), 'up');
        const healed = await onPage(tab, own.relay.open());
        await until(tab, (healed) => seen.back.some(({ at }) => at > healed), healed);
        await flows(tab);
        const [back, picture] = await tab.evaluate((healed) => [seen.back.find(({ at }) => at > healed), seen.at['own/camera'].find((at) => at > healed) - healed], healed);
        context.diagnostic(`told after ${Math.round(lost.at - begun)} ms (${lost.code}); a picture ${Math.round(picture)} ms after the way was back, told as back after ${Math.round(back.at - healed)} ms (${back.strategy}, ${back.attempts} attempts)`);
        return [['told', lost.at - begun, 1_500], ['a picture after the hole', picture, 1_500]];
      });
      assert.deepEqual(await same(tab), SAME);
      await until(tab, () => session.status.state === 'live');
      assert.deepEqual(await faults(tab), []);
      await tab.context().close();
    } finally {
      await own.stop();
    }
  });
}

test('a_tab_that_is_hidden_is_never_told_that_its_media_is_lost_p05_v11', { ...options, timeout: 240_000 }, async (context) => {
  const window = new Tabs(executablePath, 5, media);
  try {
    const tab = await window.open(`${shared.site.url}/sdk/page.html`);
    const poll = async (text) => {
      for (const end = Date.now() + patience; !(await tab.evaluate(text)); await sleep(50)) assert.ok(Date.now() < end, `never: ${text}`);
    };
    await poll(`window.ready`);
    await tab.evaluate(`open_(${JSON.stringify({ url: shared.server.url, token: shared.server.token(), backend: 'passthrough' })}).then(camera).then((track) => session.media.publish(track)).then(() => 0)`);
    await poll(`seen.frames['own/camera'] > 30`);
    await poll(`session.status.state === 'live'`);
    const begun = await tab.evaluate(`window.ran = 0; setInterval(() => { window.ran += 1; }, 100); performance.now()`);
    await window.open('about:blank'); // in front of it
    await poll(`document.visibilityState === 'hidden'`);
    await tab.evaluate(`window.ran = 0; 0`);
    await sleep(hiddenMs);
    const wrongly = `wronglyLost('own/camera', ${begun})`;
    const [ran, lost, faults, pictures] = await tab.evaluate(`[ran, ${wrongly}, seen.faults, seen.at['own/camera'].filter((at) => at > performance.now() - ${hiddenMs}).length]`);
    context.diagnostic(`hidden for ${hiddenMs / 1_000} s: a timer of 100 ms ran ${ran} times, and ${pictures} pictures came`);
    assert.ok(ran < hiddenMs / 500, `the tab's timers are throttled: ${ran} of ${hiddenMs / 100}`);
    assert.ok(pictures > hiddenMs / 200, `pictures come all the while: ${pictures}`);
    assert.deepEqual([lost, faults], [[], []]);
    await poll(`session.status.state === 'live'`);
    await tab.front();
    await poll(`document.visibilityState === 'visible'`);
    await sleep(1_500);
    assert.deepEqual(await tab.evaluate(wrongly), [], 'and not when it is looked at again');
    await poll(`session.status.state === 'live'`);
    const before = await tab.evaluate(`seen.frames['own/camera']`);
    await poll(`seen.frames['own/camera'] > ${before + 30}`);
  } finally {
    await window.close();
  }
});
