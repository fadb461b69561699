// The JavaScript SDK in a real Chromium, against the real server: the modules as they are shipped.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { chromium } from 'playwright-core';
import { Server, patience, words } from './server.mjs';
import { serveSdk } from './site.mjs';
import { Tabs, flags } from './tabs.mjs';

const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
const needs = existsSync(executablePath) ? false : 'needs: chromium';
if (needs && process.env.CI) throw new Error(`${executablePath} is not there`);
const hiddenMs = process.env.FULL ? 75_000 : 20_000;

/** A page that keeps what its session tells. */
const PAGE = `<!doctype html><meta charset="utf-8" /><title>SDK</title><script type="module">
  import { connect } from '/sdk/index.js';
  const { url, token } = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  const seen = window.seen = { text: '', lost: 0, recovered: [], ends: [], errors: [] };
  try {
    const session = window.session = await connect({ url, token: () => token, backend: 'echo', keep: 'test' });
    session.on('connection_lost', () => (seen.lost += 1));
    session.on('recovered', ({ strategy }) => seen.recovered.push(strategy));
    session.on('turn.ended', ({ data }) => seen.ends.push(data.end));
    const read = async () => {
      for await (const event of session.events()) {
        if (event.type !== 'log' || event.kind !== 'text') continue;
        if (event.data.at_byte !== seen.text.length) seen.errors.push([event.data.at_byte, seen.text.length]);
        seen.text += event.data.data;
      }
    };
    read();
  } catch (error) {
    seen.errors.push(String(error));
  }
  seen.ready = true;
</script>`;

let browser, server, site;
before(async () => {
  if (needs) return;
  site = await serveSdk(PAGE);
  server = await Server.start({ origins: [site.url] });
  browser = await chromium.launch({ executablePath, args: flags });
});
after(async () => {
  await browser?.close();
  await server?.stop();
  site?.close();
});

const link = () => `${site.url}/sdk/page.html#${new URLSearchParams({ url: server.url, token: server.token() })}`;
const until = (tab, holds, arg) => tab.waitForFunction(holds, arg, { timeout: patience });
const ready = (tab) => until(tab, () => window.seen?.ready && window.session?.status.state === 'live');
const seen = (tab) => tab.evaluate(() => window.seen);

test('a_turn_survives_cuts_a_lost_network_and_a_reload_n01_p01', { skip: needs, timeout: 180_000 }, async () => {
  const tabs = await browser.newContext();
  const tab = await tabs.newPage();
  await tab.goto(link());
  await ready(tab);
  await tab.evaluate(() => void session.say('!count=1500 seed=3 pace_ms=6'));
  for (const cut of [
    () => tab.evaluate(() => session.simulate('drop_transport')),
    () => tab.evaluate(() => void session.inject({ kind: 'close_connection', code: 1012 })),
    () => tab.evaluate(() => session.simulate('half_open')),
    async () => {
      await tabs.setOffline(true);
      await until(tab, () => !navigator.onLine);
      await tab.evaluate(() => session.simulate('drop_transport'));
      await until(tab, () => session.status.legs[0].waiting_for === 'network');
      await tabs.setOffline(false);
    },
  ]) {
    const before = (await seen(tab)).recovered.length;
    await cut();
    await until(tab, (before) => window.seen.recovered.length > before, before);
  }
  const who = await tab.evaluate(() => [session.id, session.participant]);
  await tab.reload();
  await ready(tab);
  assert.deepEqual(await tab.evaluate(() => [session.id, session.participant]), who, 'the same participant after a reload');
  assert.equal(await tab.evaluate(() => session.duplicated), false);
  await until(tab, () => window.seen.ends.length === 1);
  const { text, errors, ends } = await seen(tab);
  assert.deepEqual([errors, ends], [[], ['done']]);
  assert.equal(text, words(1500, 3n), 'told again from the beginning, whole');
  await tabs.close();
});

