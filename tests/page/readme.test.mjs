// Whoever reads the READMEs can run what they read: the SDK is packed and installed as a stranger would, and each
// of their pieces of JavaScript and HTML runs against a real server, in Node or in Chromium.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { diskFlags, mediaFlags, needs as needsBrowser, rig, until } from './playground.mjs';
import { MediaServer } from './server.mjs';

const root = resolve(import.meta.dirname, '../..');
const sdk = join(root, 'js/sdk');
const needs = existsSync(join(sdk, 'node_modules/esbuild')) ? needsBrowser : 'needs: npm ci in js/sdk';
if (needs) console.error(`skipped{${needs}}: the READMEs`);
if (needs && process.env.CI) throw new Error(needs);

/** What stands between fences, by its language. */
const pieces = (file) => [...readFileSync(file, 'utf8').matchAll(/^```(\w+)\n([^]*?)^```$/gm)].map(([, language, text]) => ({ language, text }));
const own = pieces(join(sdk, 'README.md')), main = pieces(join(root, 'README.md'));
/** The one piece in which something stands. */
function piece(all, language, mark) {
  const found = all.filter((one) => one.language === language && one.text.includes(mark));
  assert.equal(found.length, 1, `${found.length} pieces of ${language} with ${mark}`);
  return found[0].text;
}

/** A text with something else in one place. */
function put(text, from, to) {
  assert.ok(text.includes(from), `there is no ${from} in ${text}`);
  return text.replace(from, to);
}

/** The backends that the READMEs speak of. */
class Told extends MediaServer {
  config() {
    return `${super.config()}[backends.agent]\nkind = "echo"\n`;
  }
}

