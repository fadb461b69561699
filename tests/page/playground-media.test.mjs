// The playground's picture in a real Chromium, through the real server and back, and what becomes of it
// when a leg is lost. What is shown, and when, is watched inside the page, on the clock of this machine.

import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { chromium } from 'playwright-core';
import { onceWithin, takesAtMost, thrownAway } from './machine.mjs';
import { breaks, broken, executablePath, isFromDisk, live, mediaFlags, offline, open, rig, shot, until, watched } from './playground.mjs';
import { Relay } from './relay.mjs';
import { MediaServer } from './server.mjs';
import { flags } from './tabs.mjs';

const shared = rig(MediaServer, mediaFlags);
const { page } = shared;
const through = (server, more = {}) => server.link({ backend: 'passthrough', ...more });

const flows = async (tab, frames = 20) => {
  const before = await tab.evaluate(() => playground.stage?.returned?.returned.frames ?? 0);
  await until(tab, (wanted) => (playground.stage?.returned?.returned.frames ?? 0) >= wanted, before + frames);
};
const figures = (tab) => tab.evaluate(async () => {
  const { model, stage, session } = playground, seen = stage?.returned?.returned;
  return {
    state: model.status.state, frames: seen?.frames, number: seen?.number, unread: seen?.unread, delayMs: seen?.delayMs, firstMs: stage?.firstMs, lost: seen?.lost,
    log: model.log.map(({ kind, text }) => `${kind} ${text}`), outages: model.outages, stats: await session?.media.stats(),
  };
});

/** Watches what is shown: each change of the state, of the media leg and of the fault, and when; and when each picture came. */
const watch = (tab) => tab.evaluate(() => {
  window.shown = [];
  window.pictures = [];
  const kind = Object.getPrototypeOf(playground.stage.returned.returned), { take } = kind;
  kind.take = function (...picture) { window.pictures.push(Date.now()); return take.apply(this, picture); };
  window.stream = [...playground.session.media.streams.values()][0];
  const look = () => {
    const leg = document.querySelector('#legs [data-key="media"]')?.dataset.health;
    const now = { state: document.getElementById('state').textContent, media: leg, fault: document.getElementById('fault').hidden ? null : document.getElementById('fault-code').textContent };
    const last = window.shown.at(-1);
    if (!last || ['state', 'media', 'fault'].some((name) => last[name] !== now[name])) window.shown.push({ at: Date.now(), ...now });
  };
  new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
  look();
});

/** Until the page shows that the media leg is not up: how long after `since`, and as what. */
async function shownLost(tab, since) {
  await until(tab, (since) => window.shown.some(({ at, media, fault }) => at >= since && media && media !== 'up' && fault), since);
  const { at, ...what } = (await tab.evaluate(() => window.shown)).find(({ at, media, fault }) => at >= since && media && media !== 'up' && fault);
  return { ms: at - since, ...what };
}

/** Until a picture has come: how long after `since`. */
async function picture(tab, since) {
  await until(tab, (since) => window.pictures.some((at) => at > since), since);
  return await tab.evaluate((since) => window.pictures.find((at) => at > since), since) - since;
}

/** Outages since `since`, and which of them were told though pictures came: as `wronglyLost` of media-tab.mjs has it. */
const told = (tab, since) => tab.evaluate((since) => {
  const zero = Date.now() - performance.now(), at = [...window.pictures, Date.now()];
  const all = playground.model.outages.filter(({ toldAt }) => zero + toldAt >= since);
  const wrongly = all.filter(({ toldAt }, k) => {
    const here = zero + toldAt, before = k > 0 ? zero + all[k - 1].toldAt : 0, back = k > 0 ? zero + all[k - 1].wellAt : 0;
    return !at.some((one, n) => n > 0 && at[n - 1] >= before && at[n - 1] <= here && one >= here - 1_500 && one - Math.max(at[n - 1], back) >= 500);
  });
  return { all, wrongly };
}, since);

/** How many there were. */
const outagesOf = (tab) => tab.evaluate(() => playground.model.outages.length);
/**
 * Outages since there were so many that were more than a hiccup of a loaded machine, which is over 2 s after it began and
 * 1.4 s after it was told: a silence that counts as one does not end by itself.
 */
async function outages(tab, before = 0) {
  await until(tab, (before) => playground.model.outages.slice(before).every(({ backMs }) => backMs !== undefined), before);
  return (await figures(tab)).outages.slice(before).filter(({ toldAt, wellAt }) => wellAt - toldAt > 1_400);
}
const recovered = (tab) => until(tab, () => playground.model.status.state === 'live' && document.querySelector('#legs [data-key="media"]')?.dataset.health === 'up');
const isSameStream = (tab) => tab.evaluate(() => [...playground.session.media.streams.values()][0] === window.stream && document.querySelectorAll('.pane video')[1].srcObject === window.stream);

