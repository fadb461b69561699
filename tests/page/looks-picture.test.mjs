// What a person sees and does where a picture is sent, in a real Chromium: on a phone and on a desk, in either
// theme, and with the keyboard alone.

import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { contrasts, inState, live, mediaFlags, open, rig, shot, until } from './playground.mjs';
import { Relay } from './relay.mjs';
import { MediaServer } from './server.mjs';

const { page } = rig(MediaServer, mediaFlags);
const through = (server, more = {}) => server.link({ backend: 'passthrough', token: server.token('ann', { admin: true }), ...more });

/** Until pictures come back, and the page shows it. */
const flows = async (tab) => {
  const before = await tab.evaluate(() => playground.stage?.returned?.returned.frames ?? 0);
  await until(tab, (before) => playground.stage?.returned?.returned.frames > before + 10 && document.querySelectorAll('.pane[data-flows="yes"]').length === 2, before);
};
const mediaIs = (tab, health) => until(tab, (health) => document.querySelector('#legs [data-key="media"]')?.dataset.health === health, health);
/** The media leg is not up, and the page says what is wrong. */
const mediaIsLost = (tab) => until(tab, () => document.getElementById('fault').checkVisibility() && document.querySelector('#legs [data-key="media"]').dataset.health !== 'up');
const isPressed = (tab, id, pressed) => until(tab, ([id, pressed]) => document.getElementById(id).getAttribute('aria-pressed') === String(pressed), [id, pressed]);
const focused = (tab) => tab.evaluate(() => document.activeElement.id || document.activeElement.textContent);

/** Runs in the browser: what stands out at the side of the page, or of its own box. */
function sideways() {
  const seen = [...document.querySelectorAll('header, header *, main *')].filter((node) => node.checkVisibility() && !node.closest('.hidden'));
  const found = seen.filter((node) => {
    const { left, right } = node.getBoundingClientRect();
    return left < 0 || right > innerWidth || (node.clientWidth > 0 && node.scrollWidth > node.clientWidth);
  });
  return [...(document.documentElement.scrollWidth > innerWidth ? ['the page'] : []), ...found.map(({ outerHTML }) => outerHTML.slice(0, 80))];
}

/** What can be used, or shows something that is no text, and has no name for who does not see it. */
async function nameless(tab) {
  const reader = await tab.context().newCDPSession(tab);
  const { nodes } = await reader.send('Accessibility.getFullAXTree');
  await reader.detach();
  const shows = new Set(['button', 'Video', 'Canvas', 'image', 'progressbar', 'ProgressIndicator']);
  const wants = ({ ignored, role, properties = [] }) => !ignored && role.value !== 'main' && (shows.has(role.value) || properties.some(({ name, value }) => name === 'focusable' && value.value));
  const wanting = nodes.filter(wants);
  assert.ok(wanting.filter(({ role }) => role.value === 'button').length > 10 && wanting.some(({ role }) => role.value === 'Video'), `that is the page: ${wanting.map(({ role }) => role.value)}`);
  return wanting.filter(({ name }) => !name?.value.trim()).map(({ role }) => role.value);
}

async function looks(tab, what) {
  assert.deepEqual(await tab.evaluate(sideways), [], `${what}: nothing runs out to the side`);
  assert.deepEqual(await tab.evaluate(contrasts), [], `${what}: text stands out (WCAG AA)`);
  assert.deepEqual(await nameless(tab), [], `${what}: everything has a name`);
  await shot(tab, `picture-${what}`);
}

/** Goes through the page by the Tab key; what it came by, each shown as what has the focus and not covered. */
async function walked(tab) {
  await tab.evaluate(() => (window.walked = new Set()));
  await tab.focus('.skip');
  const stops = [];
  for (;;) {
    await tab.keyboard.press('Tab');
    const stop = await tab.evaluate(() => {
      const node = document.activeElement, seen = window.walked, { left, top, width, height } = node.getBoundingClientRect();
      if (node === document.body || seen.has(node)) return undefined;
      seen.add(node);
      const { outlineStyle, outlineWidth } = getComputedStyle(node), y = Math.min(top + height / 2, innerHeight - 1);
      return { name: node.id || node.textContent, outline: `${outlineStyle} ${outlineWidth}`, isOnTop: node.contains(document.elementFromPoint(left + width / 2, y)) };
    });
    if (!stop) return stops;
    stops.push(stop);
  }
}

/** Presses a key on what has the focus, as one who has come there by Tab. */
async function presses(tab, on, key = 'Enter') {
  for (let n = 0; n < 60 && await focused(tab) !== on; n += 1) await tab.keyboard.press('Tab');
  assert.equal(await focused(tab), on, 'it is reached');
  await tab.keyboard.press(key);
}

