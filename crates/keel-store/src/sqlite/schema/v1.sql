-- One row, id 1: who may write, and how the last one left.
CREATE TABLE meta (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  fence INTEGER NOT NULL,
  clean INTEGER NOT NULL,
  probe BLOB
) STRICT;
INSERT INTO meta (id, fence, clean) VALUES (1, 0, 1);

CREATE TABLE session (
  id INTEGER PRIMARY KEY,
  session TEXT NOT NULL UNIQUE,
  subject TEXT NOT NULL,
  backend TEXT NOT NULL,
  project TEXT,
  created_at INTEGER NOT NULL,
  last_activity INTEGER NOT NULL,
  ends_by INTEGER,
  epoch INTEGER NOT NULL,
  head INTEGER NOT NULL,
  trimmed INTEGER NOT NULL,
  open_turn INTEGER NOT NULL,
  ended INTEGER NOT NULL,
  slot TEXT
) STRICT;
CREATE INDEX session_recent ON session (last_activity, session);
CREATE INDEX session_project ON session (project, last_activity, session)
  WHERE project IS NOT NULL;
CREATE INDEX session_subject ON session (subject, last_activity, session);
CREATE INDEX session_subject_project ON session (subject, project, last_activity, session)
  WHERE project IS NOT NULL;
CREATE INDEX session_unsettled ON session (session)
  WHERE ended = 0 AND (open_turn = 1 OR slot IS NOT NULL);

-- Found by the last position that each covers: the first above a cursor is the next to read.
CREATE TABLE event (
  id INTEGER PRIMARY KEY,
  session INTEGER NOT NULL,
  from_seq INTEGER NOT NULL,
  to_seq INTEGER NOT NULL,
  kind TEXT NOT NULL,
  data TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX event_position ON event (session, to_seq);

CREATE TABLE snapshot (
  session INTEGER PRIMARY KEY,
  seq INTEGER NOT NULL,
  data TEXT NOT NULL
) STRICT;

CREATE TABLE stream (
  session INTEGER NOT NULL,
  stream TEXT NOT NULL,
  participant TEXT NOT NULL,
  consumed INTEGER NOT NULL,
  receipts_ack INTEGER NOT NULL,
  PRIMARY KEY (session, stream)
) STRICT, WITHOUT ROWID;

CREATE TABLE receipt (
  session INTEGER NOT NULL,
  stream TEXT NOT NULL,
  n INTEGER NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (session, stream, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE journal (
  id INTEGER PRIMARY KEY,
  session INTEGER NOT NULL,
  entry TEXT NOT NULL
) STRICT;
CREATE INDEX journal_session ON journal (session, id);

CREATE TABLE revoked (
  token TEXT PRIMARY KEY,
  until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
