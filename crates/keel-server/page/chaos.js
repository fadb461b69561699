// Buttons that break each leg, by the ways of the real faults. What the server has to do for it is
// switched off by default: then it is shown as such.

import { $, button, keepFocus, put } from './dom.js';
import { sentenced } from './words.js';

const CLIENT = [
  ['Drop the connection', 'drop_transport', 'The WebSocket is gone, without a word'],
  ['Half-open', 'half_open', 'The WebSocket looks open, and nothing passes'],
  ['Lose 3 frames', { kind: 'lose_frames', count: 3 }, 'The next three frames of the log do not arrive'],
];
/** Well beyond the five seconds after which a program's silence is told. */
const STALL_MS = 10_000;
const SERVER = [
  ['Cut', { kind: 'drop_connection' }, 'The server drops the connection without a close'],
  ['Close 1012', { kind: 'close_connection', code: 1012 }, 'The server closes with a code and no fault'],
  ['Half-open', { kind: 'half_open' }, 'The server neither reads nor writes it any more'],
  ['Store fails', { kind: 'fail_store' }, 'The server’s store refuses to write for five seconds'],
  ['Slow server', { kind: 'slow_server' }, 'The server handles late what it is told, for five seconds; who comes then is refused'],
  ['Kill the program', { kind: 'kill_provider' }, 'The program of the running turn is killed'],
  ['Stall the program', { kind: 'stall_provider' }, 'The program of the running turn is not read for ten seconds', STALL_MS],
  ['Panic', { kind: 'panic' }, 'The session’s machine panics, and is rebuilt from the store'],
  ['Expire the token', { kind: 'expire_token' }, 'The token counts as expired'],
];

/**
 * @param {{ session: () => any, model: () => any, media: [string, () => void | Promise<void>, string][] }} parts
 */
export function setUpChaos({ session, model, media }) {
  const say = (text) => put($('chaos-note'), text);
  const run = (name, what) => async ({ currentTarget: { textContent: says } }) => {
    // What takes it back breaks nothing.
    if (says === name) model()?.breaks(name);
    else model()?.note('taken back', name);
    say(`${says}: done. Watch what happens.`);
    try {
      await what();
    } catch (error) {
      say(`${says}: ${sentenced(error.fault?.message ?? error.message)}`);
    }
  };
  $('chaos-client').append(...CLIENT.map(([name, fault, title]) => button(name, run(name, () => session()?.simulate(fault)), { title })));
  $('chaos-media').append(...media.map(([name, what, title]) => button(name, run(name, what), { title })));
  $('chaos-server').append(...SERVER.map(([name, fault, title, for_ms]) => button(name, run(name, () => session()?.inject(fault, { for_ms })), { title })));
}

/** @param {{ stands: boolean, faults: boolean, media: boolean, sends: boolean }} what can be broken now */
export function drawChaos({ stands, faults, media, sends }) {
  const change = () => {
    for (const node of $('chaos-client').children) node.disabled = !stands;
    for (const node of $('chaos-server').children) node.disabled = !stands || !faults;
    for (const node of $('chaos-media').children) node.disabled = !stands || !media || (!sends && node.title.startsWith('Your'));
    $('chaos-media-set').hidden = !media;
    $('chaos-off').hidden = faults;
  };
  // What was broken for good is tried again elsewhere.
  keepFocus($('chaos'), change, () => ($('again').checkVisibility() ? $('again') : $('main')));
}
