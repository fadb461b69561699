// What a person asks to be sent: it is remembered at once, for a reload and another try, done by the stage, and
// said in words where it cannot be done.

const DENIED = { camera: 'The camera was not allowed. The test picture can be sent instead.', microphone: 'The microphone was not allowed.' };

/**
 * @typedef {import('./stage.js').Stage} Stage
 * @typedef {import('./link.js').Wish} Wish
 * @typedef {{ stage: () => Stage | undefined, stands: () => boolean, wishes: (wish: Wish) => void, tell: (words: string) => void, changed: () => void }} Around
 */

export class Sending {
  #around;

  /** @param {Around} around */
  constructor(around) {
    this.#around = around;
  }

  /** A picture. @param {'pattern' | 'camera'} kind */
  source(kind) {
    return this.#ask((stage) => stage.send(kind), () => ({ source: kind }), (stage) => ({ source: stage.source }), 'camera');
  }

  /** What is sent is no longer what was asked for: the server has not taken it back, after a recovery. */
  lost() {
    const { stage, wishes } = this.#around, at = stage();
    if (at) wishes({ source: at.source, voice: at.speaks });
  }

  /** No picture any more. */
  stop() {
    return this.#ask((stage) => stage.stop(), () => ({ source: 'none' }));
  }

  /** The microphone, as well, or no longer. @param {boolean} isOn */
  speak(isOn) {
    return this.#ask((stage) => stage.speak(isOn), () => ({ voice: isOn }), (stage) => ({ voice: stage.speaks }), 'microphone');
  }

  /** Neither seen nor heard, or again. */
  mute() {
    return this.#ask((stage) => stage.mute(!stage.isMuted), (stage) => ({ muted: stage.isMuted }));
  }

  /**
   * @param {(stage: Stage) => Promise<unknown>} act
   * @param {(stage: Stage) => Wish} wished
   * @param {(stage: Stage) => Wish} [left] what there is where it cannot be done
   * @param {keyof typeof DENIED} [device]
   */
  async #ask(act, wished, left = wished, device = undefined) {
    const { stage, stands, wishes, tell, changed } = this.#around, at = stage();
    if (!at) return;
    tell('');
    const done = act(at);
    wishes(wished(at));
    changed();
    try {
      await done;
    } catch (error) {
      // Whoever has gone on is not told of what was.
      if (at !== stage()) return;
      // If it is the session that is lost, it is wanted in the next.
      if (stands()) wishes(left(at));
      tell(error.name === 'NotAllowedError' && device ? DENIED[device] : error.fault?.message ?? error.message);
    }
    changed();
  }
}
