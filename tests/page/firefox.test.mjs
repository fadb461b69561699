// The playground in another browser: what is not Chromium's own way of doing things.

import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Firefox } from './firefox.mjs';
import { Relay } from './relay.mjs';
import { MediaServer, patience } from './server.mjs';

const executable = process.env.FIREFOX ?? '/usr/bin/firefox-esr';
/** Firefox gathers no candidate of loopback, whatever it is told: it takes an address of this machine. */
const address = Object.values(networkInterfaces()).flat().find(({ family, internal }) => family === 'IPv4' && !internal)?.address;
const needs = !existsSync(executable) ? 'needs: firefox-esr' : !address ? 'needs: an address that is not loopback' : false;
if (needs) console.error(`skipped{${needs}}: the page in Firefox`);
if (needs && process.env.CI) throw new Error(needs);

/** The server stays on loopback; a relay of the test stands for it at the machine's address. */
class RelayedServer extends MediaServer {
  async prepare() {
    this.relay = await Relay.start(this.mediaPort, address);
  }
}

async function until(tab, expression) {
  for (const end = Date.now() + 2 * patience; !(await tab.evaluate(`Boolean(${expression})`).catch(() => false)); await sleep(100)) {
    const seen = await tab.evaluate(`window.playground && { status: playground.model.status, log: playground.model.log }`).catch(String);
    assert.ok(Date.now() < end, `never: ${expression}: ${JSON.stringify(seen)}`);
  }
}

test('the_picture_comes_back_in_firefox_and_again_after_its_connection_was_cut', { skip: needs, timeout: 240_000 }, async () => {
  const server = await RelayedServer.start();
  let fox;
  try {
    fox = await Firefox.start(executable);
    const tab = await fox.open(server.link({ backend: 'passthrough' }));
    await until(tab, `window.playground?.stage?.returned?.returned.frames > 30`);
    const look = () => tab.evaluate(`(async () => {
      const { returned } = playground.stage.returned, stats = await playground.session.media.stats();
      return { number: returned.number, frames: returned.frames, unread: returned.unread, state: playground.model.status.state, stats };
    })()`);
    const before = await look();
    assert.ok(before.number > 0, JSON.stringify(before));
    await until(tab, `playground.model.status.state === 'live'`);
    await tab.evaluate(`void playground.session.simulate('drop_transport')`);
    await until(tab, `playground.model.counters.recovered >= 1 && playground.model.status.state === 'live'`);
    await until(tab, `playground.stage.returned.returned.frames > ${before.frames + 30}`);
    const after = await look();
    assert.ok(after.number > before.number, `${before.number}, then ${after.number}`);
    assert.ok(after.unread <= after.frames / 5, `${after.unread} of ${after.frames} could not be read`);
    assert.ok(after.stats.find(({ direction }) => direction === 'received').frames > 0, JSON.stringify(after.stats));
    await tab.evaluate(`document.getElementById('use-camera').click()`);
    await until(tab, `playground.stage.source === 'camera' && playground.stage.publication.track.readyState === 'live'`);
    await until(tab, `playground.stage.returned.returned.frames > ${after.frames + 60}`);
    if (process.env.SHOTS) writeFileSync(join(process.env.SHOTS, 'firefox.png'), await tab.shot());
    await tab.evaluate(`playground.leave().then(() => null)`);
    await until(tab, `playground.model.status.state === 'ended' && playground.peers.every(({ connectionState }) => connectionState === 'closed')`);
  } finally {
    await fox?.close();
    await server.stop();
  }
});
