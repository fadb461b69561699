// What cannot be seen is shown as what it is: control characters (and with them whatever a terminal would
// obey), marks that turn the direction of text around, and characters of no width. Where such a one has
// its place, in an emoji or in a script that needs it, it stays.

const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\u{e0000}-\u{e0fff}\p{Cs}]/gu;
const PICTURE = /[\p{Extended_Pictographic}\u{1f3fb}-\u{1f3ff}\ufe0f]$/u;
const KEYCAP = /[\p{Extended_Pictographic}0-9#*]$/u;
const STARTS_PICTURE = /^\p{Extended_Pictographic}/u;
const JOINS = '\\p{sc=Arabic}\\p{sc=Syriac}\\p{sc=Mongolian}\\p{sc=Devanagari}\\p{sc=Bengali}\\p{sc=Gurmukhi}\\p{sc=Gujarati}\\p{sc=Oriya}\\p{sc=Tamil}\\p{sc=Telugu}\\p{sc=Kannada}\\p{sc=Malayalam}\\p{sc=Sinhala}\\p{sc=Khmer}\\p{sc=Myanmar}';
const JOINING = new RegExp(`[${JOINS}]$`, 'u'), STARTS_JOINING = new RegExp(`^[${JOINS}]`, 'u');

/** Whether a hidden character has its place between what stands before and after it. */
function belongs(sign, before, after) {
  switch (sign) {
    case '\r': return after === '' || after.startsWith('\n');
    case '\ufe0e':
    case '\ufe0f': return KEYCAP.test(before);
    case '\u200d': return (PICTURE.test(before) && STARTS_PICTURE.test(after)) || (JOINING.test(before) && STARTS_JOINING.test(after));
    case '\u200c': return JOINING.test(before) && STARTS_JOINING.test(after);
    default: return false;
  }
}

/** What a hidden character is called: a picture of it, or its number. */
function nameOf(sign) {
  const code = sign.codePointAt(0) ?? 0;
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  if (code === 0x7f) return '\u2421';
  return `U+${code.toString(16).toUpperCase().padStart(4, '0')}`;
}

/**
 * A text in pieces: what is shown as it is, and the names of what would not be seen.
 * @param {string} text
 * @returns {{ text: string, isName: boolean }[]}
 */
export function pieces(text) {
  if (text.search(HIDDEN) < 0) return text ? [{ text, isName: false }] : [];
  const found = [];
  let plain = '', at = 0;
  const flush = () => {
    if (plain) found.push({ text: plain, isName: false });
    plain = '';
  };
  for (const { 0: sign, index } of text.matchAll(HIDDEN)) {
    plain += text.slice(at, index);
    at = index + sign.length;
    if (belongs(sign, text.slice(Math.max(0, index - 2), index), text.slice(at, at + 2))) {
      if (sign !== '\r') plain += sign;
    } else {
      flush();
      found.push({ text: nameOf(sign), isName: true });
    }
  }
  plain += text.slice(at);
  flush();
  return found;
}

/** The same as one text, for a place that has no room for more: a title, a name, an option. @param {unknown} text */
export const visible = (text) => pieces(String(text ?? '')).map(({ text, isName }) => (isName && text.length > 1 ? `⟨${text}⟩` : text)).join('');

/** One line of at most so many characters. @param {unknown} text */
export function line(text, max = 120) {
  const whole = visible(text).replace(/\s+/gu, ' ').trim();
  const letters = whole.length > max ? [...whole.slice(0, 2 * max + 2)] : [];
  return letters.length > max ? `${letters.slice(0, max - 1).join('')}…` : whole;
}
