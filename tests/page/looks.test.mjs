// What a person sees and does in the chat, in a real Chromium: whoever can do something is shown how, whoever
// cannot is told why, what was said stays, and the focus is never lost.

import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { asks, item, text, withAgents } from './agents.mjs';
import { broken, contrasts, inState, live, offline, open, rig, shot, until } from './playground.mjs';
import { Server } from './server.mjs';

const shared = rig(withAgents({
  crash: [text('I begin to answer'), item({ type: 'tool_call', id: 't1', title: 'Edit a.txt', status: 'done' }), 'exit=3'],
  stubborn: [text('Slow '), 'ignore-term', 'hang'],
  asker: [text('May I? '), asks({ id: 'a1', prompt: 'May I write to plan.md?', options: ['allow', 'no'], choices: [{ option: 'allow', label: 'Allow once', kind: 'allow_once' }, { option: 'no', label: 'Never', kind: 'reject_always' }] }), 'read-line', text('Thank you.'), 'done'],
}));
const { page } = shared;
const turnIs = (tab, state) => until(tab, (state) => document.querySelector('#turns > li:last-child')?.dataset.state === state, state);
const link = (server, subject, more) => `${server.url}/#${new URLSearchParams({ token: server.token(subject), ...more })}`;
const focused = (tab) => tab.evaluate(() => document.activeElement.id || document.activeElement.textContent);

async function begin(context, server, backend, more = {}) {
  const tab = await open(context, server.link({ backend, ...more }));
  await live(tab);
  return tab;
}

/** A server of one's own, to be broken. */
async function withOwn(run) {
  const own = await Server.start();
  try {
    await run(own);
  } finally {
    await own.stop();
  }
}

async function say(tab, text) {
  await tab.fill('#text', text);
  await tab.press('#text', 'Enter');
}

