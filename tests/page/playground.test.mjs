// The playground in a real Chromium, against the real server: what it does with text.
//
// Each test looks at what the page holds and shows, compares it with bytes computed here, and fails on an
// error in the console. `SHOTS=folder` keeps pictures.

import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { onceWithin } from './machine.mjs';
import { breaks, broken, contrasts, inState, live, offline, open, refused, rig, shot, until } from './playground.mjs';
import { MediaServer, Server, words } from './server.mjs';

const shared = rig(MediaServer);
const { page } = shared;
const echo = (server, more = {}) => server.link({ backend: 'echo', ...more });

const said = (tab, at = -1) => tab.evaluate((at) => {
  const turn = [...playground.model.turns.values()].at(at);
  return turn && { turn: turn.turn, text: turn.text, state: turn.state, bytes: turn.bytes, fault: turn.fault?.code };
}, at);
const bytesOver = (tab, bytes) => until(tab, (bytes) => [...playground.model.turns.values()].at(-1)?.bytes > bytes, bytes);
const turnIs = (tab, state) => until(tab, (state) => [...playground.model.turns.values()].at(-1)?.state === state, state);
const about = (tab) => tab.evaluate(() => {
  const { model, session } = playground, { log, counters, status, fault, how, turns } = model;
  return {
    state: status.state, session: session?.id, participant: session?.participant, duplicated: session?.duplicated, counters, how, fault,
    turns: turns.size, asked: playground.chat.outbox.waits, log: log.map(({ kind, text }) => `${kind} ${text}`),
    lost: log.filter(({ kind }) => kind === 'connection lost').map(({ text }) => text.split(':')[0]),
    recovered: log.filter(({ kind }) => kind === 'recovered').map(({ text }) => text.split(',')[0]),
  };
});

async function say(tab, text) {
  await tab.fill('#text', text);
  await tab.press('#text', 'Enter');
}

/** What the page shows of a text: what cannot be seen is called by its name. */
const seen = (text) => text.replace('\u0007', '␇').replace('\u2028', 'U+2028');

/** What was said arrived once, whole and in order; what the page shows is what it holds. */
async function whole(tab, expected, at = -1) {
  const turn = await said(tab, at);
  assert.equal(turn.text, expected);
  assert.equal(turn.bytes, Buffer.byteLength(expected));
  await until(tab, ([at, text]) => [...document.querySelectorAll('#turns .text')].at(at)?.textContent === text, [at, seen(expected)]);
  await until(tab, () => playground.chat.outbox.waits === 0);
  const { holes, gaps, notices } = (await about(tab)).counters;
  assert.deepEqual({ holes, gaps, notices }, { holes: 0, gaps: 0, notices: 0 });
}