/** A tab whose media goes over a relay. */
async function led(context, server, run) {
  const relay = await Relay.start(server.mediaPort);
  try {
    await relay.lead(context);
    const tab = await open(context, through(server));
    await flows(tab, 30);
    await recovered(tab);
    await watch(tab);
    await run(tab, relay);
  } finally {
    relay.close();
  }
}

describe('the picture of the playground', () => {
  page('the_picture_is_back_within_a_second_of_opening_the_page_and_its_counter_advances_m36', [], async (context, server) => {
    // From the navigation to the first picture that was read. Files that the driver hands out take their time.
    const told = await takesAtMost(isFromDisk ? Infinity : 1_000, async () => {
      const thrown = thrownAway();
      const tab = await open(context, through(server));
      await flows(tab, 30);
      const before = await figures(tab);
      await flows(tab, 30);
      const after = await figures(tab);
      assert.ok(after.number > before.number && after.number - before.number < 200, `${before.number}, then ${after.number}`);
      assert.ok(after.unread <= after.frames / 10, `${after.unread} of ${after.frames} could not be read`);
      assert.ok(after.delayMs > 0 && after.delayMs < 2_000, `${after.delayMs} ms there and back`);
      const received = after.stats.find(({ direction }) => direction === 'received');
      const sent = after.stats.find(({ direction }) => direction === 'sent');
      assert.ok(received.frames >= 30 && sent.packets > 30, JSON.stringify(after.stats));
      assert.ok(received.lost <= thrownAway() - thrown, `${received.lost} packets lost`);
      assert.deepEqual(await outages(tab), []);
      await tab.click('#leave');
      await tab.close();
      return before.firstMs;
    });
    console.log(`first picture after ${told}`);
  });

  page('the_camera_takes_the_place_of_the_test_picture_and_nothing_is_agreed_on_anew', [], async (context, server) => {
    const tab = await open(context, through(server));
    await flows(tab);
    await watch(tab);
    const peers = await tab.evaluate(() => playground.peers.length);
    await tab.click('#use-camera');
    await until(tab, () => playground.stage.source === 'camera' && playground.stage.publication.track.readyState === 'live');
    await flows(tab, 30);
    await tab.click('#use-pattern');
    await flows(tab, 30);
    assert.equal(await tab.evaluate(() => playground.peers.length), peers);
    assert.equal(await isSameStream(tab), true);
    await until(tab, () => playground.model.status.state === 'live');
    await shot(tab, 'picture');
  });

  page('a_second_browser_watches_by_the_copied_link_and_cannot_send_m4', [], async (context, server) => {
    const other = await chromium.launch({ executablePath, args: [...flags, ...mediaFlags] });
    try {
      const admin = through(server, { token: server.token('ann', { admin: true }) });
      const tab = await open(context, admin);
      await flows(tab);
      await tab.click('#share');
      await until(tab, () => playground.shared && /watch for an hour/.test(document.getElementById('shared').textContent));
      const link = new URL(await tab.evaluate(() => playground.shared));
      assert.equal(link.search, '', 'no token where a server would see it');
      const guests = await other.newContext(), errors = watched(guests);
      const guest = await open(guests, link.href);
      await live(guest);
      assert.equal(guest.url(), `${server.url}/`);
      await flows(guest, 30);
      const { number, state, stats } = await figures(guest);
      assert.ok(number > 0 && state === 'live');
      assert.deepEqual(stats.map(({ direction }) => direction), ['received']);
      assert.equal(await guest.evaluate(() => playground.session.media.publish(playground.stage.returned.video.srcObject.getVideoTracks()[0], { name: 'mine' }).catch(({ code }) => code)), 'permission_denied');
      assert.deepEqual(await guest.evaluate(() => [playground.model.role, document.getElementById('use-camera').disabled, document.getElementById('end').disabled]), ['viewer', true, true]);
      await until(tab, () => document.querySelectorAll('#participants li').length === 2);
      await flows(guest, 10);
      await shot(guest, 'viewer');
      assert.deepEqual(errors, []);
    } finally {
      await other.close();
    }
  });

  page('three_participants_of_a_room_see_each_other_and_a_mute_is_no_fault', [], async (context, server) => {
    const first = await open(context, server.link({ backend: 'room' }));
    await live(first);
    const session = await first.evaluate(() => playground.session.id);
    await until(first, () => document.getElementById('local').dataset.flows === 'yes');
    assert.equal(await first.isVisible('#figures'), false, 'nothing comes back: there is nothing to count');
    const others = [];
    for (const name of ['ben', 'cleo']) {
      const own = await shared.browser.newContext();
      others.push(await open(own, server.link({ session, token: server.token('ann', { name }) })));
    }
    const all = [first, ...others];
    const tiles = (tab) => until(tab, () => playground.stage?.tiles.size === 2 && [...playground.stage.tiles.values()].every(({ returned, node }) => returned.frames > 20 && node.dataset.flows === 'yes'));
    for (const tab of all) await tiles(tab);
    for (const tab of all) await until(tab, () => document.querySelectorAll('#participants li').length === 3);
    await shot(first, 'room');
    const who = await others[0].evaluate(() => playground.session.participant), before = await Promise.all(all.map(outagesOf));
    await others[0].click('#mute');
    await until(first, (who) => [...playground.stage.tiles.values()].find(({ participant }) => participant === who)?.veil.textContent === 'Muted', who);
    await sleep(2_500); // longer than silence may last
    for (const [n, tab] of all.entries()) assert.deepEqual(await outages(tab, before[n]), [], 'a silence that is meant');
    await others[0].click('#mute');
    await tiles(first);
    await others[0].click('#leave');
    await until(first, () => playground.stage.tiles.size === 1 && document.querySelectorAll('#participants li').length === 2);
    for (const tab of others) await tab.context().close();
  });

  page('media_that_is_lost_is_shown_at_once_recovers_and_plays_on_in_the_same_stream_m36_v02', [], (context, server) => led(context, server, async (tab, relay) => {
    let since;
    await onceWithin(async () => {
      since = relay.block();
      const lost = await shownLost(tab, since);
      assert.notEqual(lost.state, 'live');
      assert.match(lost.fault, /^media_/);
      await shot(tab, 'lost');
      await sleep(1_500);
      const back = await picture(tab, relay.open());
      await recovered(tab);
      await flows(tab, 30);
      console.log(`a black hole: shown after ${lost.ms} ms, a picture ${back} ms after its end`);
      return [['shown', lost.ms, 1_500], ['a picture after the way was there', back, 1_500]];
    });
    assert.equal(await isSameStream(tab), true, 'the same MediaStream');
    const { all: [outage], wrongly } = await told(tab, since);
    assert.ok(outage.backMs > 0 && outage.lost > 0, JSON.stringify(outage));
    assert.deepEqual(wrongly, [], 'it is told once');
    await until(tab, () => /Frames lost\d/.test(document.getElementById('outage-figures').textContent));
  }));

  page('a_way_that_is_lost_in_one_direction_only_is_shown_and_recovers_e13_v03', [], (context, server) => led(context, server, async (tab, relay) => {
    for (const direction of ['up', 'down']) {
      await onceWithin(async () => {
        const since = Date.now();
        relay[direction] = false;
        const lost = await shownLost(tab, since);
        relay.open();
        return [[`${direction}: shown`, lost.ms, 2_000]];
      });
      await recovered(tab);
      await flows(tab, 30);
    }
    assert.equal(await isSameStream(tab), true);
  }));

  page('a_second_loss_during_recovery_is_not_lost_m14', [], (context, server) => led(context, server, async (tab, relay) => {
    await shownLost(tab, relay.block());
    await sleep(2_500); // longer than it takes to begin to repair
    relay.open();
    await until(tab, () => playground.stage.returned.returned.at > performance.now() - 200);
    const again = relay.block();
    await until(tab, (again) => window.shown.some(({ at, media }) => at >= again && media !== 'up') || window.shown.at(-1).media !== 'up', again);
    await sleep(3_000);
    assert.notEqual(await tab.evaluate(() => window.shown.at(-1).state), 'live', 'never live while nothing flows');
    relay.open();
    await recovered(tab);
    await flows(tab, 30);
    assert.equal(await isSameStream(tab), true);
  }));

  page('a_recovery_that_fails_ends_in_a_visible_fault_and_trying_again_works_m15', [], (context, server) => led(context, server, async (tab, relay) => {
    const since = relay.block();
    await until(tab, () => document.querySelector('#legs [data-key="media"]')?.dataset.health === 'down', null, 60_000);
    const verdict = (await tab.evaluate(() => window.shown)).find(({ media }) => media === 'down').at - since;
    assert.ok(verdict <= 40_000, `given up after ${verdict} ms`);
    assert.equal(await tab.isVisible('#fault'), true);
    assert.match(await tab.textContent('#fault-code'), /media_failed|recovery_deadline|rejoin_limit/);
    assert.equal(await tab.isVisible('#again'), true);
    assert.equal(await tab.textContent('#out-back'), 'given up');
    await shot(tab, 'given-up');
    await sleep(2_000);
    assert.equal(await tab.evaluate(() => window.shown.at(-1).media), 'down', 'it stays so');
    relay.open();
    await tab.click('#again');
    await recovered(tab);
    await flows(tab, 30);
    assert.equal(await tab.isVisible('#fault'), false);
    assert.equal(await isSameStream(tab), true);
  }));

  page('a_transport_that_is_closed_under_the_session_is_replaced_m20', [], (context, server) => led(context, server, async (tab) => {
    await onceWithin(async () => {
      const since = await breaks(tab, '#chaos-media', 'Close the transport');
      return [['shown', (await shownLost(tab, since)).ms, 1_500]];
    });
    await recovered(tab);
    await flows(tab, 30);
    assert.equal(await isSameStream(tab), true);
    assert.ok(await tab.evaluate(() => playground.peers.length >= 1 && playground.peers.at(-1).connectionState === 'connected'));
  }));

  page('a_source_that_stands_still_is_told_within_a_second_and_goes_on_v11', [], async (context, server) => {
    const tab = await open(context, through(server));
    await flows(tab, 30);
    await recovered(tab);
    await watch(tab);
    await onceWithin(async () => {
      const since = await breaks(tab, '#chaos-media', 'Freeze the source');
      const lost = await shownLost(tab, since);
      assert.equal(lost.fault, 'media_stalled');
      return [['shown', lost.ms, 1_200]]; // 1 s, and a picture's time
    });
    await tab.click('#chaos-media >> text="Let the source go on"');
    await recovered(tab);
    await flows(tab, 30);
  });

  page('signaling_is_lost_while_media_flows_and_the_picture_does_not_notice_n01_m37', [broken], async (context, server) => {
    const tab = await open(context, through(server));
    await flows(tab, 30);
    await watch(tab);
    const before = await figures(tab), thrown = thrownAway();
    await onceWithin(async () => {
      await tab.evaluate(() => (playground.stage.returned.returned.gapMs = 0));
      await tab.click('#chaos-client >> text="Drop the connection"');
      await until(tab, () => playground.model.counters.recovered >= 1 && playground.model.status.state === 'live');
      await flows(tab, 30);
      return [['between two pictures', await tab.evaluate(() => playground.stage.returned.returned.gapMs), 1_000]];
    });
    const after = await figures(tab);
    const lost = ({ stats }) => stats.find(({ direction }) => direction === 'received').lost;
    assert.ok(lost(after) - lost(before) <= thrownAway() - thrown, `no packet was lost: ${lost(before)}, then ${lost(after)}`);
    assert.equal(await tab.evaluate(() => playground.peers.length), 1, 'the same transport');
    assert.equal(await isSameStream(tab), true);
  });

  page('the_server_is_killed_and_comes_back_and_so_does_the_picture_without_a_click_s01', [broken, offline], async (context) => {
    const own = await MediaServer.start();
    try {
      const tab = await open(context, through(own));
      await flows(tab, 30);
      await watch(tab);
      await onceWithin(async () => {
        await own.kill();
        await until(tab, () => playground.model.status.state === 'recovering');
        await sleep(1_000);
        await own.run();
        const back = await picture(tab, Date.now());
        console.log(`a killed server: a picture ${back} ms after it listened again`);
        return [['a picture after the server was there', back, 3_000]];
      });
      await recovered(tab);
      await flows(tab, 30);
      assert.equal(await isSameStream(tab), true);
    } finally {
      await own.stop();
    }
  });

  page('what_is_stopped_muted_and_left_on_purpose_is_silent_and_nothing_goes_out_afterwards_m12_m18', [], (context, server) => led(context, server, async (tab, relay) => {
    const before = await outagesOf(tab);
    await tab.click('#mute');
    await sleep(2_500);
    assert.equal(await tab.getAttribute('#mute', 'aria-pressed'), 'true');
    await tab.click('#mute');
    await flows(tab);
    await tab.click('#stop');
    await until(tab, () => (playground.session.snapshot.tracks ?? []).length === 0 && playground.stage.tiles.size === 0);
    await sleep(2_500);
    assert.deepEqual([await outages(tab, before), (await figures(tab)).state], [[], 'live']);
    await tab.click('#use-pattern');
    await flows(tab);
    await tab.evaluate(() => {
      const { send } = WebSocket.prototype;
      window.sentAfter = 0;
      WebSocket.prototype.send = function (...what) { window.sentAfter += 1; return send.apply(this, what); };
    });
    await tab.click('#leave');
    await until(tab, () => playground.model.status.state === 'ended');
    await sleep(500);
    const [datagrams, sent] = [relay.counted, await tab.evaluate(() => window.sentAfter)];
    await sleep(2_000);
    assert.deepEqual([relay.counted - datagrams, (await tab.evaluate(() => window.sentAfter)) - sent], [0, 0], 'nothing goes out');
    assert.deepEqual(await tab.evaluate(() => [playground.model.fault, document.getElementById('fault').hidden, playground.peers.map(({ connectionState }) => connectionState)]), [undefined, true, ['closed']]);
  }));
});
