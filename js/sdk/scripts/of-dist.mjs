// For `node --import`: the tests then hold `dist/`, what is published, to what they hold `src/` to.

import { register } from 'node:module';

const hooks = `export async function resolve(specifier, context, next) {
  const found = await next(specifier, context);
  return found.url.includes('/js/sdk/src/') ? { ...found, url: found.url.replace('/js/sdk/src/', '/js/sdk/dist/') } : found;
}`;

register(`data:text/javascript,${encodeURIComponent(hooks)}`);
