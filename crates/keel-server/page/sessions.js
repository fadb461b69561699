// The sessions of whoever holds the token: found, opened, called, starred, put away, deleted. The last
// one used comes first; what is further down is read when somebody gets there.

import { $, button, keyed, make, put } from './dom.js';
import { ask } from './link.js';
import { line } from './text/visible.js';

const PAGE = 40, SHOWN_MAX = 200;
/** How often a list that is looked at is read again. */
const EVERY_MS = 10_000;
/** From a key to the search. */
const SEARCH_MS = 200;
/** From something that happened to another look. */
const SOON_MS = 400;

const FILTERS = { current: ['Current', {}], starred: ['Starred', { starred: 'true' }], archived: ['Archived', { archived: 'true' }] };
const STATES = { running: 'a turn runs', waiting: 'waits for somebody', ended: 'over' };

/** @typedef {{ session: string, title?: string, backend: string, project?: string, starred?: boolean, archived?: boolean, state?: string, ended: boolean, head: number, last_activity: number, found?: { excerpt: string } }} Row */

export class Sessions {
  /** @type {Row[]} */
  rows = [];
  /** Whether this server describes, filters and searches. */
  isRich = false;
  #next = undefined;
  #filter = 'current';
  #query = '';
  #asked = 0;
  #timer = 0;
  #around;
  #counts = undefined;
  /** Which is being renamed. @type {string | undefined} */
  #naming = undefined;
  #error = '';
  /** What was not done that somebody wanted, until they want something else. */
  #refusal = '';
  /** Which is not deleted because somebody uses it. @type {Row | undefined} */
  #busy = undefined;

