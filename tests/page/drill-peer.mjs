// A client of the drill in a real Chromium: it is told what to do by lines on standard input, and
// writes what it sees as lines of a ledger on standard output (`crates/keel-drill/src/ledger.rs`).
//
// It publishes pictures with a number in each, and reads the numbers of those that it is shown. Everything
// goes through the network that is drilled.

import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';
import { page } from './drill-page.mjs';
import { flags } from './tabs.mjs';

const media = ['--headless=new', '--allow-loopback-in-peer-connection', '--autoplay-policy=no-user-gesture-required'];
const options = Object.fromEntries(process.argv.slice(2).map((arg) => arg.split(/=(.*)/s)).map(([name, value]) => [name.replace(/^--/, ''), value]));
const { url, session, role = 'owner', backend = 'passthrough', publish = 'yes', simulcast = 'no', policy } = options;
const tell = (line) => process.stdout.write(`${JSON.stringify({ t: Date.now(), ...line })}\n`);

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: [...flags, ...media] });
let leaving = false;
async function leave(code) {
  if (leaving) return;
  leaving = true;
  await browser.close().catch(() => {});
  process.exit(code);
}
browser.on('disconnected', () => leave(1));
process.on('SIGTERM', () => leave(0));

const tab = await (await browser.newContext()).newPage();
tab.on('pageerror', (error) => tell({ is: 'note', text: `error: ${error}` }));
await tab.exposeBinding('tell', (_, line) => tell(line));
// The SDK as it is shipped stands beside the server's own documents.
const modules = resolve(import.meta.dirname, '../../js/sdk/src');
await tab.route('**/sdk/**', (route) => route.fulfill({ contentType: 'text/javascript', path: join(modules, new URL(route.request().url()).pathname.slice('/sdk/'.length)) }));
// Any document of the server will do: one that did not come from this host may not talk to it.
await tab.goto(new URL('/healthz', url.replace(/^ws/, 'http')).href);
await tab.evaluate(page, { url, token: process.env.EVENKEEL_TOKEN, session: session || undefined, role, backend, publishes: publish === 'yes', simulcast: simulcast === 'yes', policy });

for await (const line of createInterface({ input: process.stdin })) {
  const [verb, ...words] = line.split(' ');
  await tab.evaluate(([verb, words]) => window.drill[verb](...words), [verb, words]).catch((error) => tell({ is: 'note', text: `${verb}: ${error}` }));
}
await leave(0);