describe('what a person sees', { concurrency: 2 }, () => {
  page('who_can_say_nothing_has_no_field_for_it_and_is_told_why', [], async (context, server) => {
    const ann = await begin(context, server, 'echo');
    const session = await ann.evaluate(() => playground.session.id);
    const watching = await open(context, `${server.url}/#${new URLSearchParams({ token: server.token('eve', { session, role: 'viewer' }), session, role: 'viewer' })}`);
    await live(watching);
    for (const tab of [ann, watching]) await until(tab, () => playground.offer); // Only then it is known what a token can do.
    const seen = (tab) => tab.evaluate(() => ['say', 'end', 'share'].filter((id) => document.getElementById(id).checkVisibility()));
    assert.deepEqual(await seen(watching), []);
    assert.equal(await watching.textContent('#say-not span'), 'You are watching. Only who takes part can say something.');
    assert.deepEqual(await seen(ann), ['say', 'end'], 'a token that makes no others has no button for it');
  });

  page('where_every_slot_is_taken_one_can_stand_in_line_with_a_click_s16', [], async (context, server) => {
    const narrow = (subject) => open(context, link(server, subject, { backend: 'narrow' }));
    const holder = await narrow('holder');
    await live(holder);
    const late = await narrow('late');
    await inState(late, 'failed');
    assert.match(await late.textContent('#fault-message'), /1 of 1 taken/);
    await shot(late, 'line-up');
    await late.click('#line-up');
    await inState(late, 'queued');
    assert.equal(await late.textContent('#say-not span'), 'You can say something once it is your turn.');
    assert.equal(await late.textContent('#chat-facts'), '', 'nothing is told that nobody knows yet');
    await holder.click('#end');
    await live(late);
    await until(late, () => document.getElementById('say').checkVisibility());
    assert.equal(await late.isVisible('#line-up'), false);
  });

  page('what_was_said_stays_to_be_read_when_the_session_ends', [], async (context, server) => {
    const tab = await begin(context, server, 'echo');
    await say(tab, 'to be kept ');
    await turnIs(tab, 'done');
    await tab.click('#end');
    await inState(tab, 'ended');
    await until(tab, () => document.getElementById('say-not').checkVisibility());
    assert.deepEqual(await tab.evaluate(() => [document.querySelector('#turns .text').textContent, document.querySelector('#turns .prompt').className, document.querySelector('#turns .by').textContent]), ['to be kept ', 'prompt mine', '']);
    assert.equal(await tab.textContent('#say-not span'), 'This session is over: nothing more is said in it.');
    assert.deepEqual(await tab.evaluate(() => ['say', 'leave', 'end', 'chaos', 'people'].filter((id) => document.getElementById(id).checkVisibility())), [], 'nothing that cannot be done');
    await shot(tab, 'over');
    await tab.click('#another');
    await until(tab, () => document.body.dataset.view === 'join' && !document.getElementById('chat').checkVisibility());
  });

  page('a_store_that_refuses_asks_nobody_to_try_again_but_for_what_was_not_said_s07', [], async (context) => withOwn(async (own) => { // It refuses everybody.
    const tab = await begin(context, own, 'echo');
    await say(tab, 'before ');
    await turnIs(tab, 'done');
    await tab.evaluate(() => void playground.session.inject({ kind: 'fail_store' }).catch(() => {}));
    await until(tab, () => playground.model.status.legs.some(({ leg, health }) => leg === 'store' && health !== 'up'));
    await say(tab, 'meanwhile ');
    await until(tab, () => document.querySelector('#outbox [data-state="refused"]'));
    assert.deepEqual(await tab.evaluate(() => [document.getElementById('fault').dataset.tone, document.getElementById('again').hidden]), ['warn', true], 'the server comes back by itself');
    assert.equal(await tab.textContent('#fault-message'), 'The store refuses to write; nothing is told that is not kept. It was broken on purpose.');
    assert.match(await tab.textContent('#outbox .note'), /^Not said: The server cannot write at the moment.* Worth another try in \d+ s\.$/);
    assert.deepEqual(await tab.evaluate(contrasts), []);
    await inState(tab, 'live');
    await tab.click('#outbox button:text-is("Say it again")');
    await until(tab, () => document.querySelectorAll('#turns > li[data-state="done"]').length === 2);
    assert.deepEqual(await tab.$$eval('#turns .text', (all) => all.map(({ textContent }) => textContent)), ['before ', 'meanwhile ']);
    await tab.close(); // It would tell that the server is gone.
  }));

  page('what_is_said_without_a_connection_is_shown_as_kept_m27', [broken, offline], async (context, server) => {
    const tab = await begin(context, server, 'echo');
    await context.setOffline(true);
    await tab.evaluate(() => playground.session.simulate('drop_transport'));
    await inState(tab, 'recovering');
    await say(tab, 'said into the dark ');
    await until(tab, () => document.querySelector('#outbox .note')?.textContent === 'Kept here, and sent once there is a connection.');
    await until(tab, () => document.getElementById('fault-message').textContent.startsWith('The connection was reset.'));
    await tab.evaluate(() => playground.sessions.read());
    assert.equal(await tab.textContent('#sessions-note'), 'The list cannot be read: the server cannot be reached. It is tried again by itself.');
    await context.setOffline(false);
    await turnIs(tab, 'done');
    await until(tab, () => document.getElementById('outbox').hidden);
  });

  page('a_server_that_is_gone_is_told_as_that_and_what_is_said_meanwhile_arrives_s01', [broken, offline], async (context) => withOwn(async (own) => {
    const tab = await open(context, own.link({ backend: 'echo' }));
    await live(tab);
    await own.kill();
    await inState(tab, 'recovering');
    await until(tab, () => document.getElementById('words').textContent.startsWith('The server cannot be reached. Coming back to the same place, attempt '));
    assert.match(await tab.textContent('#fault-next'), /what you say meanwhile is kept and sent then/);
    await say(tab, 'said meanwhile ');
    await own.run();
    await turnIs(tab, 'done');
    assert.deepEqual(await tab.$$eval('#turns .text', (all) => all.map(({ textContent }) => textContent)), ['said meanwhile ']);
  }));

  page('the_keyboard_alone_asks_decides_and_stops_and_the_focus_is_never_lost', [], async (context, server) => {
    const tab = await begin(context, server, 'asker');
    await tab.focus('#text');
    await tab.keyboard.type('go');
    await tab.keyboard.press('Enter');
    await until(tab, () => document.querySelector('.permission[data-state="open"] button'));
    assert.equal(await focused(tab), 'text', 'a question takes nobody away from what they write');
    for (let n = 0; n < 12 && await focused(tab) !== 'Allow once'; n += 1) await tab.keyboard.press('Shift+Tab');
    assert.equal(await focused(tab), 'Allow once');
    await tab.keyboard.press('Enter');
    await turnIs(tab, 'done');
    assert.equal(await focused(tab), 'text', 'from a button that is gone one goes on in the field');

    const slow = await begin(context, server, 'stubborn');
    await say(slow, 'go');
    await until(slow, () => document.querySelector('#turns .text'));
    await slow.focus('#cancel');
    await slow.keyboard.press('Enter');
    await until(slow, () => document.getElementById('cancel').textContent === 'Stopping…');
    assert.equal(await focused(slow), 'text');
    await turnIs(slow, 'cancelled');
  });

  for (const colorScheme of ['light', 'dark']) {
    page(`on_a_phone_one_can_write_without_scrolling_whatever_happens_in_${colorScheme}`, [broken, offline], async (context, server) => {
      const fits = async (tab, what) => {
        const [bottom, height, wide] = await tab.evaluate(() => [document.querySelector('#say').getBoundingClientRect().bottom, innerHeight, document.documentElement.scrollWidth - innerWidth]);
        assert.ok(bottom <= height, `${what}: the field ends at ${bottom} of ${height}`);
        assert.ok(wide <= 0, `${what}: ${wide} px to the side`);
        assert.deepEqual(await tab.evaluate(contrasts), [], what);
        await shot(tab, `phone-${what}-${colorScheme}`);
      };
      const tab = await begin(context, server, 'echo');
      await fits(tab, 'nothing');
      await say(tab, '!count=300 pace_ms=20');
      await until(tab, () => document.querySelector('#turns .text'));
      for (const text of ['one ', 'two ']) await say(tab, text);
      await until(tab, () => document.querySelectorAll('#queue li').length === 2);
      await fits(tab, 'queue');
      await context.setOffline(true);
      await tab.evaluate(() => playground.session.simulate('drop_transport'));
      await until(tab, () => !document.getElementById('fault').hidden);
      await until(tab, () => document.querySelector('#say').getBoundingClientRect().bottom <= innerHeight);
      await fits(tab, 'fault');
      await context.setOffline(false);
      await tab.close();
      const asked = await begin(context, server, 'asker');
      await say(asked, 'go');
      await until(asked, () => document.querySelector('.permission'));
      await fits(asked, 'decision');
      await asked.close();
      const crashed = await begin(context, server, 'crash');
      await say(crashed, 'go');
      await turnIs(crashed, 'failed');
      await fits(crashed, 'crash');
    }, { viewport: { width: 390, height: 844 }, colorScheme, hasTouch: true, isMobile: true, reducedMotion: 'reduce' });
  }
});
