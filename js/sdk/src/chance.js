// The system's randomness. Nothing that it makes here is a secret.

/** A fresh id. @param {string} prefix */
export const freshId = (prefix) => prefix + Array.from(crypto.getRandomValues(new Uint32Array(4)), (bits) => bits.toString(36)).join('');

/** What a machine draws from: this, or a `Mint`, from which it draws the same each time. */
export const chance = {
  id: freshId,
  /** A number below `bound`. @param {number} bound above 0 */
  below: (bound) => Math.floor(Math.random() * bound),
};
