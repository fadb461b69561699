// The probe page in a real Chromium, against the real server.
//
// Each test looks at what the page holds, compares it with bytes computed here, and fails on an error
// in the console. `FULL=1` hides the tab for longer than a minute; `SHOTS=folder` keeps pictures.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { chromium } from 'playwright-core';
import { Server, patience, words } from './server.mjs';
import { Tabs, flags } from './tabs.mjs';

const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
const hiddenMs = process.env.FULL ? 75_000 : 20_000;
const needs = existsSync(executablePath) ? false : 'needs: chromium';
if (needs && process.env.CI) throw new Error(`${executablePath} is not there`);

/** The browser's own words about a connection that a test has broken. */
const broken = /^WebSocket connection to 'ws:.*' failed/;
const offline = /net::ERR_INTERNET_DISCONNECTED|net::ERR_CONNECTION_REFUSED/;

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

/** A test with a browser context of its own, whose console stays clean but for `allowed`. */
function page(name, allowed, run) {
  test(name, { skip: needs, timeout: 180_000 }, async () => {
    const context = await browser.newContext({ colorScheme: process.env.DARK ? 'dark' : 'light' });
    const errors = [];
    context.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
    context.on('weberror', (error) => errors.push(String(error.error())));
    try {
      await run(context);
      assert.deepEqual(errors.filter((text) => !allowed.some((pattern) => pattern.test(text))), []);
    } finally {
      await context.close();
    }
  });
}

async function open(context, link) {
  const tab = await context.newPage();
  await tab.goto(link);
  return tab;
}

const until = (tab, what, arg) => tab.waitForFunction(what, arg, { timeout: patience });
const inState = (tab, state) => until(tab, (state) => window.probe?.state() === state, state);
const said = (tab, at = -1) => tab.evaluate((at) => {
  const turn = [...probe.turns.values()].at(at);
  return turn && { turn: turn.turn, text: turn.text, state: turn.state, bytes: turn.bytes, fault: turn.fault?.code };
}, at);
const bytesOver = (tab, bytes) => until(tab, (bytes) => [...probe.turns.values()].at(-1)?.bytes > bytes, bytes);
const turnIs = (tab, state) => until(tab, (state) => [...probe.turns.values()].at(-1)?.state === state, state);
const about = (tab) => tab.evaluate(() => ({
  state: probe.state(), session: probe.seat?.session, participant: probe.seat?.participant, counters: probe.counters, closes: probe.closes,
  fault: probe.fault, reason: probe.reason, cursor: probe.cursor, how: probe.how, duplicated: probe.duplicated, open: probe.outbox.length,
  lost: probe.log.filter((entry) => entry.kind === 'connection_lost').map((entry) => entry.fault.code),
  recovered: probe.log.filter((entry) => entry.kind === 'recovered'), waited: probe.log.filter((entry) => entry.kind === 'waiting').map((entry) => entry.for),
}));

async function say(tab, text) {
  await tab.fill('#text', text);
  await tab.press('#text', 'Enter');
}

async function shot(tab, name) {
  if (!process.env.SHOTS) return;
  await sleep(400);
  await tab.screenshot({ path: join(process.env.SHOTS, `${name}.png`) });
}

/** What was said arrived once, whole and in order; what the page shows is what it holds. */
async function whole(tab, expected, at = -1) {
  const turn = await said(tab, at);
  assert.equal(turn.text, expected);
  assert.equal(turn.bytes, Buffer.byteLength(expected));
  await until(tab, ([at, text]) => [...document.querySelectorAll('#turns .text')].at(at)?.textContent === text, [at, expected]);
  const { counters, open } = await about(tab);
  assert.deepEqual({ holes: counters.holes, gaps: counters.gaps, unknown: counters.unknown, open }, { holes: 0, gaps: 0, unknown: 0, open: 0 });
}