describe('the playground', { concurrency: 2 }, () => {
  page('connects_by_a_link_whose_token_leaves_the_address_and_streams_byte_by_byte', [], async (context, server) => {
    const tab = await open(context, echo(server));
    await live(tab);
    assert.equal(tab.url(), `${server.url}/`);
    assert.ok(!(await about(tab)).log.join().includes(server.token().slice(0, 20)), 'no token in the log');
    await say(tab, '!count=4000');
    await turnIs(tab, 'done');
    await whole(tab, words(4000));
    const prompt = 'née  Zoë\n😀 \u0007 \u2028 <b>bold</b> 最後 ';
    await say(tab, prompt);
    await until(tab, () => playground.model.turns.size === 2 && [...playground.model.turns.values()].at(-1).state === 'done');
    await whole(tab, prompt);
    assert.equal(tab.sockets, 1);
    await shot(tab, 'live');
  });

  page('offers_what_the_server_has_to_a_pasted_token_and_leaving_is_quiet', [], async (context, server) => {
    const tab = await open(context, server.url);
    await tab.fill('#token', server.token());
    await tab.press('#token', 'Tab');
    await until(tab, () => document.querySelectorAll('#backends input').length > 0);
    const offered = await tab.$$eval('#backends input', (inputs) => inputs.map(({ value }) => value));
    assert.deepEqual(offered, ['echo', 'narrow', 'passthrough', 'room']);
    assert.equal(await tab.isVisible('#sources'), true, 'a picture is chosen where there will be one');
    await tab.check('#backends input[value="echo"]');
    assert.equal(await tab.isVisible('#sources'), false);
    await tab.click('#connect button');
    await live(tab);
    await tab.click('#leave');
    await inState(tab, 'ended');
    const { fault, lost } = await about(tab);
    assert.deepEqual([fault, lost, await tab.isVisible('#fault'), await tab.isVisible('#join')], [undefined, [], false, true]);
  });

  page('says_that_a_token_is_not_good_and_does_not_come_back_by_itself', [refused], async (context, server) => {
    const tab = await open(context, `${server.url}/#token=nonsense&backend=echo`);
    await inState(tab, 'failed');
    assert.equal((await about(tab)).fault.code, 'unauthenticated');
    assert.equal(await tab.textContent('#fault-code'), 'unauthenticated');
    assert.match(await tab.textContent('#fault-next'), /will not help/);
    await until(tab, () => document.getElementById('fault-can').textContent.includes('Mint a token'));
    await sleep(1_500);
    assert.equal(tab.sockets, 1);
    await shot(tab, 'failed');
  });

  page('whatever_is_said_or_called_is_shown_as_text_and_never_as_markup_a21', [], async (context, server) => {
    const evil = '<img src=x onerror="window.owned=1"><script>window.owned=1</script> ';
    const tab = await open(context, `${server.url}/#${new URLSearchParams({ token: server.token(evil), backend: 'echo' })}`);
    await live(tab);
    await say(tab, evil);
    await turnIs(tab, 'done');
    await whole(tab, evil);
    await tab.evaluate(async (evil) => {
      await playground.session.send({ note: evil });
      await playground.session.command(evil, {}).catch(() => {});
    }, evil);
    await until(tab, (evil) => [...document.querySelectorAll('#log span')].some(({ textContent }) => textContent.includes('<img src=x')), evil);
    await until(tab, (evil) => document.querySelector('#participants strong')?.textContent.startsWith(evil), evil);
    assert.deepEqual(await tab.evaluate(() => [window.owned, document.querySelectorAll('main img, main script').length]), [undefined, 0]);
    const policy = (await (await fetch(server.url)).headers).get('content-security-policy');
    assert.match(policy, /default-src 'none'/);
    assert.doesNotMatch(policy, /unsafe|\*|data:|blob:/);
  });

  page('a_turn_that_is_cut_closed_and_cut_by_the_panel_loses_and_doubles_nothing_n01_n03', [broken], async (context, server) => {
    const tab = await open(context, echo(server));
    await live(tab);
    await say(tab, '!count=600 pace_ms=8');
    for (const [times, [set, name]] of [['#chaos-server', 'Cut'], ['#chaos-server', 'Close 1012'], ['#chaos-client', 'Drop the connection']].entries()) {
      await bytesOver(tab, 500 * (times + 1));
      const before = await tab.evaluate(() => playground.model.counters.recovered);
      await tab.click(`${set} >> text="${name}"`);
      await until(tab, (before) => playground.model.counters.recovered > before && playground.model.status.state === 'live', before);
    }
    await turnIs(tab, 'done');
    await whole(tab, words(600));
    const { lost, recovered } = await about(tab);
    // A machine that stands still for longer than a beat may lose one more, of its own.
    assert.deepEqual(lost.filter((code) => code !== 'heartbeat_timeout'), ['transport_error', 'connection_closed', 'transport_error']);
    assert.deepEqual(recovered, lost.map(() => 'fast'));
    const figures = await tab.textContent('#outage-figures');
    assert.match(figures, /Recovered in\d/);
  });

  page('a_half_open_connection_is_told_and_the_turn_goes_on_n04', [broken], async (context, server) => {
    const tab = await open(context, echo(server));
    await live(tab);
    await say(tab, '!count=900 pace_ms=8');
    await bytesOver(tab, 400);
    await onceWithin(async () => {
      await tab.evaluate(() => {
        const isTold = () => document.getElementById('state').textContent === 'recovering' && !document.getElementById('fault').hidden;
        new MutationObserver(() => isTold() && (window.toldAt ??= Date.now())).observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
      });
      const began = await breaks(tab, '#chaos-server', 'Half-open');
      const toldAt = await (await until(tab, () => window.toldAt)).jsonValue();
      await shot(tab, 'recovering');
      console.log(`a half-open connection: told after ${toldAt - began} ms`);
      return [['told', toldAt - began, 3_000]];
    });
    await turnIs(tab, 'done');
    await whole(tab, words(900));
    const { lost, recovered, session } = await about(tab);
    // Both sides judge after 2.5 s; the injected fault lets the server's end of it through.
    assert.ok(['heartbeat_timeout', 'transport_error'].includes(lost[0]), lost[0]);
    // A machine that stands still for as long may lose one more, of its own.
    assert.deepEqual([lost.slice(1).filter((code) => code !== 'heartbeat_timeout'), recovered.length], [[], lost.length]);
    assert.match(await server.journal(session), /"code":"heartbeat_timeout"/);
  });

  page('a_page_that_stood_still_hears_first_what_came_meanwhile_and_then_judges_p02', [], async (context, server) => {
    const tab = await open(context, echo(server));
    await live(tab);
    for (let times = 0; times < 3; times += 1) {
      await tab.evaluate(() => { for (const end = performance.now() + 3_500; performance.now() < end; ); }); // longer than a beat
      await sleep(1_000);
    }
    assert.deepEqual([(await about(tab)).lost, tab.sockets], [[], 1]);
    await say(tab, 'and on ');
    await turnIs(tab, 'done');
    await whole(tab, 'and on ');
  });

  page('a_duplicated_tab_is_another_participant_and_both_are_live_p08', [], async (context, server) => {
    const first = await open(context, echo(server));
    await live(first);
    const [second] = await Promise.all([context.waitForEvent('page'), first.evaluate(() => void window.open('/'))]);
    await live(second);
    const [one, two] = [await about(first), await about(second)];
    assert.deepEqual([one.duplicated, two.duplicated], [false, true]);
    assert.equal(one.session, two.session);
    assert.notEqual(one.participant, two.participant);
    await say(second, '!count=200 pace_ms=2');
    for (const tab of [first, second]) {
      await turnIs(tab, 'done');
      await whole(tab, words(200));
      assert.deepEqual((await about(tab)).lost, []);
    }
    await second.reload();
    await live(second);
    assert.deepEqual([(await about(second)).participant, (await about(second)).how], [two.participant, 'resumed'], 'its own place, from now on');
    assert.deepEqual((await about(first)).lost, []);
  });

  page('a_reload_in_mid_turn_resumes_its_own_place_and_the_turn_goes_on', [], async (context, server) => {
    const tab = await open(context, echo(server));
    await live(tab);
    const { participant } = await about(tab);
    await say(tab, '!count=500 pace_ms=8');
    await bytesOver(tab, 600);
    const before = await said(tab);
    await tab.reload();
    await live(tab);
    const again = await about(tab);
    assert.deepEqual([again.participant, again.how, again.duplicated], [participant, 'resumed', false]);
    await turnIs(tab, 'done');
    assert.equal((await said(tab)).turn, before.turn);
    await whole(tab, words(500));
    assert.equal((await about(tab)).turns, 1);
    await say(tab, 'and on ');
    await until(tab, () => playground.model.turns.size === 2 && [...playground.model.turns.values()].at(-1).state === 'done');
    await whole(tab, 'and on ');
  });

  page('what_was_said_while_there_was_no_network_is_sent_once_there_is_m27', [broken, offline], async (context, server) => {
    const tab = await open(context, echo(server));
    await live(tab);
    await context.setOffline(true);
    await until(tab, () => !navigator.onLine);
    await tab.click('#chaos-client >> text="Drop the connection"');
    await inState(tab, 'recovering');
    await say(tab, 'said while away ');
    await until(tab, () => document.getElementById('receipts').textContent.startsWith('1 said'));
    await context.setOffline(false);
    await live(tab);
    await turnIs(tab, 'done');
    await whole(tab, 'said while away ');
    assert.equal((await about(tab)).turns, 1);
  });

  page('what_was_said_into_a_dead_connection_is_sent_again_and_run_once_p07', [broken], async (context, server) => {
    const tab = await open(context, echo(server));
    await live(tab);
    // At once, so that it is said before the loss is noticed.
    const halves = await until(tab, () => [...document.querySelectorAll('#chaos-client button:enabled')].find(({ textContent }) => textContent === 'Half-open'));
    const turns = await halves.evaluate((button) => {
      button.click();
      document.getElementById('text').value = 'into the void ';
      document.getElementById('say').requestSubmit();
      return playground.model.turns.size;
    });
    assert.equal(turns, 0);
    await until(tab, () => playground.model.counters.recovered >= 1);
    await turnIs(tab, 'done');
    await whole(tab, 'into the void ');
    assert.equal((await about(tab)).turns, 1);
  });

  page('a_turn_is_cancelled_and_what_is_said_meanwhile_waits_for_its_turn', [], async (context, server) => {
    const tab = await open(context, echo(server));
    await live(tab);
    await tab.click('#longer');
    await bytesOver(tab, 100);
    await say(tab, 'next ');
    await until(tab, () => document.querySelector('#queue .waits-text')?.textContent === 'next');
    await tab.click('#cancel');
    await until(tab, () => [...playground.model.turns.values()].map(({ state }) => state).join() === 'cancelled,done');
    await whole(tab, 'next ');
    assert.equal(await tab.isVisible('#queue-box'), false);
  });

  page('at_capacity_is_told_with_figures_and_in_line_it_begins_by_itself_s16', [], async (context, server) => {
    const holder = await open(context, server.link({ backend: 'narrow' }));
    await live(holder);
    const late = await open(await shared.browser.newContext(), server.link({ backend: 'narrow' }));
    await inState(late, 'failed');
    const { fault } = await about(late);
    assert.deepEqual([fault.code, fault.detail.limit, fault.detail.active], ['at_capacity', 1, 1]);
    assert.match(await late.textContent('#fault-message'), /1 of 1 taken/);
    assert.equal(late.sockets, 1, 'not tried again behind the back of the person');
    await shot(late, 'at-capacity');
    const patient = await open(await shared.browser.newContext(), server.link({ backend: 'narrow', wait: '1' }));
    await inState(patient, 'queued');
    assert.match(await patient.textContent('#words'), /Place 1 of 1/);
    await holder.click('#end');
    await inState(holder, 'ended');
    await live(patient);
    assert.equal(patient.sockets, 1);
    await late.click('#again');
    await inState(late, 'failed');
    await patient.click('#end');
    await inState(patient, 'ended');
    await late.click('#again');
    await live(late);
    await late.click('#end');
    await inState(late, 'ended');
    await late.context().close();
    await patient.context().close();
  });

  page('offline_waits_and_says_so_and_online_comes_back_at_once', [broken, offline], async (context, server) => {
    const tab = await open(context, echo(server));
    await live(tab);
    await say(tab, '!count=500 pace_ms=8');
    await bytesOver(tab, 400);
    await context.setOffline(true);
    await until(tab, () => !navigator.onLine);
    await tab.click('#chaos-client >> text="Drop the connection"');
    await until(tab, () => playground.model.status.legs[0]?.waiting_for === 'network');
    const dials = tab.sockets;
    await sleep(2_000);
    assert.deepEqual([(await about(tab)).state, tab.sockets], ['recovering', dials], 'no attempt while there is no network');
    assert.match(await tab.textContent('#words'), /offline/);
    await shot(tab, 'offline');
    await onceWithin(async () => {
      await tab.evaluate(() => {
        addEventListener('online', () => (window.online = performance.now()), { once: true });
        new MutationObserver(() => document.getElementById('state').textContent === 'live' && (window.back ??= performance.now())).observe(document.getElementById('state'), { subtree: true, childList: true, characterData: true });
      });
      await context.setOffline(false);
      await live(tab);
      return [['back', await tab.evaluate(() => window.back - window.online), 2_000]];
    });
    await turnIs(tab, 'done');
    await whole(tab, words(500));
  });

  page('another_instance_takes_the_place_and_there_is_no_fight_for_it_p08', [], async (context, server) => {
    const tab = await open(context, echo(server));
    await live(tab);
    const thief = await open(context, server.url);
    const resume = await tab.evaluate(() => playground.session.resumeState());
    await thief.evaluate(([resume, token]) => new Promise((welcomed) => {
      const ws = (window.ws = new WebSocket(`ws://${location.host}/v1/connect`, 'evenkeel.v1.json'));
      ws.onopen = () => ws.send(JSON.stringify({
        type: 'hello', token, instance: 'i-thief', attempt: 1, session: resume.session, role: 'owner',
        resume: { participant: resume.participant, key: resume.key, cursor: resume.cursor, strategy: 'fast' },
        stream: { id: 'c-thief', next: 1, receipts_ack: 0 }, sdk: 'test',
      }));
      ws.onmessage = ({ data }) => JSON.parse(data).type === 'welcome' && welcomed();
    }), [{ ...resume, snapshot: undefined }, server.token()]);
    await inState(tab, 'failed');
    assert.equal((await about(tab)).fault.code, 'superseded');
    assert.match(await tab.textContent('#fault-message'), /taken this participant's place/);
    const dials = tab.sockets;
    await sleep(1_000);
    assert.equal(tab.sockets, dials);
    await tab.click('#again');
    await live(tab);
    const again = await about(tab);
    assert.deepEqual([again.session, again.how], [resume.session, 'joined'], 'as a new participant of the same session');
    assert.notEqual(again.participant, resume.participant);
  });

  page('the_server_is_killed_in_mid_turn_and_started_and_the_page_is_back_without_a_click_s01', [broken, offline], async (context) => {
    const own = await Server.start();
    try {
      const tab = await open(context, echo(own));
      await live(tab);
      await say(tab, '!count=2000 pace_ms=8');
      await bytesOver(tab, 600);
      await own.kill();
      await inState(tab, 'recovering');
      await until(tab, () => playground.model.status.legs[0]?.waiting_for === 'network' && /cannot be reached/.test(document.getElementById('words').textContent));
      await until(tab, () => /Next attempt in \d/.test(document.getElementById('countdown').textContent));
      await shot(tab, 'server-gone');
      await own.run();
      await live(tab);
      await turnIs(tab, 'interrupted');
      const turn = await said(tab);
      assert.equal(turn.fault, 'turn_interrupted');
      assert.ok(turn.bytes >= 600 && words(2000).startsWith(turn.text), 'an exact prefix');
      assert.equal((await about(tab)).counters.holes, 0);
      await say(tab, 'and on ');
      await until(tab, () => playground.model.turns.size === 2 && [...playground.model.turns.values()].at(-1).state === 'done');
      await whole(tab, 'and on ');
    } finally {
      await own.stop();
    }
  });

  page('what_breaks_things_is_not_there_unless_it_is_switched_on_m39', [refused], async (context) => {
    class Off extends MediaServer {
      config() {
        return super.config().replace('[faults]\nenabled = true', '');
      }
    }
    const own = await Off.start();
    try {
      const tab = await open(context, echo(own));
      await live(tab);
      await until(tab, () => playground.offer);
      assert.equal(await tab.isVisible('#chaos-off'), true);
      assert.equal(await tab.$$eval('#chaos-server button', (all) => all.every(({ disabled }) => disabled)), true);
      assert.equal(await tab.$$eval('#chaos-client button', (all) => all.some(({ disabled }) => disabled)), false, 'this side breaks its own as it likes');
      const [debug, nothing] = await Promise.all(['/v1/debug/faults', '/v1/nothing'].map(async (path) => {
        const body = JSON.stringify({ session: await tab.evaluate(() => playground.session.id), fault: { kind: 'drop_connection' } });
        const answer = await fetch(own.url + path, { method: 'POST', headers: { authorization: `Bearer ${own.token()}`, 'content-type': 'application/json' }, body });
        return [answer.status, (await answer.json()).code];
      }));
      assert.deepEqual(debug, nothing);
      assert.equal(debug[0], 404);
      const said = await tab.evaluate(() => playground.session.inject({ kind: 'drop_connection' }).catch(({ code }) => code));
      assert.ok(['invalid_request', 'permission_denied'].includes(said), said);
      assert.equal((await about(tab)).state, 'live');
      await tab.close(); // It would tell that the server is gone.
    } finally {
      await own.stop();
    }
  });

  for (const [width, colorScheme] of [[390, 'light'], [390, 'dark'], [1280, 'light'], [1280, 'dark']]) {
    page(`is_whole_at_${width}_px_in_${colorScheme}_named_and_reached_by_the_keyboard`, [], async (context, server) => {
      const tab = await open(context, server.url);
      const fits = async () => assert.ok(await tab.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing runs out to the side');
      await fits();
      await tab.focus('#token');
      await tab.keyboard.type(server.token('ann', { admin: true }));
      await tab.keyboard.press('Tab');
      await until(tab, () => document.querySelectorAll('#backends input').length > 0);
      await tab.check('#backends input[value="echo"]');
      await tab.focus('#connect button');
      await tab.keyboard.press('Enter');
      await live(tab);
      assert.equal(await tab.evaluate(() => document.activeElement.id), 'text', 'one begins to write');
      await fits();
      // Whatever can be used has a name, and shows that it has the focus.
      const bare = await tab.evaluate(() => [...document.querySelectorAll('button, input, select, textarea, video, canvas, [tabindex="0"]')]
        .filter((node) => node.offsetParent && !(node.ariaLabel || node.labels?.length || node.textContent.trim() || node.getAttribute('aria-labelledby')))
        .map(({ outerHTML }) => outerHTML));
      assert.deepEqual(bare, []);
      await tab.focus('.skip');
      const reached = new Set();
      for (let n = 0; n < 60; n += 1) {
        await tab.keyboard.press('Tab');
        const [isNew, id, outline] = await tab.evaluate(() => {
          const node = document.activeElement, seen = (window.seen ??= new Set()), isNew = !seen.has(node);
          seen.add(node);
          return [isNew, node === document.body ? '' : node.id || node.textContent, getComputedStyle(node).outlineStyle];
        });
        if (!isNew) break;
        reached.add(id);
        if (id) assert.equal(outline, 'solid', `${id} shows its focus`);
      }
      for (const id of ['share', 'leave', 'theme', 'text', 'log', 'Half-open']) assert.ok(reached.has(id), `${id} is reached: ${[...reached]}`);
      // Text stands out from what is behind it (WCAG AA).
      const faint = await tab.evaluate(contrasts);
      assert.deepEqual(faint, []);
      const before = await tab.evaluate(() => getComputedStyle(document.body.parentElement).backgroundColor);
      for (let n = 0; n < (colorScheme === 'light' ? 2 : 1); n += 1) await tab.click('#theme');
      assert.notEqual(await tab.evaluate(() => getComputedStyle(document.body.parentElement).backgroundColor), before, 'the theme is a choice, too');
      await shot(tab, `text-${width}-${colorScheme}`);
    }, { viewport: { width, height: 860 }, colorScheme, reducedMotion: 'reduce' });
  }
});
