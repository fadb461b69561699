// A server whose backends are real programs that say what a test wants.

import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Server, binary } from './server.mjs';

const agent = join(dirname(binary), 'keel-fake-agent');

/** One line of JSON that the program writes. */
const says = (line) => `say=${JSON.stringify(line).replaceAll('\\', '\\\\')}\\n`;
export const text = (text) => says({ type: 'text', text });
export const item = (item) => says({ type: 'item', item });
export const asks = (action) => says({ type: 'needs_action', ...action });
/** A text in pieces, as a model says it. */
export const streams = (whole, { letters = 4, every_ms = 2 } = {}) => (whole.match(new RegExp(`[^]{1,${letters}}`, 'gu')) ?? []).flatMap((piece) => (every_ms > 0 ? [text(piece), `sleep-ms=${every_ms}`] : [text(piece)]));

/** A kind of server with backends by these names, each a program that does one thing after the other. The sessions of the first may say where it works. */
export const withAgents = (programs) => class extends Server {
  config() {
    if (!existsSync(agent)) throw new Error(`there is no ${agent}: cargo build -p keel-agent --bins`);
    const backends = Object.entries(programs).map(([name, ops], n) => `[backends.${name}]\nkind = "process"\noutput = "json_lines"\ncommand = ${JSON.stringify([agent, 'read-line', ...ops])}\n${n === 0 ? `cwd_roots = [${JSON.stringify(this.dir)}]\n` : ''}`);
    return `${super.config()}${backends.join('')}`;
  }
};
