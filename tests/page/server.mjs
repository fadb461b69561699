// The real server, in a folder of its own, and what the tests must know without asking it: tokens,
// and the words that its echo backend says.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHmac, randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const root = resolve(import.meta.dirname, '../..');
export const binary = resolve(process.env.EVENKEEL_BIN ?? join(root, 'target/debug/evenkeel'));
export const patience = 20_000; // longer than anything here may take on a loaded machine

async function freePort() {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  probe.close();
  await once(probe, 'close');
  return port;
}

/** One for media, which goes by UDP, too; another one than `taken`. */
async function freeMediaPort(taken) {
  for (;;) {
    const port = await freePort(), probe = createSocket('udp4');
    const isFree = await once(probe.bind(port, '127.0.0.1'), 'listening').then(() => true, () => false);
    probe.close();
    if (isFree && port !== taken) return port;
  }
}

export class Server {
  static async start({ origins = [] } = {}) {
    assert.ok(existsSync(binary), `there is no ${binary}: build it, or set EVENKEEL_BIN`);
    const server = new this();
    server.origins = origins;
    server.dir = mkdtempSync(join(tmpdir(), 'evenkeel-page-'));
    server.secret = randomBytes(32);
    server.port = await freePort();
    server.mediaPort = await freeMediaPort(server.port);
    server.url = `http://127.0.0.1:${server.port}`;
    await server.prepare();
    writeFileSync(join(server.dir, 'key'), server.secret.toString('hex'), { mode: 0o600 });
    writeFileSync(join(server.dir, 'evenkeel.toml'), server.config());
    await server.run();
    return server;
  }

  /** What a kind of server needs before it is configured. */
  async prepare() {}

  config() {
    return `
[server]
listen = "127.0.0.1:${this.port}"
playground = true
allowed_origins = ${JSON.stringify(this.origins)}
[store]
path = "${this.dir}/data"
[session]
default_backend = "echo"
[faults]
enabled = true
[[auth.keys]]
kid = "page"
alg = "HS256"
file = "${this.dir}/key"
[backends.echo]
kind = "echo"
[backends.narrow]
kind = "echo"
capacity = { kind = "session", slots = 1, queue = 4 }
`;
  }

  async run() {
    const log = openSync(join(this.dir, 'server.log'), 'a');
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('EVENKEEL_')));
    this.child = spawn(binary, ['serve', '--config', join(this.dir, 'evenkeel.toml')], { stdio: ['ignore', log, log], cwd: this.dir, env });
    this.gone = once(this.child, 'exit');
    for (const end = Date.now() + patience; ; await sleep(50)) {
      if (await fetch(`${this.url}/healthz`).then((answer) => answer.ok, () => false)) return;
      assert.ok(this.child.exitCode === null && Date.now() < end, `the server does not answer:\n${this.log()}`);
    }
  }

  log() {
    return readFileSync(join(this.dir, 'server.log'), 'utf8');
  }

  /** As a crash: nothing is said, nothing is flushed. */
  async kill() {
    this.child.kill('SIGKILL');
    await this.gone;
  }

  async stop() {
    await this.kill();
    if (!process.env.KEEP) rmSync(this.dir, { recursive: true, force: true });
  }

  token(subject = 'ann', more = {}) {
    const text = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const claims = { sub: subject, aud: 'evenkeel', role: 'owner', faults: true, exp: Math.floor(Date.now() / 1000) + 3600, ...more };
    const head = `${text({ alg: 'HS256', typ: 'JWT', kid: 'page' })}.${text(claims)}`;
    return `${head}.${createHmac('sha256', this.secret).update(head).digest('base64url')}`;
  }

  link(more = {}) {
    return `${this.url}/#${new URLSearchParams({ token: this.token(), ...more })}`;
  }

  /** What the server's journal says of a session. */
  async journal(session) {
    const headers = { authorization: `Bearer ${this.token()}` };
    return (await fetch(`${this.url}/v1/sessions/${session}/journal`, { headers })).text();
  }
}

/** A server with a plane for media, at a port of its own; reached over its `relay`, if it has one. */
export class MediaServer extends Server {
  config() {
    return `${super.config()}
[backends.passthrough]
kind = "passthrough"
[backends.room]
kind = "room"
[media]
listen = "127.0.0.1:${this.mediaPort}"
${this.relay ? `advertise = "${this.relay.address}:${this.relay.port}"` : ''}
`;
  }

  async stop() {
    await super.stop();
    this.relay?.close();
  }
}

/** The words of `!count=… seed=…`, made here from SplitMix64: eight bytes each, with their blank. */
export function words(count, seed = 0n) {
  const mask = (1n << 64n) - 1n;
  let state = BigInt(seed), text = '';
  for (let at = 0; at < count; at += 1) {
    state = (state + 0x9e3779b97f4a7c15n) & mask;
    let bits = state;
    bits = ((bits ^ (bits >> 30n)) * 0xbf58476d1ce4e5b9n) & mask;
    bits = ((bits ^ (bits >> 27n)) * 0x94d049bb133111ebn) & mask;
    bits ^= bits >> 31n;
    for (let place = 0n; place < 7n; place += 1n) text += String.fromCharCode(97 + Number((bits >> (8n * place)) & 0xffn) % 26);
    text += ' ';
  }
  return text;
}
