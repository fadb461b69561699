// @evenkeel/client/texts: the sentences of faults that this side makes. To import it is enough.

import { OWN_SAYINGS } from './codes-texts.js';
import { sayings } from './wire/fault.js';

Object.assign(sayings, OWN_SAYINGS, {
  eof: 'the connection ended without a close frame',
  reset: 'the connection was reset',
  write_failed: 'nothing can be sent any more',
});
