// What a person thinks better of, and what comes late: devices that are granted when they are wanted no more,
// pages that are loaded again, an answer that the network swallows.

import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { inState, live, mediaFlags, open, rig, until } from './playground.mjs';
import { Relay } from './relay.mjs';
import { MediaServer } from './server.mjs';

const { page } = rig(MediaServer, mediaFlags);
const through = (server, more = {}) => server.link({ backend: 'passthrough', ...more });
const flows = (tab) => until(tab, () => document.querySelectorAll('.pane[data-flows="yes"]').length === 2);
const sent = (tab) => tab.evaluate(() => [...playground.session.media.publications.keys()]);

/** Devices of a context are granted when a page is told to `grant()`; `granted` are their tracks. */
const gated = (context) => context.addInitScript(() => {
  const { mediaDevices } = navigator;
  if (!mediaDevices) return; // A page that is none yet.
  const ask = mediaDevices.getUserMedia.bind(mediaDevices), open = new Promise((done) => (window.grant = done));
  window.granted = [];
  mediaDevices.getUserMedia = async (wants) => {
    await open;
    const stream = await ask(wants);
    granted.push(...stream.getTracks());
    return stream;
  };
});

describe('what a person thinks better of', () => {
  page('a_picture_that_was_stopped_is_not_sent_again_by_a_reload_m18', [], async (context, server) => {
    const tab = await open(context, through(server));
    await flows(tab);
    await tab.click('#stop');
    await until(tab, () => !playground.session.snapshot.tracks?.length);
    await tab.reload();
    await live(tab);
    await until(tab, () => playground.stage && !document.getElementById('use-pattern').disabled);
    assert.deepEqual([await sent(tab), await tab.evaluate(() => playground.stage.source)], [[], 'none']);
    await tab.click('#use-pattern');
    await flows(tab);
  });

  page('a_camera_that_is_granted_after_one_has_left_is_not_sent_in_the_next_session', [], async (context, server) => {
    await gated(context);
    const tab = await open(context, server.link({ backend: 'room', source: 'none' }));
    await until(tab, () => playground.stage && !document.getElementById('use-camera').disabled);
    await tab.click('#use-camera');
    await tab.click('#speak');
    await tab.evaluate(async () => {
      const { token } = playground.wish;
      await playground.leave();
      await playground.open({ token, backend: 'room', source: 'none' });
    });
    await until(tab, () => playground.stage && playground.session?.status.state === 'live');
    await tab.evaluate(() => grant());
    await until(tab, () => granted.length === 2 && granted.every(({ readyState }) => readyState === 'ended'));
    assert.deepEqual([await sent(tab), await tab.evaluate(() => playground.wish.source)], [[], 'none']);
  });

  page('a_camera_that_is_granted_after_something_else_was_chosen_is_let_go', [], async (context, server) => {
    await gated(context);
    const tab = await open(context, through(server));
    await flows(tab);
    await tab.click('#use-camera');
    await tab.click('#stop');
    await until(tab, () => !playground.session.snapshot.tracks?.length);
    await tab.evaluate(() => grant());
    await until(tab, () => granted.length === 1 && granted[0].readyState === 'ended');
    assert.deepEqual([await sent(tab), await tab.evaluate(() => playground.stage.source)], [[], 'none']);
  });

  page('of_a_camera_nobody_says_how_many_frames_were_lost', [], async (context, server) => {
    const relay = await Relay.start(server.mediaPort);
    try {
      await relay.lead(context);
      const tab = await open(context, through(server, { source: 'camera' }));
      await flows(tab);
      // For a second the number of a picture before it may still count.
      await until(tab, () => playground.stage.returned.returned.isNumbered === false);
      const before = await tab.evaluate(() => playground.model.outages.length);
      relay.block();
      await until(tab, (before) => playground.model.outages.length > before, before);
      relay.open();
      await until(tab, () => playground.model.outages.at(-1).backMs !== undefined);
      assert.equal(await tab.textContent('#out-lost'), '–');
      assert.match(await tab.textContent('#out-back'), /[0-9]/);
    } finally {
      relay.close();
    }
  });

  page('a_session_gets_its_picture_though_what_the_server_offers_was_swallowed_at_first', [/net::ERR_FAILED|status of 503/], async (context, server) => {
    let swallowed = 0;
    const answers = [(route) => route.abort(), (route) => route.fulfill({ status: 503, json: {} })];
    await context.route('**/v1/backends', (route) => (answers[swallowed++] ?? ((route) => route.continue()))(route));
    const tab = await open(context, through(server));
    await flows(tab);
    assert.equal(swallowed, 3);
    assert.equal(await tab.isVisible('#fault'), false);
  });

  page('a_microphone_is_on_in_the_session_that_it_was_asked_for_in_and_in_no_other', [], async (context, server) => {
    const token = server.token('ann'), fragment = (more) => `${server.url}/#${new URLSearchParams(more)}`;
    const tab = await open(context, fragment({ token, backend: 'room', source: 'none' }));
    await until(tab, () => playground.stage && !document.getElementById('speak').disabled);
    await tab.click('#speak');
    await until(tab, () => playground.stage.voice);
    // Another session in the same tab.
    await tab.goto('about:blank');
    await tab.goto(fragment({ backend: 'room', source: 'none' }));
    await until(tab, () => playground.stage && !document.getElementById('speak').disabled);
    assert.deepEqual([await sent(tab), await tab.getAttribute('#speak', 'aria-pressed')], [[], 'false']);
    await tab.click('#speak');
    await until(tab, () => playground.stage.voice);
    await tab.click('#leave');
    await inState(tab, 'ended');
    assert.equal(await tab.evaluate(() => JSON.parse(sessionStorage.getItem('evenkeel.playground.link')).voice), undefined, 'a reload does not turn it on');
  });
});