describe('what a person sees of a picture', () => {
  for (const [width, colorScheme] of [[360, 'light'], [360, 'dark'], [1280, 'light'], [1280, 'dark']]) {
    page(`a_picture_is_whole_at_${width}_px_in_${colorScheme}_named_and_reached_by_the_keyboard_whatever_happens`, [], async (context, server) => {
      const relay = await Relay.start(server.mediaPort);
      try {
        await relay.lead(context);
        const tab = await open(context, through(server));
        const at = (what) => looks(tab, `${what}-${width}-${colorScheme}`);
        await flows(tab);
        await at('flows');
        const usable = () => tab.evaluate(() => [...document.querySelectorAll('a[href]:not(.skip), button, input, select, textarea, summary, [tabindex="0"]')].filter((node) => !node.disabled && node.checkVisibility()).map((node) => node.id || node.textContent));
        let before, stops, able;
        // What can be used may change on the way, as where a loaded machine loses the picture for a while: then it says nothing.
        for (let n = 0; n < 5 && (n === 0 || String(before) !== String(able)); n += 1) [before, stops, able] = [await usable(), await walked(tab), await usable()];
        assert.deepEqual(stops.map(({ name }) => name), able, 'whatever can be used is reached, in the order in which it stands');
        for (const name of ['use-pattern', 'use-camera', 'mute', 'stop', 'speak', 'hear', 'Close the transport', 'Freeze the source', 'Stop the encoder', 'Cut']) assert.ok(able.includes(name), `${name} can be used`);
        for (const { name, outline, isOnTop } of stops) assert.deepEqual([outline, isOnTop], ['solid 2px', true], `${name} shows its focus`);

        await tab.click('#speak');
        await tab.click('#mute');
        await until(tab, () => [...document.querySelectorAll('.veil')].every((veil) => veil.checkVisibility() && veil.textContent === 'Muted'));
        await at('muted');
        await tab.click('#mute');
        await flows(tab);
        await tab.click('#use-camera');
        await until(tab, () => document.getElementById('local-facts').textContent === 'camera');
        await flows(tab);
        await at('camera');
        await tab.click('#use-pattern');
        await flows(tab);
        await tab.click('#share');
        await until(tab, () => document.getElementById('shared').textContent);
        relay.block();
        await mediaIs(tab, 'recovering');
        await until(tab, () => document.querySelector('.pane:not(#local) .veil').checkVisibility());
        await at('recovering');
        await tab.click('#fault summary');
        await until(tab, () => document.getElementById('fault-can').textContent);
        await at('explained');
        relay.open();
        await mediaIs(tab, 'up');
        await flows(tab);
        await tab.click('#stop');
        await until(tab, () => document.querySelectorAll('.pane').length === 1 && document.getElementById('local').dataset.flows === 'no');
        await at('stopped');
      } finally {
        relay.close();
      }
    }, { viewport: { width, height: 800 }, colorScheme, reducedMotion: 'reduce' });
  }

  page('the_keyboard_alone_sends_mutes_breaks_and_stops_a_picture_and_the_focus_is_never_lost', [], async (context, server) => {
    const tab = await open(context, through(server, { source: 'none' }));
    await live(tab);
    await until(tab, () => !document.getElementById('use-pattern').disabled);
    assert.equal(await tab.evaluate(() => playground.stage.source), 'none');
    await presses(tab, 'use-pattern');
    await flows(tab);
    await isPressed(tab, 'use-pattern', true);
    await presses(tab, 'mute', 'Space');
    await isPressed(tab, 'mute', true);
    await until(tab, () => playground.session.snapshot.tracks[0].muted);
    assert.equal(await focused(tab), 'mute');
    await presses(tab, 'mute', 'Space');
    await isPressed(tab, 'mute', false);
    await flows(tab);
    for (const id of ['speak', 'hear']) {
      for (const pressed of [true, false]) {
        await presses(tab, id);
        await isPressed(tab, id, pressed);
        assert.equal(await focused(tab), id);
      }
    }

    await presses(tab, 'Freeze the source');
    await mediaIsLost(tab);
    assert.equal(await focused(tab), 'Let the source go on', 'the same button takes it back');
    await tab.keyboard.press('Enter');
    await mediaIs(tab, 'up');
    await flows(tab);
    await presses(tab, 'Close the transport');
    await mediaIsLost(tab);
    await mediaIs(tab, 'up');
    await flows(tab);
    assert.equal(await focused(tab), 'Close the transport');
    assert.equal(await tab.textContent('#chaos-note'), 'Close the transport: done. Watch what happens.');

    await presses(tab, 'stop');
    await until(tab, () => playground.stage.source === 'none' && document.getElementById('stop').disabled);
    assert.equal(await focused(tab), 'use-pattern', 'from a button that does nothing any more one goes on at what does');
    await presses(tab, 'use-camera');
    await flows(tab);

    await tab.focus('text="Cut"');
    const resume = await tab.evaluate(() => playground.session.resumeState());
    const thief = await open(context, server.url);
    await thief.evaluate(async ([resume, token]) => (await import('/sdk/index.js')).connect({ token: () => token, resume }).then(() => {}), [resume, server.token()]);
    await inState(tab, 'failed');
    assert.equal(await focused(tab), 'again', 'from what breaks something one goes on at what can be done about it');
    await tab.keyboard.press('Enter');
    await live(tab);
    await flows(tab);
    assert.equal(await focused(tab), 'main', 'from what is gone one goes on at the top');
    await presses(tab, 'leave');
    await inState(tab, 'ended');
    assert.equal(await focused(tab), 'main');
  }, { viewport: { width: 360, height: 800 }, reducedMotion: 'reduce' });
});
