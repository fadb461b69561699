// The sessions of whoever holds the token: found, opened, called, tagged, starred, archived, deleted. The
// last one used comes first; what is further down is read when somebody gets there.

import { $, button, keyed, make, put } from './dom.js';
import { ask } from './link.js';
import { nameOf, rowNode, showRow } from './session-row.js';
import { line } from './text/visible.js';
import { sentenced } from './words.js';

const PAGE = 40, SHOWN_MAX = 200;
/** How often a list that is looked at is read again. */
const EVERY_MS = 10_000;
/** From a key to the search. */
const SEARCH_MS = 200;
/** From something that happened to another look. */
const SOON_MS = 400;

const FILTERS = { current: ['Current', {}], starred: ['Starred', { starred: 'true' }], archived: ['Archived', { archived: 'true' }] };
/** Tags that are offered to choose one. */
const TAGS_MAX = 100;

/** @typedef {import('./session-row.js').Row} Row */

export class Sessions {
  /** @type {Row[]} */
  rows = [];
  /** Whether this server describes, filters and searches. */
  isRich = false;
  #next = undefined;
  /** The page that is on its way. @type {{ before: string } | undefined} */
  #asking = undefined;
  #filter = 'current';
  #query = '';
  #tag = '';
  /** Tags that were seen. @type {Set<string>} */
  #tags = new Set();
  #asked = 0;
  /** Whether what is looked for was not read yet. */
  #isNew = true;
  #timer = 0;
  #around;
  #counts = undefined;
  /** What of which is being written. @type {{ session: string, what: 'title' | 'tags' } | undefined} */
  #writing = undefined;
  #error = '';
  /** What was not done that somebody wanted, until they want something else. */
  #refusal = '';
  /** What was done that can be undone, until they want something else. @type {{ text: string, undo: () => void } | undefined} */
  #done = undefined;
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
        this.#anew();
      }, SEARCH_MS);
    });
    $('tag').addEventListener('change', () => {
      this.#tag = $('tag').value;
      this.rows = [];
      this.#anew();
    });
    $('session-list').addEventListener('focusin', ({ target }) => this.#steps(target.closest('li')));
    $('session-list').addEventListener('keydown', (event) => this.#walk(event));
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
    this.rows = [];
    this.#anew();
  }

  /** Something else is looked for, from its beginning. */
  #anew() {
    this.#refusal = '';
    this.#done = this.#next = this.#asking = undefined;
    this.#isNew = true;
    $('session-list').scrollTop = 0;
    this.read();
  }

  #path(more) {
    const query = new URLSearchParams({ ...FILTERS[this.#filter][1], ...(this.#query && { q: this.#query }), ...(this.#tag && { tag: this.#tag }), ...more });
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
      this.#isNew = false;
      // More is there than was asked for, or than was there when it was.
      const beyond = this.rows.length > limit && page.next ? this.#beyond(page.sessions) : [];
      this.rows = [...page.sessions, ...beyond];
      // What was asked for behind other rows is asked for again.
      this.#next = beyond.length > 0 ? this.#next ?? this.#asking?.before : page.next ?? undefined;
      this.#asking = undefined;
      this.#error = page.more ? 'There is more; other words narrow it down.' : '';
    } catch (error) {
      if (asked !== this.#asked) return;
      this.#error = `${sentenced(`The list cannot be read: ${error.message}`)} It is tried again by itself.`;
    }
    this.draw();
  }

  /** What is known of what comes after those: whatever has moved up is among them. @param {Row[]} first */
  #beyond(first) {
    const known = new Set(first.map(({ session }) => session)), last = first.at(-1)?.last_activity ?? 0;
    return this.rows.filter((row) => !known.has(row.session) && row.last_activity <= last);
  }

  /** One page at a time, and only behind the rows that it was asked for. */
  async #more() {
    const before = this.#next, path = this.#path({});
    if (!before || this.#asking) return;
    const asking = this.#asking = { before };
    this.#next = undefined;
    try {
      const page = await ask(this.#around.token(), this.#path({ before, limit: PAGE }));
      if (asking !== this.#asking) return; // A read has overtaken it, and knows what is next.
      const known = new Set(this.rows.map(({ session }) => session));
      this.rows = [...this.rows, ...page.sessions.filter(({ session }) => !known.has(session))];
      this.#next = page.next ?? undefined;
    } catch {
      if (asking !== this.#asking) return;
      setTimeout(() => path === this.#path({}) && (this.#next ??= before), EVERY_MS); // Whoever still looks then tries again.
    }
    this.#asking = undefined;
    this.draw();
  }

  get #isNearEnd() {
    const list = $('session-list');
    return list.checkVisibility() && list.scrollHeight - list.scrollTop - list.clientHeight < 200;
  }

  /** @param {Row} row @param {Record<string, unknown>} what */
  async #describe(row, what) {
    this.#refusal = '';
    this.#done = undefined;
    try {
      await ask(this.#around.token(), `/v1/sessions/${encodeURIComponent(row.session)}`, { method: 'PATCH', body: what });
      this.#asked += 1; // What was read before it knows nothing of it.
      Object.assign(row, what);
      if (what.archived !== undefined) this.#moved(row, what.archived);
    } catch (error) {
      this.#refusal = sentenced(`That did not work: ${error.message}`);
    }
    this.draw();
    this.soon();
  }

  /** It is in another list now, from where it can be had back. @param {Row} row @param {boolean} isArchived */
  #moved(row, isArchived) {
    this.rows = this.rows.filter(({ session }) => session !== row.session);
    this.#done = { text: `“${nameOf(row)}” is ${isArchived ? 'archived' : 'current again'}.`, undo: () => this.#describe(row, { archived: !isArchived }) };
  }

  /** @param {Row} row @param {boolean} [force] though it is in use */
  async #delete(row, force = false) {
    this.#busy = this.#done = undefined;
    this.#refusal = '';
    try {
      await this.#around.leave(row.session);
      await ask(this.#around.token(), `/v1/sessions/${encodeURIComponent(row.session)}${force ? '?force=true' : ''}`, { method: 'DELETE' });
      this.#asked += 1;
      this.rows = this.rows.filter(({ session }) => session !== row.session);
    } catch (error) {
      if (error.code === 'session_busy') this.#busy = row;
      else this.#refusal = sentenced(`It was not deleted: ${error.message}`);
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
      this.#refusal = sentenced(`It was not saved: ${error.message}`);
      this.draw();
    }
  }

  draw() {
    const current = this.#around.current();
    for (const id of ['filters', 'search-box']) $(id).hidden = !this.isRich;
    this.#drawTags();
    for (const node of $('filters').children) {
      const { name } = node.dataset;
      node.ariaPressed = String(name === this.#filter);
      const { running = 0, waiting = 0, idle = 0, ended = 0, archived = 0 } = this.#counts ?? {};
      const n = name === 'current' ? running + waiting + idle + ended : name === 'archived' ? archived : 0;
      put(node, n > 0 ? `${FILTERS[name][0]} ${n}` : FILTERS[name][0]);
    }
    put($('sessions-count'), this.#summary());
    this.#drawRows(current);
    if (this.#next && this.#isNearEnd) this.#more();
    const done = this.#done;
    $('sessions-done').hidden = !done;
    if (done && $('sessions-done').firstChild?.textContent !== done.text) $('sessions-done').replaceChildren(make('span', { text: done.text }), ' ', button('Undo', done.undo, { kind: 'small' }));
    if (!done) $('sessions-done').replaceChildren();
    const busy = this.#busy;
    $('sessions-busy').hidden = !busy;
    if (busy) $('sessions-busy').replaceChildren(`“${nameOf(busy)}” is in use: somebody is connected, or a turn runs. `, button('End and delete it', () => this.#delete(busy, true), { kind: 'small' }), ' ', button('Keep it', () => {
      this.#busy = undefined;
      this.draw();
    }, { kind: 'small quiet' }));
    put($('sessions-note'), this.#refusal || this.#error || (this.rows.length > 0 ? (this.#query ? '' : this.#worth()) : this.#next ? 'Looking further back…' : this.#nothing()));
  }

  /** What to do where there is nothing. */
  #nothing() {
    if (this.#isNew) return 'Reading…';
    const isNarrow = this.#filter !== 'current' || this.#tag;
    if (this.#query) return `Nothing is found${this.#tag ? ` with the tag “${line(this.#tag, 40)}”` : ''}. ${isNarrow ? 'Look under Current, or use fewer words.' : 'Use fewer words, or look under Archived.'}`;
    if (this.#tag) return 'None of these has this tag.';
    return { starred: 'Nothing is starred yet: the star of a session does it.', archived: 'Nothing is archived.' }[this.#filter] ?? 'No session yet. What you open is listed here.';
  }

  #drawTags() {
    for (const { tags = [] } of this.rows) for (const tag of tags) if (this.#tags.size < TAGS_MAX) this.#tags.add(tag);
    const all = [...this.#tags].toSorted();
    $('tag').hidden = !this.isRich || (all.length === 0 && !this.#tag);
    keyed($('tag'), ['', ...all], (tag) => `=${tag}`, (tag) => make('option', { value: tag, text: tag ? line(tag, 40) : 'Any tag' }), () => {});
    if ($('tag').value !== this.#tag) $('tag').value = this.#tag;
  }

  /** The list is one stop of the keyboard; the arrows go from row to row. @param {Element | null} row */
  #steps(row) {
    for (const node of $('session-list').children) for (const one of node.querySelectorAll('button')) one.tabIndex = node === row ? 0 : -1;
  }

  /** @param {KeyboardEvent} event */
  #walk(event) {
    const { children } = $('session-list'), at = [...children].findIndex((node) => node.contains(event.target));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: children.length - 1 }[event.key];
    if (to === undefined || !children[to] || event.target.matches('input')) return;
    event.preventDefault();
    children[to].querySelector('.open').focus();
  }

  /** Whose row goes while it has the focus goes on in the next one. @param {string | undefined} current */
  #drawRows(current) {
    const list = $('session-list'), at = [...list.children].findIndex((node) => node.contains(document.activeElement));
    const act = { open: (row) => this.#around.open(row), star: (row) => this.#describe(row, { starred: !row.starred }), menu: (row, at) => this.#menu(row, at) };
    keyed(list, this.rows, ({ session }) => session, ({ session }) => rowNode(() => this.rows.find((row) => row.session === session), act), (node, row) => showRow(node, row, {
      isCurrent: row.session === current, isRich: this.isRich,
      writing: this.#writing?.session === row.session ? this.#writing.what : undefined, written: (what) => this.#written(row, what),
    }));
    const focused = [...list.children].find((node) => node.contains(document.activeElement));
    this.#steps(focused ?? list.querySelector('[aria-current]') ?? list.firstElementChild);
    if (at < 0 || focused) return;
    const next = list.children[Math.min(at, list.children.length - 1)];
    (next?.querySelector('.open') ?? $('new')).focus();
  }

  /** @param {Row} row @param {Record<string, unknown> | undefined} what it is to be, if it is to be another */
  #written(row, what) {
    if (this.#writing?.session !== row.session) return;
    this.#writing = undefined;
    if (what) this.#describe(row, what);
    this.draw();
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

  /** @param {Row} row @param {HTMLElement} at */
  #menu(row, at) {
    const menu = $('session-menu'), { bottom, right } = at.getBoundingClientRect();
    const act = (text, run, kind = '') => button(text, () => {
      menu.hidePopover();
      run();
    }, { kind });
    const write = (what) => () => {
      this.#writing = { session: row.session, what };
      this.draw();
    };
    const really = button('Delete…', () => {
      const sure = act('Delete for good', () => this.#delete(row), 'danger sure');
      really.replaceWith(sure);
      sure.focus();
    }, { kind: 'danger' });
    menu.replaceChildren(
      act('Rename', write('title')),
      act('Tags', write('tags')),
      act(row.archived ? 'Unarchive' : 'Archive', () => this.#describe(row, { archived: !row.archived })),
      act('Save as Markdown', () => this.#save(row, 'markdown')),
      act('Save as JSON lines', () => this.#save(row, 'jsonl')),
      really,
    );
    menu.ariaLabel = nameOf(row);
    menu.showPopover();
    const box = menu.getBoundingClientRect();
    menu.style.top = `${Math.min(bottom + 4, innerHeight - box.height - 8)}px`;
    menu.style.left = `${Math.max(8, right - box.width)}px`;
    menu.firstChild.focus();
  }
}
