// The buttons that break something, in a real Chromium: each breaks what it says, that is told in words, and
// it is over, by itself or by what takes it back. Those of them that lose a connection stand in
// playground.test.mjs, a pattern that stands still in playground-media.test.mjs.

import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { streams, text as says, withAgents } from './agents.mjs';
import { eventually, live, mediaFlags, open, rig, until } from './playground.mjs';
import { MediaServer, Server, words } from './server.mjs';

const ANSWER = words(300);
const agents = rig(withAgents({ program: [...streams(ANSWER, { letters: 8, every_ms: 50 }), 'done'], endless: [says('I begin '), 'hang'] }));
const text = rig(Server), media = rig(MediaServer, mediaFlags);
/** Of those that take long. */
const atLength = (page) => (process.env.FULL ? page : () => {});
/** All of the page is seen: a browser pauses a picture that nobody sees. */
const TALL = { viewport: { width: 1_280, height: 2_400 } };

/** Keeps all that is shown of how it is, so that nothing is over before somebody looks. */
const keepShown = (tab) => tab.evaluate(() => {
  window.shown = [];
  const read = (id) => document.getElementById(id).textContent;
  const look = () => shown.push({
    state: read('state'), legs: [...document.querySelectorAll('#legs li')].map(({ dataset }) => `${dataset.key} ${dataset.health}`).join(),
    fault: document.getElementById('fault').hidden ? '' : `${read('fault-code')}: ${read('fault-message')}`, outage: read('outage'), note: read('chaos-note'),
  });
  new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
  look();
});
/** Until all of that was shown at once. */
const shows = (tab, what) => until(tab, (what) => shown.some((one) => Object.entries(what).every(([name, text]) => one[name].includes(text))), what);

const press = (tab, name) => tab.click(`#chaos >> text="${name}"`);
/** Presses one, and waits until it is shown what came of it, and whose doing that was; `then` is what it strikes. */
async function breaks(tab, name, outage, then = () => {}) {
  await keepShown(tab);
  await press(tab, name);
  await shows(tab, { note: `${name}: done. Watch what happens.` });
  await then();
  await shows(tab, { outage: `${outage}, by “${name}”. ` });
}
/** All of it is over, and shown to be. */
async function mended(tab, name) {
  await shows(tab, { outage: `, by “${name}”. Over.` });
  await until(tab, () => document.getElementById('state').textContent === 'live' && document.getElementById('fault').hidden);
}

const turnIs = (tab, state) => until(tab, (state) => [...playground.model.turns.values()].at(-1)?.state === state, state);
/** Says something, and waits until some of the answer is there. */
async function say(tab, prompt) {
  const before = await tab.evaluate(() => playground.model.turns.size);
  await tab.fill('#text', prompt);
  await tab.press('#text', 'Enter');
  await until(tab, (before) => playground.model.turns.size > before && [...playground.model.turns.values()].at(-1).bytes > 0, before);
}
/** The last answer came whole, and is shown so. */
async function answered(tab, answer) {
  await turnIs(tab, 'done');
  await until(tab, (answer) => [...document.querySelectorAll('#turns .text')].at(-1)?.textContent.trim() === answer, answer.trim());
}

async function talks(context, server, backend = 'echo') {
  const tab = await open(context, server.link({ backend }));
  await live(tab);
  return tab;
}

