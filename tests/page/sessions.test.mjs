// The list of sessions in a real Chromium: what is shown under each filter is what the server has, each once
// and in its order, however far down somebody looks; and what is done to one can be taken back.

import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { drawn, live, open, refused, rig, shot, until } from './playground.mjs';
import { Server } from './server.mjs';

const shared = rig(Server);
const { page } = shared;

/** Asks the server without the page. */
async function ask(server, token, path, method = 'GET', body = undefined) {
  const answer = await fetch(`${server.url}/v1/sessions${path}`, { method, headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' }, body: body && JSON.stringify(body) });
  assert.ok(answer.ok, `${path}: ${answer.status}`);
  return answer.json();
}

/** Opens sessions, a few at a time, and does to each what is wanted. */
async function make(server, token, wanted) {
  const left = [...wanted];
  await Promise.all(Array.from({ length: 12 }, async () => {
    for (let next = left.shift(); next; next = left.shift()) {
      const { patch, ...about } = next;
      const { session } = await ask(server, token, '', 'POST', { backend: 'echo', ...about });
      if (patch) await ask(server, token, `/${session}`, 'PATCH', patch);
    }
  }));
}

/** What the server lists, page by page. */
async function listed(server, token, filter) {
  const names = [];
  for (let before = ''; before !== null;) {
    const page = await ask(server, token, `?${new URLSearchParams({ ...filter, limit: '50', ...(before && { before }) })}`);
    names.push(...page.sessions.map(({ title, session }) => title ?? `Untitled ${session.slice(-6)}`));
    before = page.next;
  }
  return names;
}

const names = (tab) => tab.$$eval('#session-list strong', (all) => all.map(({ textContent }) => textContent));
/** Scrolls down until so many are there, and no further. */
const reaches = (tab, n) => until(tab, (n) => {
  if (document.querySelectorAll('#session-list li').length >= n) return true;
  document.getElementById('session-list').scrollTop = 1e6;
  return false;
}, n);
/** Scrolls down until just these are there: what is still shown of another filter counts for nothing. */
const lists = (tab, wanted) => until(tab, (wanted) => {
  const names = [...document.querySelectorAll('#session-list strong')].map(({ textContent }) => textContent);
  if (names.length < wanted.length) document.getElementById('session-list').scrollTop = 1e6;
  return JSON.stringify(names) === JSON.stringify(wanted);
}, wanted);
const row = (tab, name) => tab.locator('#session-list li', { hasText: name });

async function menu(tab, name, act) {
  await row(tab, name).hover();
  await row(tab, name).locator('.acts button').last().click();
  await tab.click(`#session-menu button:text-is("${act}")`);
}

describe('the list of sessions', { concurrency: 2 }, () => {
  page('each_filter_shows_what_the_server_has_under_it_beyond_one_page_and_nothing_of_the_one_before', [], async (context, server) => {
    const token = server.token('filters');
    await make(server, token, [
      ...Array.from({ length: 40 }, (_, n) => ({ title: `plain ${n}` })),
      ...Array.from({ length: 215 }, (_, n) => ({ title: `bright ${n}`, tags: n % 3 === 0 ? ['red', 'deep red'] : ['blue'], patch: { starred: true } })),
      ...Array.from({ length: 60 }, (_, n) => ({ title: `old ${n}`, tags: ['blue'], patch: { archived: true } })),
    ]);
    const tab = await open(context, `${server.url}/#${new URLSearchParams({ token, backend: 'echo' })}`);
    await live(tab);
    await reaches(tab, 256);
    const shows = async (filter, n) => {
      const expected = await listed(server, token, filter);
      assert.equal(expected.length, n);
      await lists(tab, expected);
    };
    await shows({}, 256);
    await tab.click('#filters [data-name="starred"]');
    await shows({ starred: 'true' }, 215);
    await tab.selectOption('#tag', 'red');
    await shows({ starred: 'true', tag: 'red' }, 72);
    await tab.click('#filters [data-name="archived"]');
    await until(tab, () => document.getElementById('sessions-note').textContent === 'None of these has this tag.');
    assert.deepEqual(await names(tab), []);
    await tab.selectOption('#tag', '');
    await shows({ archived: 'true' }, 60);
    await tab.fill('#search', 'old 5');
    await lists(tab, await listed(server, token, { archived: 'true', q: 'old 5' }));
    await tab.click('#filters [data-name="current"]');
    await until(tab, () => document.getElementById('sessions-note').textContent === 'Nothing is found. Use fewer words, or look under Archived.');
    await tab.fill('#search', '');
    await shows({}, 256);
  });

  page('a_page_that_a_read_overtakes_is_asked_for_again', [], async (context, server) => {
    const token = server.token('overtaken');
    await make(server, token, Array.from({ length: 290 }, (_, n) => ({ title: `number ${n}` })));
    const [held, go] = [deferred(), deferred()];
    let holds = false;
    await context.route(/\/v1\/sessions\?.*before=/, async (route) => {
      if (!holds) return route.continue();
      holds = false;
      held.resolve();
      await go.promise;
      await route.continue();
    });
    const tab = await open(context, `${server.url}/#${new URLSearchParams({ token, backend: 'echo' })}`);
    await live(tab);
    // Further down than a read goes; then a page comes only when the list was read again.
    await reaches(tab, 220);
    holds = true;
    await tab.evaluate(() => (document.getElementById('session-list').scrollTop = 1e6));
    await held.promise;
    await tab.evaluate(() => playground.sessions.read());
    go.resolve();
    await reaches(tab, 291);
    await lists(tab, await listed(server, token, {}));
  });

  page('a_read_that_comes_between_two_pages_leaves_no_hole', [], async (context, server) => {
    const token = server.token('between');
    await make(server, token, Array.from({ length: 190 }, (_, n) => ({ title: `number ${n}` })));
    const [readHeld, readGo, pageHeld, pageGo, nextHeld, nextGo] = Array.from({ length: 6 }, deferred);
    let holds = '';
    await context.route(/\/v1\/sessions\?/, async (route) => {
      const what = holds;
      if (what === '' || route.request().url().includes('before=') !== (what !== 'read')) return route.continue();
      holds = what === 'page' ? 'next' : '';
      const [held, go] = { read: [readHeld, readGo], page: [pageHeld, pageGo], next: [nextHeld, nextGo] }[what];
      held.resolve();
      await go.promise;
      await route.continue();
    });
    const tab = await open(context, `${server.url}/#${new URLSearchParams({ token, backend: 'echo' })}`);
    await live(tab);
    await reaches(tab, 80);
    // A read of what is there begins; two pages are asked for; the first comes before it, the other after it.
    holds = 'read';
    await tab.evaluate(() => void (window.reading = playground.sessions.read()));
    await readHeld.promise;
    await reaches(tab, 120);
    holds = 'page';
    await tab.evaluate(() => (document.getElementById('session-list').scrollTop = 0));
    await tab.evaluate(() => (document.getElementById('session-list').scrollTop = 1e6));
    await pageHeld.promise;
    readGo.resolve();
    await tab.evaluate(() => window.reading);
    await nextHeld.promise; // What follows on the rows that the read has left.
    const answered = tab.waitForResponse(/before=/);
    pageGo.resolve();
    await answered;
    nextGo.resolve();
    await reaches(tab, 191);
    assert.deepEqual(await names(tab), await listed(server, token, {}), 'at once, and not when the list is next read');
  });

  page('a_read_that_pages_have_overtaken_takes_none_of_them_away', [], async (context, server) => {
    const token = server.token('grown');
    await make(server, token, Array.from({ length: 150 }, (_, n) => ({ title: `number ${n}` })));
    const [held, go] = [deferred(), deferred()];
    let holds = false;
    await context.route(/\/v1\/sessions\?/, async (route) => {
      if (holds && !route.request().url().includes('before=')) {
        held.resolve();
        await go.promise;
      }
      await route.continue();
    });
    const tab = await open(context, `${server.url}/#${new URLSearchParams({ token, backend: 'echo' })}`);
    await live(tab);
    // The page's own session, too.
    await until(tab, () => playground.sessions.rows.some(({ session }) => session === playground.session.id));
    await reaches(tab, 80);
    // Every read that begins from here on is held: the last is the one that is believed.
    holds = true;
    await tab.evaluate(() => void (window.reading = playground.sessions.read()));
    await held.promise;
    await reaches(tab, 151);
    holds = false;
    go.resolve();
    await tab.evaluate(() => window.reading);
    await drawn(tab);
    assert.deepEqual(await names(tab), await listed(server, token, {}));
  });

  page('a_list_that_is_longer_than_a_read_loses_no_row_when_one_moves_up', [], async (context, server) => {
    const token = server.token('longer');
    await make(server, token, Array.from({ length: 230 }, (_, n) => ({ title: `number ${n}` })));
    const tab = await open(context, `${server.url}/#${new URLSearchParams({ token, backend: 'echo' })}`);
    await live(tab);
    await reaches(tab, 231);
    // The last of them is the last one used now, and what was the 200th is the 201st.
    const session = await tab.evaluate(() => playground.sessions.rows.at(-1).session);
    await ask(server, token, `/${session}`, 'PATCH', { title: 'moved up' });
    await tab.evaluate(() => playground.sessions.read());
    const expected = await listed(server, token, {});
    assert.equal(expected[0], 'moved up');
    await lists(tab, expected);
  });

  page('what_is_archived_can_be_had_back_and_the_focus_is_never_lost', [], async (context, server) => {
    const token = server.token('undo');
    for (const title of ['first', 'second', 'third']) await make(server, token, [{ title }]);
    const tab = await open(context, `${server.url}/#${new URLSearchParams({ token, backend: 'echo' })}`);
    await live(tab);
    await until(tab, () => document.querySelectorAll('#session-list li').length === 4);
    const focused = () => tab.evaluate(() => document.activeElement.closest('li')?.querySelector('strong').textContent ?? document.activeElement.id);
    // With the keyboard alone: the menu of the second, archived, and taken back. The list is one stop.
    await tab.focus('#filters [data-name="archived"]');
    await tab.keyboard.press('Tab');
    assert.equal(await focused(), (await names(tab))[0], 'the one that is open');
    for (let n = 0; n < 2; n += 1) await tab.keyboard.press('ArrowDown');
    assert.equal(await focused(), 'second');
    await tab.keyboard.press('Tab');
    await tab.keyboard.press('Tab');
    await tab.keyboard.press('Enter');
    await until(tab, () => document.activeElement?.textContent === 'Rename');
    for (let n = 0; n < 2; n += 1) await tab.keyboard.press('Tab');
    await tab.keyboard.press('Enter');
    await until(tab, () => document.getElementById('sessions-done').textContent.startsWith('“second” is archived.'));
    assert.equal((await names(tab)).includes('second'), false);
    assert.equal(await focused(), 'first', 'the next one in the list');
    await tab.click('#sessions-done button');
    await until(tab, () => [...document.querySelectorAll('#session-list strong')].some(({ textContent }) => textContent === 'second'));
    assert.equal((await ask(server, token, '?archived=true')).sessions.length, 0);

    // Called otherwise, and tagged; Escape leaves it as it is.
    await menu(tab, 'second', 'Rename');
    await tab.fill('#session-list form input', 'nothing');
    await tab.keyboard.press('Escape');
    await until(tab, () => !document.querySelector('#session-list form'));
    assert.deepEqual([await focused(), (await names(tab)).includes('second')], ['second', true]);
    await menu(tab, 'second', 'Tags');
    await tab.fill('#session-list form input', ' plan,  to do ,plan ');
    await tab.keyboard.press('Enter');
    await until(tab, () => [...document.querySelectorAll('#session-list small')].some(({ textContent }) => textContent.includes('#plan · #to do')));
    assert.equal(await focused(), 'second');
    assert.deepEqual((await ask(server, token, '?tag=plan')).sessions.map(({ title, tags }) => [title, tags]), [['second', ['plan', 'to do']]]);
    await shot(tab, 'tags');

    // Deleted for good, after a second look.
    await row(tab, 'third').hover();
    await row(tab, 'third').locator('.acts button').last().click();
    await tab.click('#session-menu button:text-is("Delete…")');
    assert.equal(await tab.evaluate(() => document.activeElement.textContent), 'Delete for good');
    await tab.keyboard.press('Enter');
    await until(tab, () => document.querySelectorAll('#session-list li').length === 3);
    assert.notEqual(await focused(), '', 'the focus is somewhere');
    assert.equal((await listed(server, token, {})).includes('third'), false);
  });

  page('what_was_read_before_a_change_does_not_undo_it', [], async (context, server) => {
    const token = server.token('stale');
    await make(server, token, [{ title: 'first' }, { title: 'second' }]);
    const tab = await open(context, `${server.url}/#${new URLSearchParams({ token, backend: 'echo' })}`);
    await live(tab);
    await lists(tab, await listed(server, token, {}));
    // A read that is answered late, by what was so when it was asked for.
    let late, arrived;
    const asked = new Promise((done) => (arrived = done));
    await context.route(/\/v1\/sessions\?/, async (route) => {
      if (late) return route.continue();
      late = { route, answer: await route.fetch() };
      arrived();
    });
    await tab.evaluate(() => void playground.sessions.read());
    await asked;
    await menu(tab, 'second', 'Archive');
    await until(tab, () => document.getElementById('sessions-done').textContent.startsWith('“second” is archived.'));
    await tab.evaluate(() => {
      window.seen = new Set();
      const look = () => seen.add([...document.querySelectorAll('#session-list strong')].some(({ textContent }) => textContent === 'second'));
      new MutationObserver(look).observe(document.getElementById('session-list'), { childList: true, subtree: true, characterData: true });
      look();
    });
    const next = tab.waitForResponse((answer) => answer.url().includes('/v1/sessions?') && answer.request() !== late.route.request());
    await late.route.fulfill({ response: late.answer });
    // Whatever the page makes of it, it has made of it by the time it looks again by itself.
    await next;
    await drawn(tab);
    assert.deepEqual(await tab.evaluate(() => [...window.seen]), [false]);
  });

  page('of_two_rows_that_are_clicked_one_after_the_other_the_last_is_opened_and_joined_once', [], async (context, server) => {
    const token = server.token('quick');
    await make(server, token, [{ title: 'first' }, { title: 'second' }]);
    const tab = await open(context, `${server.url}/#${new URLSearchParams({ token, backend: 'echo' })}`);
    await live(tab);
    await lists(tab, await listed(server, token, {}));
    const before = tab.sockets;
    await tab.evaluate(() => {
      const click = (name) => [...document.querySelectorAll('#session-list strong')].find(({ textContent }) => textContent === name).closest('button').click();
      for (const name of ['first', 'second', 'second']) click(name);
    });
    await until(tab, () => playground.session?.status.state === 'live' && playground.session.snapshot.title === 'second');
    assert.equal(tab.sockets - before, 1);
    const session = await tab.evaluate(() => playground.session.id);
    await tab.reload();
    await live(tab);
    assert.deepEqual(await tab.evaluate(() => [playground.session.id, playground.session.snapshot.participants.length]), [session, 1], 'a reload is the same participant');
  });

  page('a_tag_that_the_server_refuses_is_told_and_stays_told', [refused], async (context, server) => {
    const token = server.token('refused');
    await make(server, token, [{ title: 'only' }]);
    const tab = await open(context, `${server.url}/#${new URLSearchParams({ token, backend: 'echo' })}`);
    await live(tab);
    await until(tab, () => document.querySelectorAll('#session-list li').length === 2);
    await menu(tab, 'only', 'Tags');
    await tab.fill('#session-list form input', 'x'.repeat(80));
    await tab.keyboard.press('Enter');
    await until(tab, () => document.getElementById('sessions-note').textContent.startsWith('That did not work'));
    await tab.evaluate(() => playground.sessions.read());
    assert.match(await tab.textContent('#sessions-note'), /^That did not work/, 'a list that is read meanwhile does not take it away');
    await tab.click('#filters [data-name="starred"]');
    await until(tab, () => document.getElementById('sessions-note').textContent.startsWith('Nothing is starred yet'));
  });
});

function deferred() {
  const it = {};
  it.promise = new Promise((resolve) => (it.resolve = resolve));
  return it;
}