describe('the probe page', { concurrency: 3 }, () => {
  /** As `page`, but in tabs that the browser itself hides and throttles. */
  function tabs(name, allowed, run) {
    test(name, { skip: needs, timeout: 240_000 }, async () => {
      const window = new Tabs(executablePath, 5);
      try {
        const tab = await window.open(server.link());
        await poll(tab, `window.probe?.state() === 'live'`);
        await run(window, tab);
        assert.deepEqual(window.errors.filter((text) => !allowed.some((pattern) => pattern.test(text))), []);
      } finally {
        await window.close();
      }
    });
  }

  async function poll(tab, text) {
    for (const end = Date.now() + patience; !(await tab.evaluate(text)); await sleep(50)) assert.ok(Date.now() < end, `never: ${text}`);
  }

  tabs(`P05 a tab hidden for ${hiddenMs / 1000} s is never taken for dead`, [], async (window, tab) => {
    await tab.evaluate(`window.ran = 0; setInterval(() => { window.ran += 1; }, 100); 0`);
    await window.open('about:blank'); // in front of it
    await poll(tab, `document.visibilityState === 'hidden'`);
    await tab.evaluate(`window.ran = 0; probe.command('say', { text: '!count=${hiddenMs / 100} pace_ms=50' }); 0`);
    await sleep(hiddenMs);
    const ran = await tab.evaluate(`window.ran`);
    assert.ok(ran < hiddenMs / 500, `the tab's timers are throttled: ${ran} of ${hiddenMs / 100}`);
    const seen = await tab.evaluate(`({ state: probe.state(), counters: probe.counters, session: probe.seat.session, turn: [...probe.turns.values()].at(-1) })`);
    assert.deepEqual([seen.state, seen.counters.lost, seen.counters.dials, seen.turn.state], ['live', 0, 1, 'done']);
    assert.equal(seen.turn.text, words(hiddenMs / 100));
    assert.ok(seen.counters.beats > hiddenMs / 6_000, `${seen.counters.beats} beats`);
    const journal = await server.journal(seen.session);
    assert.ok(journal.includes('connected') && !/connection_lost|heartbeat_timeout/.test(journal), journal);
    await tab.front();
    await poll(tab, `document.visibilityState === 'visible' && probe.state() === 'live'`);
    await sleep(1_000);
    assert.deepEqual(await tab.evaluate(`[probe.counters.lost, probe.counters.dials]`), [0, 1], 'and is not when it is looked at again');
  });

  tabs('P02 a frozen tab is away; thawed, it comes back and has missed nothing', [broken], async (window, tab) => {
    await window.open('about:blank');
    await poll(tab, `document.visibilityState === 'hidden'`);
    await tab.evaluate(`probe.command('say', { text: '!count=400 pace_ms=10' }); 0`);
    await poll(tab, `[...probe.turns.values()].at(-1)?.bytes > 200`);
    const session = await tab.evaluate(`probe.seat.session`);
    await tab.lifecycle('frozen');
    await sleep(9_000);
    const journal = await server.journal(session);
    await tab.lifecycle('active');
    await tab.front();
    await poll(tab, `[...probe.turns.values()].at(-1).state === 'done' && probe.state() === 'live'`);
    assert.equal(await tab.evaluate(`[...probe.turns.values()].at(-1).text`), words(400));
    const { lost, recovered, holes } = await tab.evaluate(`probe.counters`);
    assert.deepEqual({ lost, recovered, holes, told: journal.includes('connection_lost') }, { lost: 1, recovered: 1, holes: 0, told: true });
  });

  page('connects by a link whose token leaves the address, and streams byte by byte', [], async (context) => {
    const tab = await open(context, server.link());
    await inState(tab, 'live');
    assert.equal(tab.url(), `${server.url}/`);
    assert.ok(!JSON.stringify(await tab.evaluate(() => probe.log)).includes(server.token().slice(0, 20)), 'no token in the log');
    await say(tab, '!count=4000');
    await turnIs(tab, 'done');
    await whole(tab, words(4000));
    const prompt = 'née  Zoë\n😀 \u0007 \u2028 <b>bold</b> 最後 ';
    await say(tab, prompt);
    await until(tab, () => probe.turns.size === 2 && [...probe.turns.values()].at(-1).state === 'done');
    await whole(tab, prompt);
    assert.equal((await about(tab)).counters.dials, 1);
    await shot(tab, 'live');
  });

  page('connects by a pasted token', [], async (context) => {
    const tab = await open(context, server.url);
    await shot(tab, 'idle');
    await tab.fill('#token', server.token());
    await tab.click('#connect button');
    await inState(tab, 'live');
    await tab.click('#leave');
    await inState(tab, 'ended');
    const { fault, lost, reason } = await about(tab);
    assert.deepEqual([fault, lost, reason, await tab.isVisible('#fault')], [null, [], 'detached', false], 'leaving is quiet');
    await shot(tab, 'ended');
  });

  page('says that a token is not good, and does not come back by itself', [], async (context) => {
    const tab = await open(context, `${server.url}/#token=nonsense`);
    await inState(tab, 'failed');
    const { fault, closes, counters } = await about(tab);
    assert.deepEqual([fault.code, closes.map((close) => close.code), counters.dials], ['unauthenticated', [4401], 1]);
    await sleep(1_500);
    assert.equal((await about(tab)).counters.dials, 1);
  });

  page('shows what a model says as text and never as markup', [], async (context) => {
    const tab = await open(context, server.link());
    await inState(tab, 'live');
    const evil = '<img src=x onerror="window.owned=1"><script>window.owned=1</script> ';
    await say(tab, evil);
    await turnIs(tab, 'done');
    await whole(tab, evil);
    assert.deepEqual(await tab.evaluate(() => [window.owned, document.querySelector('#turns img, #turns script')]), [undefined, null]);
  });

  page('N01 N03 cut and closed in mid-turn: nothing is lost, nothing doubled', [broken], async (context) => {
    const tab = await open(context, server.link());
    await inState(tab, 'live');
    await say(tab, '!count=600 pace_ms=8');
    for (const [times, button] of ['#cut', '#close', '#cut'].entries()) {
      await bytesOver(tab, 500 * (times + 1));
      await tab.click(button);
      await until(tab, (times) => probe.counters.recovered === times && probe.state() === 'live', times + 1);
    }
    await turnIs(tab, 'done');
    await whole(tab, words(600));
    const { lost, recovered, counters, closes } = await about(tab);
    assert.deepEqual(lost, ['transport_error', 'connection_closed', 'transport_error']);
    assert.deepEqual(recovered.map((entry) => entry.strategy), ['fast', 'fast', 'fast']);
    assert.equal(counters.lost, 3);
    assert.deepEqual(closes.map((close) => close.code), [1006, 1012, 1006]);
  });

  page('N04 half-open in mid-turn: told within 3 s, and the turn goes on', [broken], async (context) => {
    const tab = await open(context, server.link());
    await inState(tab, 'live');
    await say(tab, '!count=900 pace_ms=8');
    await bytesOver(tab, 400);
    const began = Date.now();
    await tab.click('#half-open');
    await inState(tab, 'recovering');
    const toldMs = Date.now() - began;
    await shot(tab, 'recovering');
    await turnIs(tab, 'done');
    await whole(tab, words(900));
    const { lost, recovered, session } = await about(tab);
    // Both sides judge after 2.5 s; the injected fault lets the server's end of it through.
    assert.ok(['heartbeat_timeout', 'transport_error'].includes(lost[0]), lost[0]);
    assert.deepEqual([lost.length, recovered.length], [1, 1]);
    assert.match(await server.journal(session), /"code":"heartbeat_timeout"/);
    assert.ok(toldMs < 4_500, `told after ${toldMs} ms`); // 3 s, and a loaded machine
  });

  page('P02 a page that stood still hears first what came meanwhile, and then judges', [], async (context) => {
    const tab = await open(context, server.link());
    await inState(tab, 'live');
    for (let times = 0; times < 3; times += 1) {
      await tab.evaluate(() => {
        for (const end = performance.now() + 3_500; performance.now() < end; ); // longer than a beat
        probe.current.heard = performance.now() - 60_000;
      });
      await sleep(1_000);
    }
    const { state, counters } = await about(tab);
    assert.deepEqual([state, counters.lost, counters.dials], ['live', 0, 1]);
  });

  page('P08 a duplicated tab is another participant, and both are live', [], async (context) => {
    const first = await open(context, server.link());
    await inState(first, 'live');
    const [second] = await Promise.all([context.waitForEvent('page'), first.evaluate(() => void window.open('/'))]);
    await inState(second, 'live');
    const [one, two] = [await about(first), await about(second)];
    assert.equal(two.duplicated, true);
    assert.equal(one.session, two.session);
    assert.notEqual(one.participant, two.participant);
    await say(second, '!count=200 pace_ms=2');
    for (const tab of [first, second]) {
      await turnIs(tab, 'done');
      await whole(tab, words(200));
      assert.deepEqual([(await about(tab)).counters.lost, (await about(tab)).counters.dials], [0, 1]);
    }
    await second.reload();
    await inState(second, 'live');
    assert.deepEqual([(await about(second)).participant, (await about(second)).how], [two.participant, 'resumed'], 'its own place, from now on');
    assert.equal((await about(first)).counters.lost, 0);
  });

  page('a reload in mid-turn resumes its own place, and the turn goes on', [], async (context) => {
    const tab = await open(context, server.link());
    await inState(tab, 'live');
    const { participant } = await about(tab);
    await say(tab, '!count=500 pace_ms=8');
    await bytesOver(tab, 600);
    const before = await said(tab);
    await tab.reload();
    await inState(tab, 'live');
    assert.deepEqual([(await about(tab)).participant, (await about(tab)).how, (await about(tab)).duplicated], [participant, 'resumed', false]);
    await turnIs(tab, 'done');
    assert.equal((await said(tab)).turn, before.turn);
    await whole(tab, words(500));
    assert.equal(await tab.evaluate(() => probe.turns.size), 1);
    await say(tab, 'and on ');
    await until(tab, () => probe.turns.size === 2 && [...probe.turns.values()].at(-1).state === 'done');
    await whole(tab, 'and on ');
  });

  page('what was said while there was no network is sent once there is', [broken, offline], async (context) => {
    const tab = await open(context, server.link());
    await inState(tab, 'live');
    await context.setOffline(true);
    await tab.evaluate(() => probe.current?.ws.close());
    await inState(tab, 'recovering');
    await say(tab, 'said while away ');
    assert.equal((await about(tab)).open > 0, true);
    await context.setOffline(false);
    await inState(tab, 'live');
    await turnIs(tab, 'done');
    await whole(tab, 'said while away ');
    assert.equal(await tab.evaluate(() => probe.turns.size), 1);
  });

  page('P07 what was said into a dead connection is sent again after a reload, and run once', [broken], async (context) => {
    const tab = await open(context, server.link());
    await inState(tab, 'live');
    await tab.evaluate(() => probe.command('debug.fault', { fault: { kind: 'half_open' } }) && undefined);
    await sleep(300); // long enough for it to be deaf, too short to be suspected
    await say(tab, 'into the void ');
    await sleep(300);
    assert.deepEqual(await tab.evaluate(() => [probe.state(), probe.turns.size]), ['live', 0]);
    await tab.reload();
    await inState(tab, 'live');
    await turnIs(tab, 'done');
    await whole(tab, 'into the void ');
    assert.equal(await tab.evaluate(() => probe.turns.size), 1);
  });

  page('S16 at capacity: told by a fault frame and code 4503, never 1006; in line: begins by itself', [], async (context) => {
    const holder = await open(context, server.link({ backend: 'narrow' }));
    await inState(holder, 'live');
    const late = await open(context, server.link({ backend: 'narrow' }));
    await inState(late, 'failed');
    const { fault, closes, counters } = await about(late);
    assert.deepEqual([fault.code, fault.detail.limit, fault.detail.active], ['at_capacity', 1, 1]);
    assert.deepEqual(closes.map(({ code, clean, fault }) => ({ code, clean, fault })), [{ code: 4503, clean: true, fault: 'at_capacity' }]);
    assert.equal(counters.dials, 1, 'not tried again behind the back of the person');
    await shot(late, 'at-capacity');
    const patient = await open(context, server.link({ backend: 'narrow', wait: '1' }));
    await inState(patient, 'queued');
    assert.match(await patient.textContent('#words'), /Place 1 of 1/);
    await shot(patient, 'queued');
    await holder.click('#end');
    await inState(holder, 'ended');
    await inState(patient, 'live');
    assert.deepEqual([(await about(patient)).counters.dials, (await about(patient)).closes], [1, []]);
    await patient.click('#end');
    await inState(patient, 'ended');
  });

  page('offline waits and says so; online comes back at once', [broken, offline], async (context) => {
    const tab = await open(context, server.link());
    await inState(tab, 'live');
    await say(tab, '!count=500 pace_ms=8');
    await bytesOver(tab, 400);
    await context.setOffline(true);
    await until(tab, () => !navigator.onLine);
    await tab.evaluate(() => probe.current.ws.close()); // as the network's end would
    await until(tab, () => probe.recovery?.waitingFor === 'network');
    await sleep(2_000);
    const { counters, state } = await about(tab);
    assert.deepEqual([state, counters.dials], ['recovering', 1], 'no attempt while there is no network');
    assert.match(await tab.textContent('#words'), /offline/);
    await shot(tab, 'offline');
    const began = Date.now();
    await context.setOffline(false);
    await inState(tab, 'live');
    assert.ok(Date.now() - began < 2_000, `back after ${Date.now() - began} ms`);
    await turnIs(tab, 'done');
    await whole(tab, words(500));
  });

  page('another instance takes the place: superseded is shown, and there is no fight for it', [], async (context) => {
    const tab = await open(context, server.link());
    await inState(tab, 'live');
    const thief = await open(context, server.url);
    const hello = await tab.evaluate(() => ({
      type: 'hello', token: probe.token, instance: 'i-thief', attempt: 1, session: probe.seat.session, role: 'owner',
      resume: { participant: probe.seat.participant, key: probe.seat.key, cursor: { epoch: probe.epoch, seq: probe.cursor }, strategy: 'fast' },
      stream: { id: 'c-thief', next: 1, receipts_ack: 0 }, sdk: 'test',
    }));
    await thief.evaluate((hello) => new Promise((welcomed) => {
      const ws = (window.ws = new WebSocket(`ws://${location.host}/v1/connect`, 'evenkeel.v1.json'));
      ws.onopen = () => ws.send(JSON.stringify(hello));
      ws.onmessage = ({ data }) => JSON.parse(data).type === 'welcome' && welcomed();
    }), hello);
    await inState(tab, 'failed');
    const { fault, closes } = await about(tab);
    assert.deepEqual([fault.code, closes.map((close) => close.code)], ['superseded', [4409]]);
    assert.match(await tab.textContent('#fault-words'), /taken this participant's place/);
    await sleep(1_000);
    assert.equal((await about(tab)).counters.dials, 1);
    await tab.click('#connect button');
    await inState(tab, 'live');
    assert.equal((await about(tab)).how, 'joined', 'as a new participant of the same session');
  });

  page('S01 the server is killed in mid-turn and started: back without a click, and the turn is interrupted', [broken, offline], async (context) => {
    const own = await Server.start();
    try {
      const tab = await open(context, own.link());
      await inState(tab, 'live');
      await say(tab, '!count=2000 pace_ms=8');
      await bytesOver(tab, 600);
      await own.kill();
      await inState(tab, 'recovering');
      await until(tab, () => probe.recovery?.waitingFor === 'network');
      await shot(tab, 'server-gone');
      await sleep(1_500);
      await own.run();
      await inState(tab, 'live');
      await turnIs(tab, 'interrupted');
      const turn = await said(tab);
      assert.equal(turn.fault, 'turn_interrupted');
      assert.ok(turn.bytes >= 600 && words(2000).startsWith(turn.text), 'an exact prefix');
      assert.equal((await about(tab)).counters.holes, 0);
      await shot(tab, 'interrupted');
      await say(tab, 'and on ');
      await until(tab, () => probe.turns.size === 2 && [...probe.turns.values()].at(-1).state === 'done');
      await whole(tab, 'and on ');
    } finally {
      await own.stop();
    }
  });
});
