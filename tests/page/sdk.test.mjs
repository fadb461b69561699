// The JavaScript SDK in a real Chromium, against the real server: the modules as they are shipped.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { Server, patience, words } from './server.mjs';
import { flags } from './tabs.mjs';

const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
const needs = existsSync(executablePath) ? false : 'needs: chromium';
if (needs && process.env.CI) throw new Error(`${executablePath} is not there`);
const source = resolve(import.meta.dirname, '../../js/sdk/src');

/** A page that keeps what its session tells. */
const PAGE = `<!doctype html><meta charset="utf-8" /><title>SDK</title><script type="module">
  import { connect } from '/sdk/index.js';
  const token = decodeURIComponent(location.hash.slice(1));
  const seen = window.seen = { text: '', lost: 0, recovered: [], ends: [], errors: [] };
  try {
    const session = window.session = await connect({ token: () => token, backend: 'echo', keep: 'test' });
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

let browser, server;
before(async () => {
  if (needs) return;
  server = await Server.start();
  browser = await chromium.launch({ executablePath, args: flags });
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** A browser with the SDK's modules beside the server's own pages, so that the origin is the server's. */
async function context() {
  const made = await browser.newContext();
  await made.route(`${server.url}/sdk/**`, (route) => {
    const path = new URL(route.request().url()).pathname.slice('/sdk/'.length);
    if (path === 'page.html') return route.fulfill({ contentType: 'text/html', body: PAGE });
    return route.fulfill({ contentType: 'text/javascript', body: readFileSync(resolve(source, path), 'utf8') });
  });
  return made;
}

const link = () => `${server.url}/sdk/page.html#${encodeURIComponent(server.token())}`;
const until = (tab, holds, arg) => tab.waitForFunction(holds, arg, { timeout: patience });
const ready = (tab) => until(tab, () => window.seen?.ready && window.session?.status.state === 'live');
const seen = (tab) => tab.evaluate(() => window.seen);

test('a_turn_survives_cuts_a_lost_network_and_a_reload_p01_p06', { skip: needs, timeout: 180_000 }, async () => {
  const tabs = await context();
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

test('a_duplicated_tab_is_a_participant_of_its_own_p07', { skip: needs, timeout: 120_000 }, async () => {
  const tabs = await context();
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
  const tabs = await context();
  const tab = await tabs.newPage();
  await tab.goto(link());
  await ready(tab);
  await tab.evaluate(() => session.detach());
  assert.deepEqual(await tab.evaluate(() => [session.status.state, sessionStorage.length, navigator.locks.query().then(({ held }) => held.length)][0]), 'ended');
  assert.deepEqual(await tab.evaluate(async () => [sessionStorage.length, (await navigator.locks.query()).held.length]), [0, 0]);
  assert.equal(await tab.evaluate(() => session.say('late').catch(({ code }) => code)), 'connection_closed');
  await tabs.close();
});
