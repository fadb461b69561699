// Real agents, driven by a real server against a model server on loopback: a turn, a cancel, a death
// in mid-turn and the conversation taken up after it, a model that is cut off, refuses for a while,
// cannot be reached. After each, what is left of the agents is counted.
//
// The agents are installed by npm into `target/agents` when they are not there (1 GiB together); one
// that cannot be had is skipped, loudly. None is given a key, or a way out: every address that they
// know is on loopback.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { Server } from '../page/server.mjs';

const root = resolve(import.meta.dirname, '../..');
const target = join(root, 'target/agents');
const turnWithin = 120_000; // some agents need half a minute for their first word, on a loaded machine
const idleMs = 25_000; // then a turn that says nothing is over, by the server's word

/** How each is started against the model at `url`, in a home of its own. */
const agents = {
  codex: {
    package: '@zed-industries/codex-acp@0.16.0',
    bin: 'codex-acp',
    command: (bin, url) => [
      bin, '-c', 'model="fake-model"', '-c', 'model_provider="fake"', '-c', 'model_providers.fake.name="fake"',
      '-c', `model_providers.fake.base_url="${url}/v1"`, '-c', 'model_providers.fake.wire_api="responses"',
      '-c', 'model_providers.fake.env_key="FAKE_KEY"',
    ],
    env: () => ({ FAKE_KEY: 'sk-canary-codex-0123456789' }),
  },
  gemini: {
    package: '@google/gemini-cli@0.61.0',
    bin: 'gemini',
    command: (bin) => [bin, '--acp', '-m', 'gemini-2.5-flash'],
    env: (url) => ({ GOOGLE_GEMINI_BASE_URL: url, GEMINI_API_KEY: 'AIza-canary-gemini-0123456789', GEMINI_CLI_TRUST_WORKSPACE: 'true' }),
    prepare(home) {
      mkdirSync(join(home, '.gemini'), { recursive: true });
      const settings = { security: { auth: { selectedType: 'gemini-api-key' } }, privacy: { usageStatisticsEnabled: false } };
      writeFileSync(join(home, '.gemini/settings.json'), JSON.stringify(settings));
    },
  },
  claude: {
    package: '@agentclientprotocol/claude-agent-acp@0.100.0',
    bin: 'claude-agent-acp',
    command: (bin) => [bin],
    env: (url) => ({ ANTHROPIC_BASE_URL: url, ANTHROPIC_API_KEY: 'sk-canary-claude-0123456789', CLAUDE_CODE_MAX_RETRIES: '2' }),
  },
  opencode: {
    package: 'opencode-ai@1.18.33',
    bin: 'opencode',
    command: (bin) => [bin, 'acp'],
    env: (url) => ({
      OPENCODE_DISABLE_MODELS_FETCH: '1',
      OPENCODE_CONFIG_CONTENT: JSON.stringify({
        model: 'fake/fake-model', small_model: 'fake/fake-model', autoupdate: false, share: 'disabled',
        provider: { fake: {
          npm: '@ai-sdk/openai-compatible',
          options: { baseURL: `${url}/v1`, apiKey: 'sk-canary-opencode-0123456789' },
          models: { 'fake-model': { limit: { context: 100_000, output: 10_000 } } },
        } },
      }),
    }),
  },
};

/** Where an agent's program is; undefined if it cannot be had. */
function install(name) {
  const { package: wanted, bin } = agents[name];
  const program = join(target, name, 'node_modules/.bin', bin);
  if (!existsSync(program)) {
    mkdirSync(join(target, name), { recursive: true });
    const args = ['install', '--prefix', join(target, name), '--no-fund', '--no-audit', '--loglevel=error', wanted];
    spawnSync('npm', args, { stdio: 'inherit', timeout: 180_000 });
  }
  return existsSync(program) ? program : undefined;
}

/** A model server whose mode is in a file. */
class Model {
  static async start(dir) {
    const model = new this();
    model.file = join(dir, 'mode');
    model.mode('ok');
    const program = join(root, 'target/debug/keel-fake-model');
    assert.ok(existsSync(program), `there is no ${program}: cargo build -p keel-agent`);
    model.child = spawn(program, ['--mode-file', model.file], { stdio: ['pipe', 'pipe', 'ignore'] });
    [model.url] = await once(createInterface({ input: model.child.stdout }), 'line');
    return model;
  }

  mode(line) {
    writeFileSync(this.file, `${line}\n`);
  }

  async counts() {
    return (await fetch(`${this.url}/counts`)).json();
  }

