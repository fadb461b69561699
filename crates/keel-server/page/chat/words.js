// What happens to a turn, in sentences: what it is, and what one can do next.

import { comeBack, sentenced, title } from '../words.js';

const FAILS = {
  provider_crashed: ['The program behind this session crashed.', 'What it had said stays. Ask again, or go on from here.'],
  provider_timeout: ['The program fell silent for longer than it may, and was stopped.', 'Ask again; a smaller question may help.'],
  provider_protocol: ['The program said something that breaks its own protocol.', 'Ask again. If it goes on, its version does not fit this server.'],
  provider_budget: ['This turn used up what one turn may use.', 'Ask for less at once.'],
  provider_spawn: ['The program could not be started.', 'Whoever runs this server has to look whether it is installed.'],
  provider_auth: ['The provider does not accept this server’s credentials.', 'Whoever runs this server has to log in there, or set its key.'],
  provider_refused: ['The provider refuses this request.', 'The same again will be refused; ask for something else, or choose another backend.'],
  provider_rate_limited: ['The provider is asked too much at the moment.', undefined],
  provider_unavailable: ['The provider cannot be reached, or is down.', 'Ask again in a while, or choose another backend.'],
  turn_interrupted: ['The server went away in the middle of this turn.', 'What had been said stays. It is not run again by itself: that is for you to say.'],
  prompt_quarantined: ['This prompt has crashed the program twice, and is not run for a while.', 'Say it in another way.'],
  session_busy: ['A turn is running, and no more is taken meanwhile.', 'Wait until it is done, or stop it.'],
  at_capacity: ['Everything that can work is at work.', undefined],
  session_limit: ['As much runs as may at once.', 'Let something end first.'],
  rate_limited: ['That was too much in too short a time.', undefined],
  expired: ['It had waited for too long, and was not run.', 'Say it again, if you still want it.'],
  queue_expired: ['It waited in line for too long.', 'Say it again.'],
  outbox_full: ['As much waits to be sent as may.', 'Wait until there is a connection again.'],
  permission_denied: ['Your role or token does not allow that.', 'Ask the owner of the session.'],
  outcome_unknown: ['Nobody knows what became of this: it may have run, or not.', 'Look at the conversation before you say it again.'],
  duplicate: ['This was said before, and ran then.', 'There is nothing that you have to do.'],
  store_failed: ['The server cannot write at the moment, and tells nothing that it has not kept.', undefined],
  invalid_request: [undefined, 'Change it, and say it again.'],
  internal: ['Something is wrong inside the server.', 'Try again; the id finds it in the server’s log.'],
};

/** What a fault means for what was asked: what happened, and what to do. @param {any} fault @returns {{ what: string, next: string }} */
export function failure(fault) {
  const [what = sentenced(fault.message), next = comeBack(fault)] = FAILS[fault.code] ?? [];
  const { limit, active, exit_code: exit, signal } = fault.detail ?? {};
  const how = exit !== undefined ? ` (exit code ${exit})` : signal !== undefined ? ` (signal ${signal})` : '';
  const full = limit === undefined || active === undefined ? '' : ` ${active} of ${limit} taken.`;
  const wait = fault.retry?.when === 'after' ? ` ${comeBack(fault)}` : '';
  return { what: `${what.replace(/\.$/, '')}${how}.${full}`, next: next === undefined || wait.trim() === next ? wait.trim() : `${next}${wait}` };
}

const STEPS = {
  asked: 'Stopping: the program was asked to.',
  terminating: 'Stopping: it did not, and is being terminated.',
  killing: 'Stopping: it is being killed.',
};

const REASONS = {
  max_tokens: 'It stopped there because it may say no more at once.',
  length: 'It stopped there because it may say no more at once.',
  max_turn_requests: 'It stopped there because it may ask its model no more often.',
  refusal: 'The model does not want to answer this.',
  content_filter: 'The provider’s filter ended the answer.',
};
const CANCELS = { steered: 'Stopped, to go on with what was said next.', replaced: 'Stopped, and replaced by what was said next.' };

/** Where a turn stands, in a sentence; empty where there is nothing to say. @param {import('../turns.js').Turn} turn */
export function standing(turn) {
  const { state, fault, cancelling, retrying, tried, stop_reason: reason } = turn;
  switch (state) {
    case 'queued': return 'Waits for its turn';
    case 'waiting': return cancelling ? STEPS[cancelling.step] ?? 'Stopping.' : 'Waits for an answer';
    case 'running': {
      if (cancelling) return STEPS[cancelling.step] ?? 'Stopping.';
      if (retrying) return `The provider did not answer (${title(retrying.fault?.code ?? 'unknown')}); it is asked again.`;
      return tried ? `Running… It is attempt ${turn.attempt}: the one before ended with ${title(tried.code).toLowerCase()}.` : turn.parts.length > 0 ? 'Running…' : 'Thinking…';
    }
    case 'cancelled': return `${CANCELS[reason] ?? (turn.began ? 'Stopped.' : 'Removed from the queue.')}${turn.forced ? ' It had to be forced.' : ''}`;
    case 'interrupted':
    case 'failed': return fault ? failure(fault).what : title(state);
    default: return REASONS[reason] ?? '';
  }
}

/** What can be done after it. @param {import('../turns.js').Turn} turn */
export const afterwards = ({ fault, state }) => (fault && (state === 'failed' || state === 'interrupted') ? failure(fault).next : '');

/** A large number as people read it. @param {number} n */
const count = (n) => (n >= 1e6 ? `${(n / 1e6).toFixed(1)} M` : n >= 1e4 ? `${Math.round(n / 1e3)} k` : n.toLocaleString('en'));

/** What a turn has used, in a line. @param {any} usage */
export function used(usage) {
  if (!usage) return '';
  const said = [];
  const has = (name) => Number.isFinite(usage[name]);
  if (has('input_tokens')) said.push(`${count(usage.input_tokens)} tokens in${has('cached_tokens') ? `, ${count(usage.cached_tokens)} of them cached` : ''}`);
  if (has('output_tokens')) said.push(`${count(usage.output_tokens)} out`);
  if (has('context_used') && has('context_size') && usage.context_size > 0) said.push(`${Math.round((100 * usage.context_used) / usage.context_size)} % of the context`);
  if (has('cost_usd')) said.push(`$${usage.cost_usd.toFixed(usage.cost_usd < 1 ? 4 : 2)}`);
  if (usage.unknown) said.push('not all of it is known');
  return said.join(' · ');
}

export const TOOL_STATES = { pending: 'waits', running: 'runs', done: 'done', failed: 'failed' };
export const PLAN_STATES = { pending: ['○', 'to do'], running: ['◐', 'under way'], in_progress: ['◐', 'under way'], done: ['●', 'done'], completed: ['●', 'done'] };
