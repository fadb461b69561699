// Firefox as Debian has it, over WebDriver BiDi: no driver between, and a WebSocket client that speaks
// just enough of RFC 6455 for it (text, whole or in parts, from one peer that is trusted).

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PREFS = {
  'media.navigator.streams.fake': true, // a camera that is none
  'media.navigator.permission.disabled': true,
  'media.peerconnection.ice.obfuscate_host_addresses': false,
  'media.autoplay.default': 0,
  'media.gmp-manager.updateEnabled': false,
  'remote.active-protocols': 1,
  'app.update.enabled': false,
  'browser.shell.checkDefaultBrowser': false,
  'browser.safebrowsing.update.enabled': false,
  'datareporting.policy.dataSubmissionEnabled': false,
  'toolkit.telemetry.server': '',
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
};
/** How long the browser may take to begin, and to answer. */
const PATIENCE_MS = 60_000;

const within = (promise, what) => {
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error(`${what}: nothing within ${PATIENCE_MS} ms`)), PATIENCE_MS)));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
};

/** A WebSocket to a peer on this machine. */
async function dial(url, hear) {
  const { hostname, port, pathname } = new URL(url);
  const headers = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': randomBytes(16).toString('base64') };
  const asked = request({ hostname, port, path: pathname, headers }).end();
  const [, socket, head] = await within(once(asked, 'upgrade'), url);
  let bytes = head, parts = [];
  const take = (data) => {
    bytes = Buffer.concat([bytes, data]);
    for (;;) {
      if (bytes.length < 2) return;
      const short = bytes[1] & 127, begin = short === 127 ? 10 : short === 126 ? 4 : 2;
      if (bytes.length < begin) return;
      const length = short === 127 ? Number(bytes.readBigUInt64BE(2)) : short === 126 ? bytes.readUInt16BE(2) : short;
      if (bytes.length < begin + length) return;
      const [isLast, kind, data] = [bytes[0] & 128, bytes[0] & 15, bytes.subarray(begin, begin + length)];
      bytes = bytes.subarray(begin + length);
      if (kind > 2) continue;
      parts.push(data);
      if (isLast) hear(Buffer.concat(parts.splice(0)).toString());
    }
  };
  socket.on('data', take).on('error', () => {});
  take(Buffer.alloc(0));
  return {
    send(text) {
      const data = Buffer.from(text), mask = randomBytes(4);
      const head = data.length < 126 ? Buffer.from([129, 128 | data.length]) : data.length < 65_536 ? Buffer.from([129, 254, 0, 0]) : Buffer.from([129, 255, 0, 0, 0, 0, 0, 0, 0, 0]);
      if (head.length === 4) head.writeUInt16BE(data.length, 2);
      if (head.length === 10) head.writeBigUInt64BE(BigInt(data.length), 2);
      socket.write(Buffer.concat([head, mask, data.map((byte, at) => byte ^ mask[at & 3])]));
    },
    close: () => socket.destroy(),
  };
}

export class Firefox {
  #calls = new Map();
  #last = 0;

  static async start(executable) {
    const fox = new Firefox();
    fox.profile = mkdtempSync(join(tmpdir(), 'evenkeel-firefox-'));
    writeFileSync(join(fox.profile, 'user.js'), Object.entries(PREFS).map(([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});\n`).join(''));
    const env = { ...process.env, HOME: fox.profile, MOZ_CRASHREPORTER_DISABLE: '1' };
    fox.child = spawn(executable, ['--headless', '--no-remote', '--remote-debugging-port', '0', '--profile', fox.profile, 'about:blank'], { stdio: ['ignore', 'ignore', 'pipe'], env });
    fox.gone = once(fox.child, 'exit');
    const listens = new Promise((found, lost) => {
      let said = '';
      fox.child.stderr.setEncoding('utf8').on('data', (text) => {
        said = (said + text).slice(-20_000);
        const url = /WebDriver BiDi listening on (ws:\S+)/.exec(said)?.[1];
        if (url) found(url);
      });
      fox.gone.then(() => lost(new Error(`firefox is gone:\n${said}`)));
    });
    try {
      const url = await within(listens, 'firefox');
      fox.socket = await dial(`${url}/session`, (text) => fox.#hear(JSON.parse(text)));
      await fox.send('session.new', { capabilities: {} });
      return fox;
    } catch (error) {
      await fox.close();
      throw error;
    }
  }

  #hear({ id, type, result, error, message }) {
    const call = this.#calls.get(id);
    this.#calls.delete(id);
    if (type === 'error') call?.reject(new Error(`${error}: ${message}`));
    else call?.resolve(result);
  }

  send(method, params) {
    const id = (this.#last += 1);
    const answer = new Promise((resolve, reject) => this.#calls.set(id, { resolve, reject }));
    this.socket.send(JSON.stringify({ id, method, params }));
    return within(answer, method);
  }

  async open(url) {
    const { context } = await this.send('browsingContext.create', { type: 'tab' });
    await this.send('browsingContext.navigate', { context, url, wait: 'complete' });
    return {
      /** What an expression is, as JSON has it. */
      evaluate: async (expression) => {
        const text = `(async () => JSON.stringify(await (${expression})))()`;
        const { type, result, exceptionDetails } = await this.send('script.evaluate', { expression: text, target: { context }, awaitPromise: true });
        if (type !== 'success') throw new Error(exceptionDetails.text);
        return result.value === undefined ? undefined : JSON.parse(result.value);
      },
      shot: async () => Buffer.from((await this.send('browsingContext.captureScreenshot', { context })).data, 'base64'),
    };
  }

  async close() {
    this.socket?.close();
    this.child.kill('SIGTERM');
    const late = setTimeout(() => this.child.kill('SIGKILL'), 5_000);
    await this.gone;
    clearTimeout(late);
    rmSync(this.profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
}