  async stop() {
    this.child.stdin.end();
    await once(this.child, 'exit');
  }
}

/** A server whose agents live in `home`s beneath its directory. */
class AgentServer extends Server {
  static async with(model, programs) {
    this.model = model;
    this.programs = programs;
    return this.start();
  }

  config() {
    const { model, programs } = this.constructor;
    const backends = Object.entries(programs).flatMap(([name, program]) => {
      const home = join(this.dir, `home-${name}`);
      const work = join(this.dir, `work-${name}`);
      mkdirSync(home, { recursive: true });
      mkdirSync(work, { recursive: true });
      agents[name].prepare?.(home); mkdirSync(join(home, ".codex"), { recursive: true }); for (const d of [".claude",".cache",".config",".local/share",".local/state"]) mkdirSync(join(home, d), { recursive: true });
      return [[name, model.url], [`${name}-nowhere`, 'http://127.0.0.1:9']].map(([backend, url]) => {
        const env = Object.entries(agents[name].env(url)).map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
        return `
[backends.${backend}]
kind = "acp"
preset = "${name}"
command = ${JSON.stringify(agents[name].command(program, url))}
home = "${home}"
cwd = "${work}"
permissions = { allow = ["execute", "read", "edit"] }
env = { ${env.join(', ')} }
clocks = { first_output_ms = 60000, idle_ms = ${idleMs} }
`;
      });
    });
    return super.config() + backends.join('');
  }