describe('what breaks a session', () => {
  text.page('frames_that_are_lost_are_missed_by_the_next_and_come_again', [], async (context, server) => {
    const tab = await talks(context, server);
    await breaks(tab, 'Lose 3 frames', 'Signaling: Protocol error', () => say(tab, '!count=600 pace_ms=8'));
    await mended(tab, 'Lose 3 frames');
    await answered(tab, words(600));
  });

  text.page('a_token_that_expires_is_told_and_another_is_brought_before_a_word_is_lost', [], async (context, server) => {
    const tab = await talks(context, server);
    await say(tab, '!count=600 pace_ms=8');
    await breaks(tab, 'Expire the token', 'Signaling: Token expired');
    await mended(tab, 'Expire the token');
    await answered(tab, words(600));
  });

  text.page('a_machine_that_panics_is_built_anew_and_the_turn_that_it_cut_off_says_so', [], async (context, server) => {
    const tab = await talks(context, server);
    await say(tab, '!count=4000 pace_ms=25');
    await breaks(tab, 'Panic', 'Signaling: Internal');
    await mended(tab, 'Panic');
    await until(tab, () => [...document.querySelectorAll('#turns > li')].at(-1)?.textContent.includes('The turn was cut off with the server'));
    await turnIs(tab, 'interrupted');
    await say(tab, 'and on ');
    await answered(tab, 'and on ');
  });

  text.page('a_store_that_fails_is_told_while_it_lasts_and_was_not_given_up', [], async (context, server) => {
    const tab = await talks(context, server);
    await say(tab, '!count=1000 pace_ms=8');
    await breaks(tab, 'Store fails', 'Store: Store failed');
    await shows(tab, { state: 'degraded', legs: 'store down', fault: 'store_failed: The store refuses to write; nothing is told that is not kept. It was broken on purpose.' });
    await mended(tab, 'Store fails');
    assert.equal(await tab.evaluate(() => shown.some(({ outage }) => outage.includes('Given up'))), false);
    await answered(tab, words(1000));
  });

  atLength(text.page)('a_slow_server_serves_who_is_there_and_refuses_who_comes_until_they_try_again', [], async (context, server) => {
    const tab = await talks(context, server), newcomer = await open(context, server.url);
    await keepShown(newcomer);
    // It counts as slow after a second; a machine that takes its time must not be too late for it.
    const verdict = async () => (await until(newcomer, () => ['live', 'failed'].find((one) => one === playground.model.status.state))).jsonValue();
    do {
      await press(tab, 'Slow server');
      await newcomer.evaluate(async (token) => {
        await playground.leave();
        await playground.open({ token, backend: 'echo' });
      }, server.token());
    } while (await verdict() === 'live');
    await shows(newcomer, { state: 'failed', fault: 'at_capacity: The server has too much to do.' });
    await say(tab, 'and on ');
    await answered(tab, 'and on ');
    do await newcomer.click('#again'); while (await verdict() === 'failed');
    await live(newcomer);
  });
});

describe('what breaks a program', () => {
  agents.page('a_program_that_is_killed_is_told_in_its_turn_and_the_next_runs', [], async (context, server) => {
    const tab = await talks(context, server, 'endless');
    await press(tab, 'Kill the program');
    await until(tab, () => document.getElementById('chaos-note').textContent === 'Kill the program: There is nothing to break.');
    for (let times = 0; times < 2; times += 1) {
      await say(tab, 'go');
      await press(tab, 'Kill the program');
      await turnIs(tab, 'failed');
      await until(tab, () => [...document.querySelectorAll('#turns > li')].at(-1)?.textContent.includes('The program behind the session ended without finishing its answer.'));
      await live(tab);
    }
  });

  atLength(agents.page)('a_program_that_is_not_read_is_told_as_silent_and_its_answer_comes_whole', [], async (context, server) => {
    const tab = await talks(context, server, 'program');
    await say(tab, 'go');
    await breaks(tab, 'Stall the program', 'Backend: Provider timeout');
    await shows(tab, { state: 'degraded', legs: 'backend degraded', fault: 'provider_timeout: Nothing has been heard from the program for a while.' });
    await mended(tab, 'Stall the program');
    await answered(tab, ANSWER);
  });
});

