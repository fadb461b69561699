// What it takes to go on with a log: how far the text of each turn is known, and whether it has ended. What
// else the log says is passed on as it is; who wants it read and folded gives `fold`.

import { id, list, object, optional, own, seq, string, u32, u64 } from '../wire/codec.js';
import { endReason } from '../wire/status.js';
import { bytesOf } from '../wire/utf8.js';

/** @type {Record<string, import('../wire/codec.js').Reader<any>>} */
const KINDS = {
  'turn.started': object({ turn: id, attempt: u32 }),
  text: object({ turn: id, attempt: u32, at_byte: seq, data: string }),
  'turn.ended': object({ turn: id }),
  'session.ended': object({ reason: endReason }),
};

const snapshot = object({ turns: list(object({ turn: id, attempt: u32, bytes: u64 })), turns_ended: u64, ended: optional(KINDS['session.ended']) });

/** @type {import('./apply.js').Folding} */
export const progress = {
  empty: () => /** @type {any} */ ({ turns: [] }),

  readSnapshot(value, at) {
    snapshot(value, at);
    return /** @type {any} */ (value);
  },

  decode(kind, data) {
    own(KINDS, kind)?.(data, kind);
    return /** @type {any} */ ({ kind, data, known: undefined });
  },

  apply(fold, { kind, data }) {
    if (kind === 'session.ended') return { ...fold, ended: data };
    if (!own(KINDS, kind)) return fold;
    const { turn, attempt, at_byte = 0, data: text = '' } = /** @type {any} */ (data);
    const turns = fold.turns.filter((view) => view.turn !== turn);
    return { ...fold, turns: kind === 'turn.ended' ? turns : [...turns, /** @type {any} */ ({ turn, attempt, bytes: at_byte + bytesOf(text) })] };
  },
};