  /** @param {{ token: () => string | undefined, current: () => string | undefined, open: (row: Row) => void, fresh: () => void, leave: (session: string) => void | Promise<void> }} around */
  constructor(around) {
    this.#around = around;
    $('filters').append(...Object.entries(FILTERS).map(([name, [text]]) => {
      const node = button(text, () => this.#choose(name));
      node.dataset.name = name;
      return node;
    }));
    $('new').addEventListener('click', around.fresh);
    let typing = 0;
    $('search').addEventListener('input', () => {
      clearTimeout(typing);
      typing = setTimeout(() => {
        this.#query = $('search').value.trim();
        this.#refusal = '';
        this.#next = undefined;
        this.read();
      }, SEARCH_MS);
    });
    $('session-list').addEventListener('scroll', () => this.#isNearEnd && this.#more());
    if (matchMedia('(max-width: 62rem)').matches) $('sessions-fold').open = false;
    setInterval(() => !document.hidden && this.#around.token() && this.read(), EVERY_MS);
  }

  /** Something has happened that the list may show. */
  soon() {
    if (this.#timer || !this.#around.token()) return;
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      this.read();
    }, SOON_MS);
  }

  #choose(name) {
    this.#filter = name;
    this.#refusal = '';
    this.rows = [];
    this.#next = undefined;
    this.read();
  }

  #path(more) {
    const query = new URLSearchParams({ ...FILTERS[this.#filter][1], ...(this.#query && { q: this.#query }), ...more });
    return `/v1/sessions?${query}`;
  }

  /** Reads as much as is shown. */
  async read() {
    const asked = (this.#asked += 1), token = this.#around.token();
    if (!token) return;
    try {
      const limit = Math.min(SHOWN_MAX, Math.max(PAGE, this.rows.length));
      const page = await ask(token, this.#path({ limit }));
      this.isRich ||= page.sessions.some((row) => 'starred' in row);
      const counts = this.isRich ? await ask(token, '/v1/sessions/counts') : undefined;
      if (asked !== this.#asked) return;
      this.#counts = counts;
      const beyond = this.rows.length > SHOWN_MAX && page.next ? this.rows.slice(page.sessions.length).filter(({ session }) => !page.sessions.some((row) => row.session === session)) : [];
      this.rows = [...page.sessions, ...beyond];
      if (beyond.length === 0) this.#next = page.next ?? undefined;
      this.#error = page.more ? 'There is more; other words narrow it down.' : '';
    } catch (error) {
      if (asked !== this.#asked) return;
      this.#error = `The list cannot be read: ${error.message}`;
    }
    this.draw();
  }

  async #more() {
    const before = this.#next, asked = this.#asked, path = this.#path({});
    if (!before) return;
    const putBack = () => path === this.#path({}) && (this.#next ??= before);
    this.#next = undefined;
    try {
      const page = await ask(this.#around.token(), this.#path({ before, limit: PAGE }));
      if (asked !== this.#asked) return void putBack(); // A read has overtaken it.
      const known = new Set(this.rows.map(({ session }) => session));
      this.rows = [...this.rows, ...page.sessions.filter(({ session }) => !known.has(session))];
      this.#next = page.next ?? undefined;
    } catch {
      setTimeout(putBack, EVERY_MS); // Whoever still looks then tries again.
    }
    this.draw();
  }

  get #isNearEnd() {
    const list = $('session-list');
    return list.checkVisibility() && list.scrollHeight - list.scrollTop - list.clientHeight < 200;
  }

  /** @param {Row} row @param {Record<string, unknown>} what */
  async #describe(row, what) {
    this.#refusal = '';
    try {
      await ask(this.#around.token(), `/v1/sessions/${encodeURIComponent(row.session)}`, { method: 'PATCH', body: what });
      Object.assign(row, what);
    } catch (error) {
      this.#refusal = `That did not work: ${error.message}`;
    }
    this.draw();
    this.soon();
  }

  /** @param {Row} row @param {boolean} [force] though it is in use */
  async #delete(row, force = false) {
    this.#busy = undefined;
    this.#refusal = '';
    try {
      await this.#around.leave(row.session);
      await ask(this.#around.token(), `/v1/sessions/${encodeURIComponent(row.session)}${force ? '?force=true' : ''}`, { method: 'DELETE' });
      this.rows = this.rows.filter(({ session }) => session !== row.session);
    } catch (error) {
      if (error.code === 'session_busy') this.#busy = row;
      else this.#refusal = `It was not deleted: ${error.message}`;
    }
    this.draw();
    this.soon();
  }

  /** Writes a session to a file of whoever asks. @param {Row} row @param {'markdown' | 'jsonl'} format */
  async #save(row, format) {
    this.#refusal = '';
    try {
      const answer = await fetch(`/v1/sessions/${encodeURIComponent(row.session)}/export?format=${format}`, { headers: { authorization: `Bearer ${this.#around.token()}` } });
      if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
      const href = URL.createObjectURL(await answer.blob());
      make('a', { href, download: `${row.session}.${format === 'markdown' ? 'md' : format}` }).click();
      setTimeout(() => URL.revokeObjectURL(href), 10_000);
    } catch (error) {
      this.#refusal = `It was not saved: ${error.message}`;
      this.draw();
    }
  }

  draw() {
    const current = this.#around.current();
    $('filters').hidden = $('search-box').hidden = !this.isRich;
    for (const node of $('filters').children) {
      const { name } = node.dataset;
      node.ariaPressed = String(name === this.#filter);
      const { running = 0, waiting = 0, idle = 0, ended = 0, archived = 0 } = this.#counts ?? {};
      const n = name === 'current' ? running + waiting + idle + ended : name === 'archived' ? archived : 0;
      put(node, n > 0 ? `${FILTERS[name][0]} ${n}` : FILTERS[name][0]);
    }
    put($('sessions-count'), this.#summary());
    keyed($('session-list'), this.rows, ({ session }) => session, (row) => this.#item(row), (node, row) => this.#update(node, row, current));
    if (this.#next && this.#isNearEnd) this.#more();
    const busy = this.#busy;
    $('sessions-busy').hidden = !busy;
    if (busy) $('sessions-busy').replaceChildren(`“${nameOf(busy)}” is in use: somebody is connected, or a turn runs. `, button('End and delete it', () => this.#delete(busy, true), { kind: 'small' }), ' ', button('Leave it', () => {
      this.#busy = undefined;
      this.draw();
    }, { kind: 'small quiet' }));
    put($('sessions-note'), this.#refusal || this.#error || (this.rows.length > 0 ? (this.#query ? '' : this.#worth()) : this.#query ? 'Nothing is found.' : this.#filter === 'current' ? 'No session yet.' : 'None.'));
  }

  /** How many there are, as far as that is known. */
  #summary() {
    const { length } = this.rows;
    return `${length}${this.#next ? '+' : ''} session${length === 1 ? '' : 's'}`;
  }

  /** What of them is worth a word. */
  #worth() {
    const { running = 0, waiting = 0 } = this.#counts ?? {};
    return [running && `${running} at work`, waiting && `${waiting} waiting for somebody`].filter(Boolean).join(' · ');
  }

  /** @param {Row} row */
  #item(row) {
    const find = () => this.rows.find(({ session }) => session === row.session) ?? row;
    const open = button('', () => this.#around.open(find()), { kind: 'open' });
    open.append(make('strong', { dir: 'auto' }), make('small', { dir: 'auto' }));
    const star = button('☆', () => this.#describe(find(), { starred: !find().starred }), { kind: 'quiet star' });
    const menu = button('⋯', (event) => this.#menu(find(), event.currentTarget), { kind: 'quiet' });
    return make('li', { children: [open, make('div', { kind: 'acts', children: [star, menu] })] });
  }

  /** @param {HTMLElement} node @param {Row} row @param {string | undefined} current */
  #update(node, row, current) {
    const [open, acts] = node.children, name = nameOf(row);
    if (row.session === current) node.setAttribute('aria-current', 'true');
    else node.removeAttribute('aria-current');
    put(open.firstChild, name);
    open.firstChild.className = row.starred ? 'starred' : '';
    const state = row.state ?? (row.ended ? 'ended' : row.open_turn ? 'running' : 'idle');
    open.lastChild.className = state === 'running' || state === 'waiting' ? 'works' : '';
    put(open.lastChild, row.found ? line(row.found.excerpt, 160) : [STATES[state], line(row.backend, 30), row.project && line(row.project, 30), ago(row.last_activity)].filter(Boolean).join(' · '));
    acts.hidden = !this.isRich;
    const [star, menu] = acts.children;
    put(star, row.starred ? '★' : '☆');
    star.ariaPressed = String(Boolean(row.starred));
    star.ariaLabel = star.title = `${row.starred ? 'Unstar' : 'Star'} ${name}`;
    menu.ariaLabel = menu.title = `More for ${name}`;
    const form = node.querySelector('form'), isNaming = this.#naming === row.session;
    open.hidden = isNaming;
    if (isNaming && !form) node.append(this.#form(row));
    if (!isNaming) form?.remove();
    if (isNaming) acts.hidden = true;
  }

  /** @param {Row} row */
  #form(row) {
    const input = make('input', { value: row.title ?? '', maxLength: 200, ariaLabel: 'A new name', autocomplete: 'off' });
    const form = make('form', { children: [input] });
    const done = (title) => {
      if (this.#naming !== row.session) return;
      this.#naming = undefined;
      if (title !== undefined && title !== (row.title ?? '')) this.#describe(row, { title });
      else this.draw();
    };
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      done(input.value.trim());
    });
    input.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') done(undefined);
    });
    input.addEventListener('blur', () => done(input.value.trim()));
    setTimeout(() => input.select());
    return form;
  }

  /** @param {Row} row @param {HTMLElement} at */
  #menu(row, at) {
    const menu = $('session-menu'), { bottom, right } = at.getBoundingClientRect();
    const act = (text, run, kind = '') => button(text, () => {
      menu.hidePopover();
      run();
    }, { kind });
    const really = button('Delete…', () => really.replaceWith(act('Delete for good', () => this.#delete(row), 'danger')), { kind: 'danger' });
    menu.replaceChildren(
      act('Rename', () => {
        this.#naming = row.session;
        this.draw();
      }),
      act(row.archived ? 'Take it back' : 'Put it away', () => this.#describe(row, { archived: !row.archived })),
      act('Save as Markdown', () => this.#save(row, 'markdown')),
      act('Save its log', () => this.#save(row, 'jsonl')),
      really,
    );
    menu.showPopover();
    const box = menu.getBoundingClientRect();
    menu.style.top = `${Math.min(bottom + 4, innerHeight - box.height - 8)}px`;
    menu.style.left = `${Math.max(8, right - box.width)}px`;
    menu.firstChild.focus();
  }
}

/** What a session is called. @param {{ title?: string, session: string }} row */
export const nameOf = (row) => line(row.title, 120) || `Untitled ${row.session.slice(-6)}`;

/** How long ago, roughly. @param {number} at */
function ago(at) {
  const minutes = (Date.now() - at) / 60_000;
  if (minutes < 1) return 'just now';
  if (minutes < 60) return `${Math.floor(minutes)} min ago`;
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)} h ago`;
  return new Date(at).toLocaleDateString('en-GB', { day: 'numeric', month: 'short', ...(minutes > 300 * 24 * 60 && { year: 'numeric' }) });
}