describe('the READMEs', { skip: needs }, () => {
  const shared = rig(Told, [...mediaFlags, '--disable-features=LocalNetworkAccessChecks', ...diskFlags]);
  const { page } = shared;
  let home;
  before(() => {
    if (needs) return;
    home = mkdtempSync(join(tmpdir(), 'evenkeel-readme-'));
    const npm = (args, cwd) => execFileSync('npm', args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
    npm(['pack', '--pack-destination', home], sdk);
    mkdirSync(join(home, 'app'));
    npm(['init', '-y'], join(home, 'app'));
    npm(['install', '--offline', '--no-audit', '--no-fund', '../evenkeel-client-0.1.0.tgz'], join(home, 'app'));
  });
  after(() => home && rmSync(home, { recursive: true, force: true }));

  const ws = () => shared.server.url.replace('http', 'ws');
  /** Runs a module in the stranger's folder, and gives back what it prints. */
  function run(name, text, env = {}) {
    const file = join(home, 'app', name), flags = typeof WebSocket === 'function' ? [] : ['--experimental-websocket', '--no-warnings'];
    writeFileSync(file, text);
    return execFileSync(process.execPath, [...flags, file], { cwd: join(home, 'app'), encoding: 'utf8', timeout: 30_000, env: { ...process.env, ...env } });
  }

  /** What a browser asks the server's origin for, in its place: pages of the test, the package, a token. */
  async function serve(context, pages) {
    await context.route(`${shared.server.url}/**`, async (route) => {
      const { pathname } = new URL(route.request().url());
      if (pathname === '/token') return route.fulfill({ body: shared.server.token() });
      if (pages[pathname]) return route.fulfill({ contentType: 'text/html', body: pages[pathname] });
      if (!pathname.startsWith('/@evenkeel/')) return route.fulfill({ status: 204 });
      return route.fulfill({ contentType: 'text/javascript', body: readFileSync(join(home, 'app/node_modules', pathname)) });
    });
  }

  test('every_piece_of_code_is_run_here', () => {
    const code = [...own, ...main].filter(({ language }) => ['js', 'html', 'ts', 'mjs'].includes(language));
    assert.equal(code.length, 6, 'whoever adds one runs it here, too');
    const { scripts } = JSON.parse(readFileSync(join(sdk, 'package.json'), 'utf8'));
    for (const [, name] of own.filter(({ language }) => language === 'sh').map(({ text }) => text).join('').matchAll(/npm (?:run )?(test|[a-z]+:[a-z]+|check|codes|size)\b/g)) assert.ok(scripts[name], `npm run ${name}`);
  });

  test('a_program_of_node_says_something_and_prints_the_answer', () => {
    const text = put(piece(own, 'js', 'process.env.TOKEN'), 'ws://127.0.0.1:7080', ws());
    assert.equal(run('chat.mjs', text, { TOKEN: shared.server.token() }), 'Hello, world');
  });

  test('the_core_connects_with_the_parts_that_it_is_given', () => {
    const prelude = `const url = '${ws()}', token = '${shared.server.token()}';\n`, end = `
      const receipt = await session.command('params.set', { patch: { a: 1 } });
      console.log(session.status.state, receipt.version, session.snapshot.params.a, 'events' in session && typeof session.events);
      await session.detach();`;
    assert.match(run('core.mjs', prelude + piece(own, 'js', '@evenkeel/client/core') + end), /^live 1 1 /);
  });

  test('the_first_lines_of_the_main_readme_print_what_happens', () => {
    const text = put(piece(main, 'js', 'tell me a story'), 'ws://127.0.0.1:7080', ws());
    // It goes on until it is stopped: when the turn is over, or never ends.
    const prelude = `const token = '${shared.server.token()}', { log } = console;
      console.log = (...what) => {
        log(...what);
        if (what.some((one) => one?.kind === 'turn.ended')) setTimeout(() => process.exit());
      };
      setTimeout(() => process.exit(1), 20_000);\n`;
    const printed = run('main.mjs', prelude + text);
    assert.match(printed, /type: 'joined'/);
    assert.match(printed, /kind: 'turn\.ended'/);
  });

  test('its_types_are_whole_in_a_project_that_checks_libraries_too', () => {
    const text = `const url = '', token = '';\n${piece(own, 'js', 'fromCamera')}\nexport const state: string = session.status.state;\n`;
    writeFileSync(join(home, 'app', 'typed.mts'), text);
    const args = [join(sdk, 'node_modules/typescript/bin/tsc'), '--noEmit', '--strict', '--target', 'es2023', '--lib', 'es2023,dom,dom.iterable,esnext', '--module', 'nodenext', 'typed.mts'];
    const said = (() => {
      try {
        return execFileSync(process.execPath, args, { cwd: join(home, 'app'), encoding: 'utf8' });
      } catch (error) {
        return error.stdout;
      }
    })();
    assert.equal(said, '');
  });

  page('the_chat_in_html_says_something_shows_the_answer_and_how_it_is', [], async (context, server) => {
    await serve(context, { '/chat.html': `<!doctype html>${put(piece(own, 'html', 'id="turns"'), 'wss://sessions.example', ws())}` });
    const tab = await context.newPage();
    await tab.goto(`${server.url}/chat.html`);
    await until(tab, () => document.querySelector('#state').textContent === 'live');
    await tab.fill('input[name="text"]', 'Hello');
    await tab.click('button');
    await until(tab, () => document.querySelector('#turns li')?.textContent === 'Hello: Hello');
    assert.equal(await tab.inputValue('input[name="text"]'), '');
  });

  /** A page whose module is a piece with what it leaves to its reader. */
  const modulePage = (server, text, more = '') => `<!doctype html><video autoplay muted></video>
    <script type="importmap">{ "imports": { "@evenkeel/client": "/@evenkeel/client/dist/index.js", "@evenkeel/client/media": "/@evenkeel/client/dist/media.js" } }</script>
    <script type="module">
      const url = '${ws()}', token = '${server.token()}', video = document.querySelector('video');
      navigator.mediaDevices.getDisplayMedia = async () => {
        const canvas = document.createElement('canvas'), paint = canvas.getContext('2d');
        setInterval(() => paint.fillRect(Math.random() * 100, Math.random() * 100, 9, 9), 30);
        return canvas.captureStream(30);
      };
      ${text.replace(/^import .*$/gm, '')}
      window.session = session;${more}
    </script>`;
  const imported = (text, page) => page.replace('<script type="module">', `<script type="module">${(text.match(/^import .*$/gm) ?? []).join('\n')}`);

  page('a_camera_is_sent_seen_by_another_and_replaced', [], async (context, server) => {
    const text = piece(own, 'js', 'fromCamera');
    await serve(context, { '/first.html': imported(text, modulePage(server, text, ' window.camera = camera;')) });
    const first = await context.newPage();
    await first.goto(`${server.url}/first.html`);
    await until(first, () => window.camera?.track.label !== undefined && window.session.status.state === 'live');
    const other = put(text, "backend: 'room'", `session: '${await first.evaluate(() => session.id)}'`);
    await serve(context, { '/other.html': imported(other, modulePage(server, other)) });
    const second = await context.newPage();
    await second.goto(`${server.url}/other.html`);
    for (const tab of [first, second]) await until(tab, () => [...document.querySelectorAll('video')].some((video) => video.videoWidth > 0 && video.currentTime > 0.2));
    assert.equal(await second.evaluate(() => document.querySelectorAll('body > video').length), 2, 'one for the other, beside the one of the page');
  });

  page('the_camera_of_the_main_readme_comes_back_to_who_sends_it_or_goes_to_another', [], async (context, server) => {
    const text = put(piece(main, 'js', 'session.media.publish'), "backend: 'room'", "backend: 'passthrough'");
    await serve(context, { '/main.html': imported(text, modulePage(server, text)) });
    const tab = await context.newPage();
    await tab.goto(`${server.url}/main.html`);
    await until(tab, () => document.querySelector('video').videoWidth > 0 && document.querySelector('video').currentTime > 0.2);
  });
});
