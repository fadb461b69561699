// What was said before this tab was told anything, and what it was passed over, in a real Chromium: read from
// the log, in its order, each turn once; and what the server no longer keeps is told.

import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { broken, fromDisk, live, offline, open, rig, shot, until } from './playground.mjs';
import { Server } from './server.mjs';

/** Events that the log keeps below its end: whoever was away for longer is passed over. */
const KEPT = 100;
/** More than that, and than there are between two snapshots of the store. */
const MANY = 1_150;

class ForgetfulServer extends Server {
  config() {
    return super.config().replace('[session]\n', `[session]\nretain_events = ${KEPT}\n`).replace('[faults]', '[limits]\nframes_per_s = 100000\n[faults]');
  }
}

const shared = rig(ForgetfulServer);
const { page } = shared;
const texts = (tab) => tab.$$eval('#turns .text', (all) => all.map(({ textContent }) => textContent));
const named = (what, n) => Array.from({ length: n }, (_, n) => `${what} ${n} `);
const shows = (tab, n) => until(tab, (n) => document.querySelectorAll('#turns .text').length >= n, n);

/** Says one after the other, each when the one before is over. */
const sayAll = (tab, all) => tab.evaluate(async (all) => {
  for (const text of all) {
    await playground.session.say(text);
    while ([...playground.model.turns.values()].some(({ state }) => state === 'queued' || state === 'running')) await new Promise((done) => setTimeout(done, 2));
  }
}, all);

/** Fills the log with what is no part of the conversation. */
const fill = (tab, count) => tab.evaluate(async (count) => {
  for (let n = 0; n < count; n += 50) await Promise.all(Array.from({ length: 50 }, () => playground.session.send(n)));
}, count);

/** Another person's tab in the same session. */
async function join(server, session, subject) {
  const context = await shared.browser.newContext();
  await fromDisk(context);
  const tab = await open(context, `${server.url}/#${new URLSearchParams({ token: server.token(subject, { session, role: 'viewer' }), session, role: 'viewer' })}`);
  await live(tab);
  return tab;
}

describe('what was said before', { concurrency: 1 }, () => {
  page('who_was_passed_over_keeps_what_was_seen_and_reads_from_the_log_what_the_snapshot_lacks_m26_p04', [broken, offline], async (context, server) => {
    const ann = await open(context, server.link({ backend: 'echo' }));
    await live(ann);
    const session = await ann.evaluate(() => playground.session.id);
    const [before, during, after] = [named('before', 12), named('during', 14), named('after', 2)];
    await sayAll(ann, before);
    const bob = await join(server, session, 'bob');
    await shows(bob, 12);
    assert.deepEqual(await texts(bob), before, 'a snapshot has eight of them, the log the others');
    await bob.context().setOffline(true);
    await bob.evaluate(() => playground.session.simulate('drop_transport'));
    await fill(ann, MANY);
    await sayAll(ann, during);
    await bob.context().setOffline(false);
    await until(bob, () => playground.model.counters.gaps === 1);
    await shows(bob, 26);
    assert.deepEqual(await texts(bob), [...before, ...during]);
    assert.equal(await bob.textContent('#older'), 'Some of what was said in between is no longer kept.');
    await sayAll(ann, after);
    await shows(bob, 28);
    assert.deepEqual(await texts(bob), [...before, ...during, ...after]);
    assert.equal(await bob.evaluate(() => playground.model.counters.holes), 0);
    await shot(bob, 'passed-over');

    // Who comes only now is told that there was more.
    const eve = await join(server, session, 'eve');
    await shows(eve, 16);
    await until(eve, () => document.getElementById('older').textContent === 'What was said before is no longer kept.');
    assert.deepEqual(await texts(eve), [...during, ...after]);
    await Promise.all([bob, eve].map((tab) => tab.context().close()));
  });
});
