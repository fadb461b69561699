// What the tests of the page share: a server, a browser, tabs whose console stays clean.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { patience } from './server.mjs';
import { flags } from './tabs.mjs';

export const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
export const needs = existsSync(executablePath) ? false : 'needs: chromium';
if (needs && process.env.CI) throw new Error(`${executablePath} is not there`);

/** What Chromium needs to have a camera and to reach this machine. */
export const mediaFlags = [
  '--allow-loopback-in-peer-connection', '--use-fake-ui-for-media-stream',
  '--use-fake-device-for-media-stream=device-count=1,fps=30',
];

/** The browser's own words about a connection that a test has broken. */
export const broken = /^WebSocket connection to 'ws:.*' failed/;
export const offline = /net::ERR_INTERNET_DISCONNECTED|net::ERR_CONNECTION_REFUSED|net::ERR_CONNECTION_RESET|net::ERR_EMPTY_RESPONSE/;
/** The browser's word about an answer that is a refusal. */
export const refused = /status of 40[0-9]/;

/** A server and a browser for every test of a file. */
export function rig(Kind, more = []) {
  const rig = { server: undefined, browser: undefined, fromDisk };
  before(async () => {
    if (needs) return;
    rig.server = await Kind.start();
    rig.browser = await chromium.launch({ executablePath, args: [...flags, ...more, ...diskFlags] });
  });
  after(async () => {
    await rig.browser?.close();
    await rig.server?.stop();
  });
  /** A browser context of somebody else, who is not at the same screen. */
  rig.guest = async () => {
    const context = await rig.browser.newContext();
    await fromDisk(context);
    return context;
  };
  /** A test with a browser context of its own, whose console stays clean but for `allowed`. */
  rig.page = (name, allowed, run, options = {}) => test(name, { skip: needs, timeout: 180_000 }, async () => {
    const context = await rig.browser.newContext(options);
    await fromDisk(context);
    const errors = watched(context);
    try {
      await run(context, rig.server);
      assert.deepEqual(errors.filter((text) => !allowed.some((pattern) => pattern.test(text))), []);
    } finally {
      await context.close();
    }
  });
  return rig;
}

export const isFromDisk = process.env.EVENKEEL_PAGE === 'disk';
/** Chromium does not know that what a test answers in the server's place came from this machine. */
export const diskFlags = isFromDisk ? ['--disable-features=LocalNetworkAccessChecks'] : [];

/**
 * Whoever works on the page needs no build for each change: with `EVENKEEL_PAGE=disk` its files, and the
 * SDK's, are those of the tree and not those in the binary. The headers stay the server's.
 */
export async function fromDisk(context) {
  if (!isFromDisk) return;
  const root = resolve(import.meta.dirname, '../..');
  const fileOf = (path) => (path === '/' ? 'crates/keel-server/page/index.html' : path.replace('/page/', 'crates/keel-server/page/').replace('/sdk/', 'js/sdk/src/'));
  await context.route(/^[^?#]*\/(page\/.*|sdk\/.*)?$/, async (route) => {
    const { pathname } = new URL(route.request().url()), file = join(root, fileOf(pathname));
    if (!existsSync(file)) return route.continue();
    const kind = { js: 'text/javascript', css: 'text/css', svg: 'image/svg+xml' }[file.split('.').at(-1)] ?? 'text/html';
    const from = await route.fetch({ url: new URL('/', route.request().url()).href });
    await route.fulfill({ status: 200, headers: { ...from.headers(), 'content-type': kind }, body: readFileSync(file) });
  });
}

/** Everything that a context's console calls an error. */
export function watched(context) {
  const errors = [];
  context.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
  context.on('weberror', (error) => errors.push(String(error.error())));
  return errors;
}

/** A new tab; `sockets` counts its WebSockets, each a dial. */
export async function open(context, link) {
  const tab = await context.newPage();
  tab.sockets = 0;
  tab.on('websocket', () => (tab.sockets += 1));
  for (const act of ['click', 'press', 'check', 'uncheck', 'selectOption']) {
    const does = tab[act].bind(tab);
    tab[act] = async (...args) => (await does(...args), await drawn(tab));
  }
  await tab.goto(link);
  return tab;
}

/**
 * When the page shows what it knows by now: it draws once a frame, so that what an act or a message changed
 * may stand in its model and not yet on the screen. An act may also lead away from the page.
 */
export async function drawn(tab) {
  await tab.evaluate(() => new Promise((done) => {
    if (document.hidden) setTimeout(done);
    else requestAnimationFrame(() => requestAnimationFrame(done));
  })).catch((error) => {
    if (!/context was destroyed|navigat|has been closed/.test(error.message)) throw error;
  });
}

export async function until(tab, what, arg, timeout = patience) {
  // The driver takes the promise itself for what is waited for.
  assert.notEqual(what.constructor.name, 'AsyncFunction', 'what is waited for is looked at, not awaited: `eventually` awaits');
  const handle = await tab.waitForFunction(what, arg, { timeout });
  await drawn(tab);
  return handle;
}
/** Presses a button that breaks something, as soon as it can be pressed; when, for a driver takes its time to do so. */
export async function breaks(tab, set, name) {
  const find = ([set, name]) => [...document.querySelectorAll(`${set} button:enabled`)].find(({ textContent }) => textContent === name);
  const button = await until(tab, find, [set, name]);
  return button.evaluate((button) => {
    const at = Date.now();
    button.click();
    return at;
  });
}
/** The same of what has to be asked for. */
export async function eventually(tab, what, arg) {
  for (const end = Date.now() + patience; !await tab.evaluate(what, arg); await drawn(tab)) assert.ok(Date.now() < end, `never: ${what}`);
}
export const inState = (tab, state) => until(tab, (state) => window.playground?.model.status.state === state && document.getElementById('state')?.textContent === state, state);
export const live = (tab) => inState(tab, 'live');

export async function shot(tab, name) {
  if (process.env.SHOTS) await tab.screenshot({ path: join(process.env.SHOTS, `${name}.png`) });
}

/** Runs in the browser: the texts whose contrast is below 4.5. */
export function contrasts() {
  const parse = (colour) => (colour.match(/[\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)).reduce((sum, c, n) => sum + c * [0.2126, 0.7152, 0.0722][n], 0);
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const [r, g, b, thick = 1] = parse(getComputedStyle(at).backgroundColor);
      // Whatever a picture shows under what lets it through: white is the worst.
      if (r !== undefined && thick > 0.5) return [r, g, b].map((c) => c * thick + 255 * (1 - thick));
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const node of document.querySelectorAll('main *, header *')) {
    const says = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    if (!says || !node.offsetParent || node.disabled || node.closest('.hidden, :disabled')) continue;
    const [one, two] = [light(parse(getComputedStyle(node).color)), light(behind(node))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (two + 0.05);
    if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${node.tagName} ${node.className} ${node.textContent.slice(0, 30)}`);
  }
  return found;
}
