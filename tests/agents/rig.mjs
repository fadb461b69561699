// What agents are driven with: a model whose behaviour is in a file, a server whose agents live in
// homes of their own, and sessions that are followed as they grow.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, readdirSync, readlinkSync, realpathSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

import { Server } from '../page/server.mjs';
import { agents } from './known.mjs';

const root = resolve(import.meta.dirname, '../..');
export const target = join(root, 'target/agents');
const turnWithin = 120_000; // some agents need half a minute for their first word, on a loaded machine

/** Where an agent's program is, installed by npm where it is not there; undefined if it cannot be had. */
export function install(name) {
  const { package: wanted, bin } = agents[name];
  const program = join(target, name, 'node_modules/.bin', bin);
  if (!existsSync(program)) {
    mkdirSync(join(target, name), { recursive: true });
    const args = ['install', '--prefix', join(target, name), '--no-fund', '--no-audit', '--loglevel=error', wanted];
    spawnSync('npm', args, { stdio: 'inherit', timeout: 180_000 });
  }
  return existsSync(program) ? program : undefined;
}

/** What the package that a program is of says is its version. */
export function versionOf(program) {
  for (let dir = dirname(realpathSync(program)); dir !== '/'; dir = dirname(dir)) {
    if (existsSync(join(dir, 'package.json'))) return JSON.parse(readFileSync(join(dir, 'package.json'), 'utf8')).version;
  }
  return '?';
}

/** A model server whose mode is in a file. */
export class Model {
  static async start(dir) {
    const model = new this();
    model.file = join(dir, 'mode');
    model.mode('ok');
    const program = join(root, 'target/debug/keel-fake-model');
    assert.ok(existsSync(program), `there is no ${program}: cargo build -p keel-agent`);
    model.child = spawn(program, ['--mode-file', model.file], { stdio: ['pipe', 'pipe', 'ignore'] });
    model.gone = once(model.child, 'exit');
    [model.url] = await once(createInterface({ input: model.child.stdout }), 'line');
    return model;
  }

  mode(line) {
    writeFileSync(this.file, `${line}\n`);
  }

  /** The last requests that it got. */
  async seen() {
    return (await fetch(`${this.url}/seen`)).text();
  }

  async forget() {
    await fetch(`${this.url}/reset`, { method: 'POST' });
  }

  async stop() {
    assert.deepEqual([this.child.exitCode, this.child.signalCode], [null, null], 'the model has died');
    this.child.stdin.end();
    await this.gone;
  }
}

/** A server with three backends an agent: one that may use its tools, one that asks, one whose model is nowhere. */
export class AgentServer extends Server {
  static async with(model, programs) {
    this.model = model;
    this.programs = programs;
    return this.start();
  }

  config() {
    const { model, programs } = this.constructor;
    const backends = Object.entries(programs).flatMap(([name, program]) => {
      const agent = agents[name];
      const home = join(this.dir, `home-${name}`);
      mkdirSync(home, { recursive: true });
      mkdirSync(this.work(name), { recursive: true });
      agent.prepare?.(home);
      const allow = '{ allow = ["execute", "read", "edit"] }';
      return [[name, model.url, allow], [`${name}-asks`, model.url, '"ask"'], [`${name}-nowhere`, 'http://127.0.0.1:9', allow]]
        .map(([backend, url, permissions]) => {
          const env = Object.entries(agent.env(url)).map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
          return `
[backends.${backend}]
kind = "acp"
preset = "${name}"
command = ${JSON.stringify(agent.command(program, url))}
home = "${home}"
cwd = "${this.work(name)}"
permissions = ${permissions}
modes = ["${agent.chosen.mode}"]
models = ["${agent.chosen.model}"]
env = { ${env.join(', ')} }
clocks = { first_output_ms = 60000, idle_ms = ${agent.idleMs} }
`;
        });
    });
    return super.config() + backends.join('');
  }

  /** Where an agent works. */
  work(name) {
    return join(this.dir, `work-${name}`);
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

  /** Kills all of them; when the last was dead. */
  async killAgents() {
    const found = this.agents();
    assert.ok(found.length, 'there is no agent to kill');
    for (const { pid } of found) process.kill(pid, 'SIGKILL');
    for (; this.agents().length; await sleep(1));
    return performance.now();
  }

  async nothingLeft(what) {
    await this.noneOf(undefined, what);
  }

  /** Waits until none of these processes, or none at all, is left. */
  async noneOf(pids, what) {
    const left = () => this.agents().filter(({ pid }) => !pids || pids.includes(pid));
    for (const end = Date.now() + 10_000; left().length; await sleep(20)) {
      assert.ok(Date.now() < end, `${what}: ${JSON.stringify(left())}`);
    }
  }

  /** Ends all that follows its sessions. */
  unfollow() {
    this.talks?.forEach((talk) => talk.closed.abort());
  }
}

/** One session, followed by a stream of its events: each with when it was heard of. */
export class Talk {
  static async open(server, backend) {
    const talk = new this();
    talk.server = server;
    const opened = await server.call('POST', '/v1/sessions', { backend });
    Object.assign(talk, { id: opened.session, after: '0', events: [], wake: new Set(), closed: new AbortController() });
    talk.following = talk.follow();
    (server.talks ??= []).push(talk);
    return talk;
  }

