// The SDK's modules as they are, or as they are published (EVENKEEL_SDK=dist), and one page, on an origin of
// their own.

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { resolve } from 'node:path';

const source = resolve(import.meta.dirname, `../../js/sdk/${process.env.EVENKEEL_SDK ?? 'src'}`);

/** Serves `page` at `/sdk/page.html`, and the modules beside it. */
export async function serveSdk(page) {
  const site = createServer((request, response) => {
    const path = new URL(request.url, 'http://site').pathname.slice('/sdk/'.length);
    const isPage = path === 'page.html';
    if (!isPage && !path.endsWith('.js')) return response.writeHead(204).end();
    const body = isPage ? page : readFileSync(resolve(source, path), 'utf8');
    response.writeHead(200, { 'content-type': isPage ? 'text/html' : 'text/javascript' }).end(body);
  }).listen(0, '127.0.0.1');
  await once(site, 'listening');
  site.url = `http://127.0.0.1:${site.address().port}`;
  return site;
}
