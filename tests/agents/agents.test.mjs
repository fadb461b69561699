// Real agents, driven by a real server against a model server on loopback: a turn, a cancel, a death
// in mid-turn and the conversation taken up after it, the server's own death, a tool that a person is
// asked about, a model that refuses the key, is cut off, refuses for a while, breaks, cannot be
// reached. After each, what is left of the agents is counted. At the end there is a table.
//
// The agents are installed by npm into `target/agents` when they are not there (1.3 GiB together);
// one that cannot be had is skipped, loudly. `AGENTS=codex,gemini` drives only those.

import assert from 'node:assert/strict';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { agents, canary, tool } from './known.mjs';
import { AgentServer, Model, Talk, install, target, versionOf } from './rig.mjs';

const cancelledWithin = 9_000; // asked 5 s, terminated 3 s, and what it takes
const crashToldWithin = 500; // 100 on a machine that does nothing else

const failures = [['key refused', '401'], ['cut off', 'cutfin'], ['rate limited', '429'], ['broken', '500'], ['unreachable', undefined]];

/** What is driven, what of it is promised, and how. */
const parts = [
  ['turn, cancel, crash, resume', 'a_real_agent_is_cancelled_dies_and_goes_on_with_its_conversation_m21_i4_i8_c04', conversation],
  ['server killed', 'a_real_agent_of_a_server_that_was_killed_is_reaped_and_its_conversation_goes_on_i9_i11', serverKilled],
  ['asked', 'a_real_agent_asks_a_person_and_does_as_that_one_says_a65', asked],
  ['chosen', 'a_real_agent_has_the_mode_and_the_model_that_a_session_may_choose', chosen],
  ...failures.map(([what, mode]) => [
    what, 'a_real_agent_whose_model_fails_ends_its_turn_once_and_tells_no_key_i3_a67', (...all) => failure(what, mode, ...all),
  ]),
];

const rows = [];
const wanted = (process.env.AGENTS ?? Object.keys(agents).join(',')).split(',');

for (const name of wanted) {
  const row = { agent: name, version: '', passed: [], cancelMs: '', crashToldMs: '', resumeMs: '', note: '' };
  rows.push(row);
  const program = install(name);
  if (!program) {
    row.note = `skipped{needs: npm, ${agents[name].package}}`;
    console.error(`${row.note}: the agent ${name}`);
    continue;
  }
  row.version = versionOf(program);
  test(name, { timeout: 900_000 }, async (context) => {
    mkdirSync(join(target, 'state', name), { recursive: true });
    const model = await Model.start(join(target, 'state', name));
    const server = await AgentServer.with(model, { [name]: program });
    try {
      for (const [what, promise, drive] of parts) {
        let passed = false;
        await context.test(promise, async () => {
          await drive(name, server, model, row);
          await server.nothingLeft(what);
          passed = true;
        });
        row.passed.push(passed ? what : `not ${what}`);
        // What it has left would be taken for what the next leaves.
        if (!passed) return;
      }
      row.note = 'all passed';
    } finally {
      row.note ||= 'failed';
      const log = server.log();
      server.unfollow();
      await server.stop();
      await model.stop();
      // Of a part that failed, there may be something left.
      for (const { pid } of server.agents()) process.kill(pid, 'SIGKILL');
      assert.ok(!log.includes(canary), 'a key is in the log');
    }
  });
}

after(() => {
  console.log('| agent | version | passed | cancel, ms | crash told, ms | resumed, ms | note |\n|---|---|---|---|---|---|---|');
  for (const row of rows) {
    const { agent, version, passed, cancelMs, crashToldMs, resumeMs, note } = row;
    console.log(`| ${agent} | ${version} | ${passed.join('; ')} | ${cancelMs} | ${crashToldMs} | ${resumeMs} | ${note} |`);
  }
});

const told = (what, { state, fault, ms, said }) =>
  console.log(`  ${what}: ${state} ${fault ? `${fault.code} (${fault.detail?.cause ?? ''})` : ''} ${ms ?? '?'} ms, ${JSON.stringify(said?.slice(-90))}`);

/** A turn that ends well, and says `words` once. */
async function good(talk, what, text, words) {
  const turn = await talk.turn(text);
  told(what, turn);
  assert.equal(turn.state, 'done', JSON.stringify(turn));
  assert.ok(turn.said.includes(words), turn.said);
  const [first] = words.split(' ');
  assert.equal(turn.said.split(new RegExp(`\\b${first}\\b`)).length, 2, `${first} once: ${JSON.stringify(talk.events.filter(({ data }) => data.turn === turn.turn))}`);
  return turn;
}

/** Until what an agent keeps may be loaded again without being lost. */
async function resumable(name) {
  if (agents[name].resumesNextMinute) await sleep(60_100 - (Date.now() % 60_000));
}

