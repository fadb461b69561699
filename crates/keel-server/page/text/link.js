// Links: to http, https and mail alone, in a tab that knows nothing of this one, and never without a word
// about where they go.

/** Characters of a place that are shown; of whom it belongs to, all. */
const SHOWN_MAX = 72;
/** Characters of a mail address that may be one. */
const MAIL_MAX = 254;

/** @typedef {import('./inline.js').Node} Node */

/** An address that one may be sent to, as the browser understands it. @param {string} text */
function addressOf(text) {
  let url;
  try {
    url = new URL(text);
  } catch {
    return undefined;
  }
  // Who is named before an @ is not who answers.
  if (url.username || url.password) return undefined;
  if (url.protocol === 'mailto:' && url.pathname.length > MAIL_MAX) return undefined;
  return ['http:', 'https:', 'mailto:'].includes(url.protocol) && /^[\x21-\x7e]+$/.test(url.href) ? url : undefined;
}

/** @param {readonly Node[]} nodes @returns {string} */
const textOf = (nodes) => nodes.map((node) => (typeof node === 'string' ? node : textOf(node.k))).join('');
/** @param {readonly Node[]} nodes @returns {Node[]} */
const withoutLinks = (nodes) => nodes.flatMap((node) => (typeof node === 'string' ? [node] : node.c === 'target' ? [] : node.t === 'a' ? withoutLinks(node.k) : [{ ...node, k: withoutLinks(node.k) }]));
/** @param {string} text */
const bare = (text) => text.trim().replace(/^(https?:\/\/|mailto:)/i, '').replace(/\/$/, '').toLowerCase();

/**
 * The nodes of a link, or nothing where one may not be sent there.
 * @param {string} target
 * @param {Node[]} label
 * @param {boolean} isImage shown as a link, too: nothing is fetched that nobody asked for
 * @returns {Node[] | undefined}
 */
export function link(target, label, isImage) {
  const url = addressOf(target);
  if (!url) return undefined;
  const { href } = url;
  const kids = withoutLinks(label), text = textOf(kids).trim();
  const whose = url.protocol === 'mailto:' ? url.pathname : url.host;
  const place = `${whose}${url.protocol === 'mailto:' || url.pathname === '/' ? '' : url.pathname}${url.search}`;
  // A name reads from its end: what is cut off a long one is who answers.
  const shown = Math.max(SHOWN_MAX, whose.length), where = place.length > shown ? `${place.slice(0, shown)}…` : place;
  const says = isImage ? [`Image: ${text || where}`] : text ? kids : [where];
  const isPlain = bare(text) === bare(href) || (!text && !isImage);
  const a = { href, target: '_blank', rel: 'noopener noreferrer nofollow', title: href };
  return [{ t: 'a', a, k: says }, ...(isPlain ? [] : [/** @type {Node} */ ({ t: 'span', c: 'target', k: [` (${where})`] })])];
}
