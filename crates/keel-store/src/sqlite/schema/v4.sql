-- Where a session stands with being handed from server to server. It outlives the session's row, so that
-- whoever asks for a session that has moved is told where it is, and an offer that was answered stays so.
CREATE TABLE handover (
  session TEXT PRIMARY KEY,
  offered INTEGER NOT NULL,
  data TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX handover_offered ON handover (session) WHERE offered = 1;

-- Parts of sessions that are being received; nothing of them counts before all are accepted.
CREATE TABLE staged (
  id INTEGER PRIMARY KEY,
  session TEXT NOT NULL,
  handover TEXT NOT NULL,
  part TEXT NOT NULL
) STRICT;
CREATE INDEX staged_session ON staged (session, id);
