// Ids and waits, made from a seed: the generator of `keel_core::Mint`, so that two machines of one
// seed make the same ids, and wait as long. Nothing here is a secret.

import { fromBits } from './wire/ids.js';

/** @param {bigint} n */
const low = (n) => BigInt.asUintN(64, n);

/** A machine's source of randomness. */
export class Mint {
  #state;

  /** @param {bigint} seed */
  constructor(seed) {
    this.#state = low(seed);
  }

  /** WyRand. */
  #next() {
    this.#state = low(this.#state + 0x2d358dccaa6c78a5n);
    const product = this.#state * (this.#state ^ 0x8bb84b93962eacc9n);
    return low(product) ^ (product >> 64n);
  }

  /** A fresh id. @param {string} prefix */
  id(prefix) {
    const high = this.#next();
    return fromBits(prefix, (high << 64n) | this.#next());
  }

  /**
   * A number below `bound`.
   * @param {number} bound above 0
   */
  below(bound) {
    const n = BigInt(bound);
    let product = this.#next() * n;
    if (low(product) < n) {
      const skewed = low(-n) % n;
      while (low(product) < skewed) product = this.#next() * n;
    }
    return Number(product >> 64n);
  }
}
