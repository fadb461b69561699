// How long something takes, judged while nobody else uses this machine: what others took of it is no word
// about what is tested.

import assert from 'node:assert/strict';
import { cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

const LOOK_MS = 250;
/** Processors that others may keep busy on a quiet machine, and how much longer work may take on it. */
const BUSY_MAX = 0.5, STRETCH_MAX = 1.2;
const WANTED = 3, TRIES = 9;

/** How many processors are busy while this process waits, and how much longer its work takes than its own time. */
async function noise() {
  const used = () => cpus().reduce((sum, { times: { idle, ...busy } }) => sum + Object.values(busy).reduce((one, other) => one + other), 0);
  const [before, asleep] = [used(), performance.now()];
  await sleep(LOOK_MS);
  const busy = (used() - before) / (performance.now() - asleep);
  const began = performance.now(), own = process.cpuUsage();
  while (performance.now() - began < LOOK_MS);
  const { user, system } = process.cpuUsage(own);
  return { busy, stretch: Math.max(1, ((performance.now() - began) * 1_000) / (user + system)) };
}

const isQuiet = ({ busy, stretch }) => busy <= BUSY_MAX && stretch <= STRETCH_MAX;

/**
 * Asserts that what `run` times, in milliseconds, is at most `limit`: the middle of three times on a quiet machine.
 * On one that never is, the best of all has to be, times what others make of it. Gives what is to be told.
 */
export async function takesAtMost(limit, run) {
  const quiet = [], all = [];
  let stretch = 1;
  for (let n = 0; n < TRIES && quiet.length < WANTED; n += 1) {
    const before = await noise(), ms = Math.round(await run()), after = await noise();
    all.push(ms);
    stretch = Math.max(stretch, before.stretch, after.stretch);
    if (isQuiet(before) && isQuiet(after)) quiet.push(ms);
  }
  const told = `${all.join(', ')} ms, ${quiet.length > 0 ? `of which ${quiet.join(', ')} on a quiet machine` : `on a machine that was never quiet, and ${stretch.toFixed(1)} times slower than alone`}`;
  if (quiet.length > 0) assert.ok(quiet.toSorted((a, b) => a - b)[Math.floor(quiet.length / 2)] <= limit, told);
  else assert.ok(Math.min(...all) <= limit * stretch, told);
  return told;
}
