// One session in the list: what it is called, how it stands, and the field in which its name or its tags are
// written.

import { button, make, put } from './dom.js';
import { line } from './text/visible.js';

const STATES = { running: 'a turn runs', waiting: 'waits for somebody', ended: 'over' };
/** Tags of a session that are shown in its row. */
const TAGS_SHOWN = 3;

/** @typedef {{ session: string, title?: string, backend: string, project?: string, starred?: boolean, archived?: boolean, tags?: string[], state?: string, open_turn?: string, ended: boolean, head: number, last_activity: number, found?: { excerpt: string } }} Row */

/** What a session is called. @param {{ title?: string, session: string }} row */
export const nameOf = (row) => line(row.title, 120) || `Untitled ${row.session.slice(-6)}`;

/**
 * @param {() => Row | undefined} find what is known of it now
 * @param {{ open: (row: Row) => void, star: (row: Row) => void, menu: (row: Row, at: HTMLElement) => void }} act
 */
export function rowNode(find, act) {
  const on = (run) => (event) => {
    const row = find();
    if (row) run(row, event.currentTarget);
  };
  const open = button('', on(act.open), { kind: 'open' });
  open.append(make('strong', { dir: 'auto' }), make('small', { dir: 'auto' }));
  const star = button('☆', on(act.star), { kind: 'quiet star' });
  const menu = button('⋯', on(act.menu), { kind: 'quiet' });
  menu.setAttribute('aria-haspopup', 'true');
  return make('li', { children: [open, make('div', { kind: 'acts', children: [star, menu] })] });
}

/**
 * @param {HTMLElement} node @param {Row} row
 * @param {{ isCurrent: boolean, isRich: boolean, writing: 'title' | 'tags' | undefined, written: (what: Record<string, unknown> | undefined) => void }} about
 */
export function showRow(node, row, { isCurrent, isRich, writing, written }) {
  const [open, acts] = node.children, name = nameOf(row);
  if (isCurrent) node.setAttribute('aria-current', 'true');
  else node.removeAttribute('aria-current');
  put(open.firstChild, name);
  open.title = name;
  open.firstChild.className = row.starred ? 'starred' : '';
  const state = row.state ?? (row.ended ? 'ended' : row.open_turn ? 'running' : 'idle');
  open.lastChild.className = state === 'running' || state === 'waiting' ? 'works' : '';
  put(open.lastChild, row.found ? line(row.found.excerpt, 160) : [STATES[state], line(row.backend, 30), row.project && line(row.project, 30), ...tagsOf(row), ago(row.last_activity)].filter(Boolean).join(' · '));
  const [star, menu] = acts.children;
  put(star, row.starred ? '★' : '☆');
  star.ariaPressed = String(Boolean(row.starred));
  star.ariaLabel = `Star ${name}`;
  star.title = row.starred ? 'Unstar' : 'Star';
  menu.ariaLabel = `More for ${name}`;
  menu.title = 'More';
  const form = node.querySelector('form'), isOther = form && form.dataset.what !== writing;
  if (isOther) form.remove();
  if (writing && (!form || isOther)) node.append(field(row, writing, written));
  open.hidden = Boolean(writing);
  acts.hidden = Boolean(writing) || !isRich;
}

/** @param {Row} row */
const tagsOf = ({ tags = [] }) => tags.slice(0, TAGS_SHOWN).map((tag) => `#${line(tag, 20)}`).concat(tags.length > TAGS_SHOWN ? '…' : []);

const FIELDS = {
  title: { label: 'A new name', of: (row) => row.title ?? '', to: (text) => ({ title: text }) },
  tags: { label: 'Tags, with commas between', of: (row) => (row.tags ?? []).join(', '), to: (text) => ({ tags: [...new Set(text.split(',').map((tag) => tag.trim()).filter(Boolean))] }) },
};

/** @param {Row} row @param {'title' | 'tags'} what @param {(what: Record<string, unknown> | undefined) => void} written */
function field(row, what, written) {
  const { label, of, to } = FIELDS[what], before = of(row);
  const input = make('input', { value: before, maxLength: 400, ariaLabel: label, placeholder: label, autocomplete: 'off' });
  const form = make('form', { children: [input] });
  form.dataset.what = what;
  const done = () => {
    const text = input.value.trim();
    written(text === before ? undefined : to(text));
  };
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    done();
  });
  input.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') written(undefined);
  });
  input.addEventListener('blur', () => input.isConnected && done());
  setTimeout(() => {
    input.focus();
    input.select();
  });
  return form;
}

/** How long ago, roughly. @param {number} at */
function ago(at) {
  const minutes = (Date.now() - at) / 60_000;
  if (minutes < 1) return 'just now';
  if (minutes < 60) return `${Math.floor(minutes)} min ago`;
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)} h ago`;
  return new Date(at).toLocaleDateString('en-GB', { day: 'numeric', month: 'short', ...(minutes > 300 * 24 * 60 && { year: 'numeric' }) });
}
