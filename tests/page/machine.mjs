// How long something takes, judged while nobody else uses this machine: what others took of it is no word
// about what is tested.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';

/** How long it is looked, and how long at once: what a test holds in its hands, as a relay, goes on meanwhile. */
const LOOK_MS = 250, SLICE_MS = 5;
/** Processors that others may keep busy on a quiet machine, and how much longer work may take on it. */
const BUSY_MAX = 0.5, STRETCH_MAX = 1.2;
const WANTED = 3, TRIES = 9;
/** How often it is looked whether this process runs when it is due, and how late it may be on a quiet machine. */
const TICK_MS = 10, HELD_MAX_MS = 50;

/** How many processors are busy while this process waits, and how much longer its work takes than its own time. */
async function noise() {
  const used = () => cpus().reduce((sum, { times: { idle, ...busy } }) => sum + Object.values(busy).reduce((one, other) => one + other), 0);
  const [before, asleep] = [used(), performance.now()];
  await sleep(LOOK_MS);
  const busy = (used() - before) / (performance.now() - asleep);
  let took = 0, worked = 0;
  while (took < LOOK_MS) {
    const began = performance.now(), own = process.cpuUsage();
    while (performance.now() - began < SLICE_MS);
    const { user, system } = process.cpuUsage(own);
    took += performance.now() - began;
    worked += (user + system) / 1_000;
    await turn();
  }
  return { busy, stretch: Math.max(1, took / worked) };
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

/** What `run` gives, and the longest that this process was kept from running meanwhile. */
async function heldWhile(run) {
  let held = 0, due = performance.now() + TICK_MS;
  const look = () => {
    held = Math.max(held, performance.now() - due);
    due = performance.now() + TICK_MS;
  };
  const timer = setInterval(look, TICK_MS);
  try {
    const times = await run();
    look();
    return { times, held };
  } finally {
    clearInterval(timer);
  }
}

/**
 * Asserts of what is done once that each time is within its limit: `run` gives them, as `[what, ms, limit]`. Where the
 * machine was not quiet, a limit is longer by what others made of it, and by `more`, if that was seen without the act, too.
 */
export async function onceWithin(run) {
  const before = await noise();
  const { times, held } = await heldWhile(run);
  const after = await noise();
  const isNoisy = !isQuiet(before) || !isQuiet(after) || held > HELD_MAX_MS, stretch = Math.max(before.stretch, after.stretch);
  for (const [what, ms, limit, more = 0] of times) {
    const told = `${what}: ${Math.round(ms)} ms, and ${limit} is the limit${isNoisy ? `, on a machine that was ${stretch.toFixed(1)} times slower than alone, and stood still for ${Math.round(held)} ms` : ''}`;
    assert.ok(ms <= (isNoisy ? limit * stretch + held + more : limit), told);
  }
}

/** Datagrams that this machine has thrown away for want of room, whoever they were for: they are lost, and nobody's fault. */
export function thrownAway() {
  const [names, values] = readFileSync('/proc/net/snmp', 'utf8').split('\n').filter((line) => line.startsWith('Udp: ')).map((line) => line.split(' '));
  return ['RcvbufErrors', 'SndbufErrors', 'MemErrors'].reduce((sum, name) => sum + Number(values[names.indexOf(name)] ?? 0), 0);
}