describe('what breaks a picture', () => {
  /** That many pictures more, since now. */
  const flows = async (tab, more = 20) => {
    const before = await tab.evaluate(() => playground.stage.returned?.returned.frames ?? 0);
    await until(tab, (wanted) => (playground.stage.returned?.returned.frames ?? 0) >= wanted, before + more);
  };
  const sends = async (context, server, source) => {
    const tab = await open(context, server.link({ backend: 'passthrough', source }));
    await until(tab, () => playground.stage);
    await flows(tab, 30);
    await live(tab);
    return tab;
  };
  const labels = (tab) => tab.$$eval('#chaos-media button', (all) => all.map(({ textContent }) => textContent));
  const AS_EVER = ['Close the transport', 'Freeze the source', 'Stop the encoder'];
  const isLost = (tab) => shows(tab, { legs: 'media recovering', fault: 'media_stalled: A track that should flow does not.' });
  /** The transport is closed, and the one after it has come. */
  const anotherTransport = async (tab) => {
    await tab.evaluate(() => (window.before = playground.peers.at(-1)));
    await press(tab, 'Close the transport');
    await until(tab, () => playground.peers.at(-1) !== before && playground.peers.at(-1).connectionState === 'connected');
  };

  media.page('a_camera_stands_still_and_is_not_muted_on_any_transport_until_it_is_let_go_on', [], async (context, server) => {
    const tab = await sends(context, server, 'camera');
    await breaks(tab, 'Freeze the source', 'Media: Media stalled');
    await isLost(tab);
    assert.deepEqual(await labels(tab), AS_EVER.with(1, 'Let the source go on'));
    const { muted, ...is } = await tab.evaluate(() => {
      const { stage, session, peers } = playground;
      return { muted: [stage.publication.muted, session.snapshot.tracks[0].muted ?? false], device: stage.camera.readyState, transport: peers.at(-1).connectionState, local: document.getElementById('local-video').paused };
    });
    assert.deepEqual([muted, is], [[false, false], { device: 'live', transport: 'connected', local: true }]);
    const frames = () => tab.evaluate(() => playground.stage.returned.returned.frames), before = await frames();
    await anotherTransport(tab);
    // What is sent on it comes there.
    await tab.click('#speak');
    await eventually(tab, async () => (await playground.session.media.stats()).some(({ direction, kind, packets }) => direction === 'received' && kind === 'audio' && packets > 50));
    assert.deepEqual([await labels(tab), await frames()], [AS_EVER.with(1, 'Let the source go on'), before]);
    await press(tab, 'Let the source go on');
    await flows(tab);
    await mended(tab, 'Freeze the source');
    assert.deepEqual([await labels(tab), await tab.evaluate(() => document.getElementById('local-video').paused)], [AS_EVER, false]);
    const broken = await tab.evaluate(() => playground.model.log.filter(({ kind }) => kind === 'broken on purpose').map(({ text }) => text));
    assert.deepEqual([broken, await tab.textContent('#chaos-note')], [['Freeze the source', 'Close the transport'], 'Let the source go on: done. Watch what happens.']);
  }, TALL);

  atLength(media.page)('another_source_does_not_stand_still_nor_does_the_same_one_that_is_chosen_again', [], async (context, server) => {
    const tab = await sends(context, server, 'camera');
    for (const source of ['pattern', 'pattern', 'camera', 'camera']) {
      await keepShown(tab);
      await press(tab, 'Freeze the source');
      await isLost(tab);
      await tab.click(`#use-${source}`);
      await flows(tab);
      await live(tab);
      assert.deepEqual([await labels(tab), await tab.evaluate(() => playground.stage.source)], [AS_EVER, source]);
    }
    await keepShown(tab);
    await press(tab, 'Freeze the source');
    await isLost(tab);
    await tab.click('#stop');
    await until(tab, () => !playground.session.snapshot.tracks?.length);
    await live(tab);
    assert.deepEqual(await labels(tab), AS_EVER);
    await tab.click('#use-camera');
    await flows(tab);
  });

  atLength(media.page)('an_encoder_is_stopped_and_let_go_on_or_replaced_with_its_transport', [], async (context, server) => {
    for (const source of ['pattern', 'camera']) {
      const tab = await sends(context, server, source);
      await breaks(tab, 'Stop the encoder', 'Media: Media stalled');
      await isLost(tab);
      assert.deepEqual(await labels(tab), AS_EVER.with(2, 'Let the encoder go on'));
      assert.equal(await tab.evaluate(() => document.getElementById('local-video').paused), false, 'the source goes on');
      await press(tab, 'Let the encoder go on');
      await flows(tab);
      await mended(tab, 'Stop the encoder');
      assert.deepEqual(await labels(tab), AS_EVER);
      await keepShown(tab);
      await press(tab, 'Stop the encoder');
      await isLost(tab);
      await anotherTransport(tab);
      await flows(tab);
      await live(tab);
      assert.deepEqual(await labels(tab), AS_EVER, 'another transport has another encoder');
      await tab.close();
    }
  }, TALL);
});
