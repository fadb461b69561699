// Chromium without a driver between: tabs of one window, so that one of them is really hidden.
//
// A driver that emulates focus keeps every page visible; here nothing but the browser's own pipe is
// used, and the browser throttles a hidden tab's timers as it does for people.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage'];

export class Tabs {
  /** Timers of a tab that was hidden for `intensiveAfterS` seconds run once a minute. */
  constructor(executable, intensiveAfterS, media = []) {
    this.profile = mkdtempSync(join(tmpdir(), 'evenkeel-tabs-'));
    const more = ['--headless=new', '--remote-debugging-pipe', `--user-data-dir=${this.profile}`, `--enable-features=IntensiveWakeUpThrottling:grace_period_seconds/${intensiveAfterS}`];
    this.child = spawn(executable, [...flags, ...more, ...media, 'about:blank'], { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
    this.gone = once(this.child, 'exit');
    this.calls = new Map();
    this.errors = [];
    let text = '';
    this.child.stdio[4].setEncoding('utf8').on('data', (data) => {
      const messages = (text + data).split('\0');
      text = messages.pop();
      for (const message of messages) this.hear(JSON.parse(message));
    });
    this.child.stdio[3].on('error', () => {});
  }

  hear({ id, result, error, method, params }) {
    if (method === 'Runtime.exceptionThrown') this.errors.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
    if (method === 'Log.entryAdded' && params.entry.level === 'error') this.errors.push(params.entry.text);
    const call = this.calls.get(id);
    this.calls.delete(id);
    if (error) call?.reject(new Error(error.message));
    else call?.resolve(result);
  }

  send(method, params = {}, sessionId = undefined) {
    const id = (this.last = (this.last ?? 0) + 1);
    this.child.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    return new Promise((resolve, reject) => this.calls.set(id, { resolve, reject }));
  }

  /** A new tab, in front of the others. */
  async open(url) {
    const { targetId } = await this.send('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await this.send('Target.attachToTarget', { targetId, flatten: true });
    const send = (method, params) => this.send(method, params, sessionId);
    await Promise.all(['Runtime.enable', 'Log.enable', 'Page.enable'].map((method) => send(method)));
    await send('Page.navigate', { url });
    return {
      front: () => this.send('Target.activateTarget', { targetId }),
      lifecycle: (state) => send('Page.setWebLifecycleState', { state }),
      evaluate: async (text) => {
        const { result, exceptionDetails } = await send('Runtime.evaluate', { expression: text, returnByValue: true, awaitPromise: true });
        if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
        return result.value;
      },
    };
  }

  async close() {
    const late = setTimeout(() => this.child.kill('SIGKILL'), 5_000);
    this.send('Browser.close').catch(() => {}); // its children go with it, and let go of the profile
    await this.gone;
    clearTimeout(late);
    rmSync(this.profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
}
