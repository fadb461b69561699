// The fault codes of media. Generated from `spec/vectors/codes.json` by `npm run codes`.

import { NEVER, NOW, row } from './codes.js';

export const MEDIA_CODES = {
  media_refused: row('attachment', null, NEVER, 'What was said of a transport for media cannot be accepted; nothing has changed.'),
  media_failed: row('attachment', null, NOW, 'The transport for media is gone; a new one is needed.'),
  media_stalled: row('attachment', null, NOW, 'A track that should flow does not.'),
};
