// The last minute as a picture: a band for each leg in the colour of its health, and below them a bar
// for each half second, as high as that many frames came.

import { $, put } from './dom.js';
import { LEGS } from './words.js';

const SPAN_MS = 60_000, STEP_MS = 500;
/** One sample each half second: the health of each leg, and the frames. @type {{ at: number, legs: Record<string, string>, frames: number }[]} */
const samples = [];
let framesBefore = 0;

/** @param {import('./model.js').Model} model @param {number} frames that have come in all */
export function sample({ status }, frames) {
  const legs = Object.fromEntries((status.legs ?? []).map(({ leg, health }) => [leg, health]));
  if (status.state === 'failed') legs.signaling = 'down';
  samples.push({ at: performance.now(), legs, frames: Math.max(0, frames - framesBefore), state: status.state });
  framesBefore = frames;
  while (samples.length > SPAN_MS / STEP_MS) samples.shift();
  draw();
}

export function draw() {
  const canvas = $('line'), paint = canvas.getContext('2d'), style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const health = { up: colour('--good'), degraded: colour('--warn'), recovering: colour('--warn'), down: colour('--bad') };
  const hasFrames = samples.some(({ frames }) => frames > 0);
  const names = ['signaling', 'media', 'backend', 'upstream', 'store'].filter((leg) => samples.some(({ legs }) => legs[leg]));
  const rows = names.length > 0 ? names : ['signaling'], row = 16, label = 74;
  const scale = devicePixelRatio || 1, width = canvas.clientWidth, height = rows.length * row + 6 + (hasFrames ? 26 : 0);
  const [wide, tall] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== wide || canvas.height !== tall) Object.assign(canvas, { width: wide, height: tall });
  paint.setTransform(scale, 0, 0, scale, 0, 0);
  paint.clearRect(0, 0, width, height);
  paint.font = '12px system-ui, sans-serif';
  paint.textBaseline = 'middle';
  const last = performance.now(), step = (width - label) / (SPAN_MS / STEP_MS);
  const xOf = (at) => width - ((last - at) / STEP_MS) * step - step;
  rows.forEach((leg, n) => {
    const y = n * row + 4;
    paint.fillStyle = colour('--dim');
    paint.fillText(LEGS[leg], 0, y + 5);
    paint.fillStyle = colour('--line');
    paint.fillRect(label, y + 4, width - label, 2);
    samples.forEach(({ at, legs }, n) => {
      // To where the next begins: a page that is busy looks late.
      const x = xOf(at), to = samples[n + 1] ? xOf(samples[n + 1].at) : x + step;
      if (!legs[leg] || x < label) return;
      paint.fillStyle = health[legs[leg]] ?? colour('--line');
      paint.fillRect(x, y, to - x + 0.5, 10);
    });
  });
  if (hasFrames) {
    const top = rows.length * row + 6, room = height - top - 2;
    paint.fillStyle = colour('--dim');
    paint.fillText('Frames', 0, top + room / 2);
    paint.fillStyle = colour('--accent');
    for (const { at, frames } of samples) {
      const x = xOf(at), tall = Math.min(1, frames / 16) * room;
      if (x >= label) paint.fillRect(x, top + room - tall, Math.max(1, step - 1), tall);
    }
  }
  const off = samples.filter(({ legs }) => Object.values(legs).some((one) => one !== 'up')).length;
  put($('line-words'), samples.length === 0 ? '' : off === 0 ? 'Every leg was up.' : `A leg was not up for ${(off * STEP_MS / 1e3).toFixed(1)} s of it.`);
}

export const EVERY_MS = STEP_MS;