  async call(method, path, body) {
    const headers = { authorization: `Bearer ${this.token()}`, 'idempotency-key': crypto.randomUUID() };
    if (body) headers['content-type'] = 'application/json';
    const answer = await fetch(`${this.url}${path}`, { method, headers, body: body && JSON.stringify(body) });
    const text = await answer.text();
    assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${text}`);
    return text ? JSON.parse(text) : undefined;
  }

  /** Processes that this server's agents are, by what they run. */
  agents() {
    const marker = `HOME=${this.dir}/home-`;
    return readdirSync('/proc').filter((pid) => /^\d+$/.test(pid)).flatMap((pid) => {
      try {
        if (!readFileSync(`/proc/${pid}/environ`, 'utf8').includes(marker)) return [];
        return [{ pid: Number(pid), exe: readlinkSync(`/proc/${pid}/exe`) }];
      } catch {
        return [];
      }
    });
  }

  async nothingLeft(what) {
    for (const end = Date.now() + 10_000; this.agents().length; await sleep(50)) {
      assert.ok(Date.now() < end, `${what}: ${JSON.stringify(this.agents())}`);
    }
  }
}

/** One session, by HTTP. */
class Talk {
  static async open(server, backend) {
    const talk = new this();
    talk.server = server;
    const opened = await server.call('POST', '/v1/sessions', { backend });
    talk.id = opened.session;
    talk.after = 0;
    talk.events = [];
    return talk;
  }

  async say(text) {
    const { ok } = await this.server.call('POST', `/v1/sessions/${this.id}/commands`, { name: 'say', data: { text } });
    return ok.turn;
  }

  async read() {
    const page = await this.server.call('GET', `/v1/sessions/${this.id}/events?after=${this.after}&limit=2048`);
    this.after = page.next;
    this.events.push(...page.events);
  }

  /** Waits for an event that `wanted` likes. */
  async until(wanted, what) {
    const began = Date.now();
    for (let seen = 0; ; await sleep(50)) {
      await this.read();
      for (; seen < this.events.length; seen += 1) if (wanted(this.events[seen])) return this.events[seen];
      assert.ok(Date.now() - began < turnWithin, `${what} does not come: ${JSON.stringify(this.events.slice(-5))}\n${this.server.log().slice(-2000)}`);
    }
  }

  /** How a turn ended, with its text and how long it took. */
  async turn(text) {
    const began = Date.now();
    const turn = await this.say(text);
    return { turn, ...(await this.end(turn)), ms: Date.now() - began };
  }

  async end(turn) {
    const { data } = await this.until((event) => event.kind === 'turn.ended' && event.data.turn === turn, 'the end of a turn');
    const ends = this.events.filter((event) => event.kind === 'turn.ended' && event.data.turn === turn);
    assert.equal(ends.length, 1, 'one end a turn');
    let said = '';
    for (const { kind, data: told } of this.events) {
      if (told.turn !== turn) continue;
      if (kind === 'turn.started') said = '';
      if (kind === 'text') said += told.data;
    }
    return { ...data, said };
  }

  bound() {
    return this.events.filter((event) => event.kind === 'agent.bound').map((event) => event.data.id);
  }

  async close() {
    await this.server.call('POST', `/v1/sessions/${this.id}/end`, {});
  }
}

const told = (what, { outcome, end, fault, ms, said }) =>
  console.log(`  ${what}: ${outcome ?? end} ${fault ? `${fault.code} (${fault.detail?.cause ?? ''})` : ''} ${ms ?? '?'} ms, ${said?.length} bytes`);

const wanted = (process.env.AGENTS ?? Object.keys(agents).join(',')).split(',');

for (const name of wanted) {
  const program = install(name);
  if (!program) {
    console.error(`skipped{needs: npm, ${agents[name].package}}: the agent ${name}`);
    continue;
  }
  test(`${name} is driven through every failure, and leaves nothing`, { timeout: 900_000 }, async () => {
    mkdirSync(join(target, 'state', name), { recursive: true });
    const model = await Model.start(join(target, 'state', name));
    const server = await AgentServer.with(model, { [name]: program });
    try {
      await drive(name, server, model);
    } finally {
      const log = server.log();
      await server.stop();
      await model.stop();
      assert.ok(!log.includes('-canary-'), 'a key is in the log');
      await server.nothingLeft('after the server');
    }
  });
}

async function drive(name, server, model) {
  const state = (end) => end.outcome ?? end.end;
  let talk = await Talk.open(server, name);

  model.mode('ok text=one_two_three_');
  const first = await talk.turn('hello');
  told('a turn', first);
  assert.equal(state(first), 'done', JSON.stringify(first));
  assert.ok(first.said.includes('one two three'), first.said);
  assert.equal(talk.bound().length, 1);

  model.mode('hangmid');
  const hanging = await talk.say('say more');
  await talk.until((event) => ['text', 'item'].includes(event.kind) && event.data.turn === hanging, 'something').catch(() => {});
  await sleep(1_000);
  const before = Date.now();
  await server.call('POST', `/v1/sessions/${talk.id}/commands`, { name: 'turn.cancel', data: { turn: hanging } });
  const cancelled = { ...(await talk.end(hanging)), ms: Date.now() - before };
  told('cancelled', cancelled);
  assert.equal(state(cancelled), 'cancelled', JSON.stringify(cancelled));
  assert.ok(cancelled.ms < 9_000, `${cancelled.ms} ms`);

  model.mode('ok text=still_here_');
  const again = await talk.turn('and now');
  told('after the cancel', again);
  assert.equal(state(again), 'done', JSON.stringify(again));

  model.mode('hangmid');
  const doomed = await talk.say('one more');
  await sleep(3_000);
  const died = Date.now();
  for (const { pid } of server.agents()) process.kill(pid, 'SIGKILL');
  const killed = { ...(await talk.end(doomed)), ms: Date.now() - died };
  told('killed in mid-turn', killed);
  assert.equal(state(killed), 'failed', JSON.stringify(killed));
  assert.equal(killed.fault.code, 'provider_crashed');

  model.mode('ok text=back_again_');
  const resumed = await talk.turn('are you there');
  told('resumed', resumed);
  assert.equal(state(resumed), 'done', JSON.stringify(resumed));
  assert.ok(resumed.said.includes('back again'), resumed.said);
  const names = talk.bound();
  const notices = talk.events.filter((event) => event.kind === 'item' && event.data.data?.type === 'notice');
  console.log(`  names of the conversation: ${names.length}, notices: ${notices.map((it) => it.data.data.text)}`);
  await talk.close();
  await server.nothingLeft('after a session');

  for (const [what, mode] of [['cut off', 'cutfin'], ['rate limited', '429'], ['broken', '500']]) {
    talk = await Talk.open(server, name);
    model.mode(mode);
    const broken = await talk.turn('hello');
    told(what, broken);
    // An agent that makes up for it by itself is none the worse; else it is told with its cause.
    assert.ok(state(broken) === 'done' || (state(broken) === 'failed' && broken.fault?.code), JSON.stringify(broken));
    assert.ok(!JSON.stringify(talk.events).includes('-canary-'), 'a key is told');
    await talk.close();
    await server.nothingLeft(what);
  }

  talk = await Talk.open(server, `${name}-nowhere`);
  const nowhere = await talk.turn('hello');
  told('unreachable', nowhere);
  assert.ok(state(nowhere) === 'failed' || state(nowhere) === 'done', JSON.stringify(nowhere));
  assert.ok(!JSON.stringify(talk.events).includes('-canary-'), 'a key is told');
  await talk.close();
  await server.nothingLeft('unreachable');
}
