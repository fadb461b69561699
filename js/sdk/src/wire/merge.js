// JSON merge patch (RFC 7396): null clears, absent keeps, an object merges, all else replaces.

/**
 * Whether a value of JSON is an object.
 * @param {unknown} value
 * @returns {value is Record<string, unknown>}
 */
export const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * `target` with `patch` applied. Neither is changed. A member called `__proto__` is a member like any
 * other: nothing is read from a prototype, and none is set.
 * @param {unknown} target
 * @param {unknown} patch
 * @returns {unknown}
 */
export function mergePatch(target, patch) {
  if (!isObject(patch)) return patch;
  const members = new Map(isObject(target) ? Object.entries(target) : []);
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) members.delete(key);
    else members.set(key, mergePatch(members.get(key) ?? null, value));
  }
  return Object.fromEntries(members);
}