test('a_duplicated_tab_is_a_participant_of_its_own_p08', { skip: needs, timeout: 120_000 }, async () => {
  const tabs = await browser.newContext();
  const tab = await tabs.newPage();
  await tab.goto(link());
  await ready(tab);
  // A page that is opened by another begins with its storage, as a duplicated one does.
  const [copy] = await Promise.all([tabs.waitForEvent('page'), tab.evaluate((link) => void window.open(link), link())]);
  await ready(copy);
  const who = (page) => page.evaluate(() => [session.id, session.participant, session.duplicated]);
  const [first, second] = [await who(tab), await who(copy)];
  assert.equal(first[0], second[0]);
  assert.notEqual(first[1], second[1]);
  assert.deepEqual([first[2], second[2]], [false, true]);
  await copy.evaluate(() => session.send('hello'));
  assert.equal((await seen(tab)).lost, 0, 'the first keeps its place');
  await tabs.close();
});

test('a_page_that_is_closed_and_sessions_that_are_left_leave_nothing_open_m30', { skip: needs, timeout: 120_000 }, async () => {
  const tabs = await browser.newContext();
  const tab = await tabs.newPage();
  await tab.goto(link());
  await ready(tab);
  await tab.evaluate(() => session.detach());
  assert.equal(await tab.evaluate(() => session.status.state), 'ended');
  assert.deepEqual(await tab.evaluate(async () => [sessionStorage.length, (await navigator.locks.query()).held.length]), [0, 0]);
  assert.equal(await tab.evaluate(() => session.say('late').catch(({ code }) => code)), 'connection_closed');
  await tabs.close();
});

/** As a person has it: a tab that the browser itself hides, and whose timers it throttles. */
async function hidden(run) {
  const window = new Tabs(executablePath, 5);
  try {
    const tab = await window.open(link());
    const poll = async (text) => {
      for (const end = Date.now() + patience; !(await tab.evaluate(text)); await sleep(50)) assert.ok(Date.now() < end, `never: ${text}`);
    };
    await poll(`window.session?.status.state === 'live'`);
    await tab.evaluate(`window.ran = 0; setInterval(() => { window.ran += 1; }, 100); 0`);
    await window.open('about:blank'); // in front of it
    await poll(`document.visibilityState === 'hidden'`);
    await run(tab, poll);
  } finally {
    await window.close();
  }
}

test('a_tab_that_is_hidden_and_throttled_is_never_taken_for_dead_p05', { skip: needs, timeout: 240_000 }, () => hidden(async (tab, poll) => {
  await tab.evaluate(`window.ran = 0; session.say('!count=${hiddenMs / 100} pace_ms=50'); 0`);
  await sleep(hiddenMs);
  const ran = await tab.evaluate(`window.ran`);
  assert.ok(ran < hiddenMs / 500, `the tab's timers are throttled: ${ran} of ${hiddenMs / 100}`);
  const look = () => tab.evaluate(`[session.status.state, seen.lost, seen.ends.length, seen.errors.length, seen.text]`);
  assert.deepEqual(await look(), ['live', 0, 1, 0, words(hiddenMs / 100)]);
  await tab.front();
  await poll(`document.visibilityState === 'visible'`);
  await sleep(1_000);
  assert.deepEqual((await look()).slice(0, 2), ['live', 0], 'and is not when it is looked at again');
}));

test('a_tab_that_is_frozen_comes_back_and_has_missed_nothing_p02', { skip: needs, timeout: 240_000 }, () => hidden(async (tab, poll) => {
  await tab.evaluate(`session.say('!count=400 pace_ms=10'); 0`);
  await poll(`seen.text.length > 200`);
  await tab.lifecycle('frozen');
  await sleep(9_000);
  await tab.lifecycle('active');
  await tab.front();
  await poll(`seen.ends.length === 1 && session.status.state === 'live'`);
  assert.deepEqual(await tab.evaluate(`[seen.errors.length, seen.text]`), [0, words(400)]);
}));