  /** Hears of everything, from one server and the next one at its place. */
  async follow() {
    const { signal } = this.closed;
    while (!signal.aborted) {
      const headers = { authorization: `Bearer ${this.server.token()}`, accept: 'text/event-stream' };
      try {
        const answer = await fetch(`${this.server.url}/v1/sessions/${this.id}/events?after=${this.after}`, { headers, signal });
        let text = '';
        for await (const chunk of answer.body.pipeThrough(new TextDecoderStream())) {
          const frames = (text + chunk).split('\n\n');
          text = frames.pop();
          frames.forEach((frame) => this.hear(frame));
        }
      } catch (error) {
        // The server is gone, or the talk is over; or something is missing.
        if (error instanceof assert.AssertionError) return void (this.broken = error);
      }
      await sleep(20);
    }
  }

  hear(frame) {
    const field = (name) => frame.split('\n').find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
    if (!field('data')) return;
    assert.equal(field('event'), undefined, `nothing is missing: ${frame}`);
    this.after = field('id');
    this.events.push({ ...JSON.parse(field('data')), heardAt: performance.now() });
    for (const wake of this.wake) wake();
  }

  command(name, data) {
    return this.server.call('POST', `/v1/sessions/${this.id}/commands`, { name, data });
  }

  async say(text) {
    return (await this.command('say', { text })).ok.turn;
  }

  /** The first event that `wanted` likes, by now or later. */
  async until(wanted, what) {
    for (let seen = 0, end = Date.now() + turnWithin; ;) {
      for (; seen < this.events.length; seen += 1) if (wanted(this.events[seen])) return this.events[seen];
      let wake;
      const woken = new Promise((done) => { wake = done; });
      const timer = setTimeout(wake, end - Date.now());
      this.wake.add(wake);
      await woken;
      this.wake.delete(wake);
      clearTimeout(timer);
      if (this.broken) throw this.broken;
      assert.ok(Date.now() < end, `${what} does not come: ${JSON.stringify(this.events.slice(-5))}\n${this.server.log().slice(-2000)}`);
    }
  }

  /** Of a turn, an event of one of these kinds. */
  of(turn, ...kinds) {
    return this.until((event) => kinds.includes(event.kind) && event.data.turn === turn, `${kinds} of ${turn}`);
  }

  /** A turn's answer has begun: what the model says is in it. */
  saying(turn, words) {
    return this.until(() => this.said(turn).includes(words), `${words} of ${turn}`);
  }

  /** What stands of a turn's text: a piece may come again, as part of a larger one. */
  said(turn) {
    let [said, attempt] = [Buffer.alloc(0), 0];
    for (const { kind, data } of this.events) {
      if (kind !== 'text' || data.turn !== turn) continue;
      if (data.attempt !== attempt) [said, attempt] = [Buffer.alloc(0), data.attempt];
      assert.ok(data.at_byte <= said.length, 'a piece is missing');
      said = Buffer.concat([said.subarray(0, data.at_byte), Buffer.from(data.data)]);
    }
    return said.toString();
  }

  /** A turn, from what is said to how it ended. */
  async turn(text) {
    const began = performance.now();
    const ended = await this.end(await this.say(text));
    return { ...ended, ms: Math.round(ended.at - began) };
  }

  async end(turn) {
    const ended = await this.of(turn, 'turn.ended');
    const ends = this.events.filter((event) => event.kind === 'turn.ended' && event.data.turn === turn);
    assert.equal(ends.length, 1, 'one end a turn');
    const { outcome, end, ...more } = ended.data;
    return { ...more, state: outcome ?? end, said: this.said(turn), at: ended.heardAt };
  }

  /** The names that the agent had for the conversation. */
  bound() {
    return this.events.filter((event) => event.kind === 'agent.bound').map((event) => event.data.id);
  }

  notices() {
    return this.events.filter((event) => event.kind === 'item' && event.data.data?.type === 'notice').map((event) => event.data.data.text);
  }

  async close() {
    await this.server.call('POST', `/v1/sessions/${this.id}/end`, {});
    this.closed.abort();
    await this.following;
  }
}
