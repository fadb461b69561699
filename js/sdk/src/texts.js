// @evenkeel/client/texts: the sentences of faults that this side makes, and the names of those that a server's
// close code alone tells. To import it is enough.

import { OWN_CODES } from './codes.js';
import { MORE_CODES, SAYINGS } from './codes-texts.js';
import { sayings } from './wire/fault.js';

Object.assign(OWN_CODES, MORE_CODES);
Object.assign(sayings, SAYINGS, {
  eof: 'the connection ended without a close frame',
  reset: 'the connection was reset',
  write_failed: 'nothing can be sent any more',
});