async function conversation(name, server, model, row) {
  const talk = await Talk.open(server, name);

  model.mode('ok text=one_two_three_');
  await good(talk, 'a turn', 'hello, it is Ann', 'one two three');
  assert.equal(talk.bound().length, 1);

  model.mode('hangmid');
  const hanging = await talk.say('say more');
  await talk.saying(hanging, 'Hello from');
  const before = performance.now();
  await talk.command('turn.cancel', { turn: hanging });
  const cancelled = await talk.end(hanging);
  row.cancelMs = cancelled.ms = Math.round(cancelled.at - before);
  told('cancelled', cancelled);
  assert.equal(cancelled.state, 'cancelled', JSON.stringify(cancelled));
  assert.ok(cancelled.ms < cancelledWithin, `${cancelled.ms} ms`);

  model.mode('ok text=still_here_');
  await good(talk, 'after the cancel', 'and now', 'still here');

  model.mode('hangmid');
  const doomed = await talk.say('one more');
  await talk.saying(doomed, 'Hello from');
  const died = await server.killAgents();
  const killed = await talk.end(doomed);
  row.crashToldMs = killed.ms = Math.max(0, Math.round(killed.at - died));
  told('killed in mid-turn', killed);
  assert.equal(killed.state, 'failed', JSON.stringify(killed));
  assert.equal(killed.fault.code, 'provider_crashed');
  assert.ok(killed.said.includes('Hello from'), 'what was said stands');
  assert.ok(killed.ms < crashToldWithin, `${killed.ms} ms`);

  await resumable(name);
  model.mode('ok text=back_again_');
  row.resumeMs = (await good(talk, 'resumed', 'are you there', 'back again')).ms;
  // It is the conversation that it was: under its name, and the model is told what was said first.
  assert.equal(talk.bound().length, 1, JSON.stringify(talk.notices()));
  model.mode('history');
  const history = await talk.turn('what did I say');
  assert.ok(history.said.includes('it is Ann') && history.said.includes('one two three'), history.said);
  await talk.close();
}

async function serverKilled(name, server, model) {
  const talk = await Talk.open(server, name);
  model.mode('ok text=one_two_three_');
  await good(talk, 'before the server dies', 'hello, it is Bea', 'one two three');
  model.mode('hangmid');
  const doomed = await talk.say('say more');
  await talk.saying(doomed, 'Hello from');
  await server.kill();
  await resumable(name);
  // What an agent itself started may have outlived it and its server; the next one reaps it.
  const left = server.agents().map(({ pid }) => pid);
  await server.run();
  await server.noneOf(left, 'of a server that was killed');
  const interrupted = await talk.end(doomed);
  told('interrupted', interrupted);
  assert.equal(interrupted.state, 'interrupted', JSON.stringify(interrupted));
  model.mode('ok text=back_again_');
  await good(talk, 'after the server is back', 'are you there', 'back again');
  assert.equal(talk.bound().length, 1, JSON.stringify(talk.notices()));
  await talk.close();
}

/** A tool that a person is asked about: it runs when that one allows it, and not when refused. */
async function asked(name, server, model) {
  for (const [file, kind] of [['allowed', 'allow_once'], ['refused', 'reject_once']]) {
    const talk = await Talk.open(server, `${name}-asks`);
    model.mode(tool(name, `touch ${file}`));
    const turn = await talk.say('make a file');
    const { data: { action } } = await talk.of(turn, 'turn.waiting', 'turn.ended');
    assert.ok(action, 'it does not ask');
    const choice = action.choices.find((it) => it.kind === kind) ?? {};
    await talk.command('turn.answer', { turn, action: action.id, answer: choice.option });
    const ended = await talk.end(turn);
    told(`asked, and ${file}`, ended);
    assert.equal(ended.state, 'done', JSON.stringify(ended));
    assert.equal(existsSync(join(server.work(name), file)), file === 'allowed', JSON.stringify(talk.events.slice(-12)));
    await talk.close();
  }
}

/** A mode and a model of its own; another is refused, and nothing is asked. */
async function chosen(name, server, model) {
  const { mode, model: wanted, seen } = agents[name].chosen;
  const talk = await Talk.open(server, name);
  model.mode('ok text=one_two_three_');
  await talk.command('params.set', { patch: { mode, model: wanted } });
  await model.forget();
  await good(talk, 'chosen', 'hello', 'one two three');
  const modes = talk.events.filter((event) => event.kind === 'item' && event.data.data?.type === 'mode').map((event) => event.data.data.mode);
  assert.equal(modes.at(-1), mode, modes);
  assert.ok((await model.seen()).includes(seen.replaceAll('"', '\\"')) || (await model.seen()).includes(seen), await model.seen());
  await talk.command('params.set', { patch: { mode: 'no-such-mode' } });
  const refused = await talk.turn('what is refused');
  told('chosen amiss', refused);
  assert.equal(refused.fault?.code, 'provider_refused', JSON.stringify(refused));
  assert.deepEqual(refused.fault.detail.offered, [mode]);
  assert.ok(!(await model.seen()).includes('what is refused'), 'nothing is asked');
  await talk.close();
}

async function failure(what, mode, name, server, model) {
  const talk = await Talk.open(server, mode ? name : `${name}-nowhere`);
  model.mode(mode ?? 'ok');
  const broken = await talk.turn('hello');
  told(what, broken);
  assert.ok(!JSON.stringify(talk.events).includes(canary), 'a key is told');
  assert.equal(broken.fault?.code ?? broken.state, agents[name].expected[what], JSON.stringify(broken));
  await talk.close();
}
