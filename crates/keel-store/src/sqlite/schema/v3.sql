-- What people say about a session, and whether it waits for somebody.
ALTER TABLE session ADD COLUMN title TEXT;
ALTER TABLE session ADD COLUMN cwd TEXT;
ALTER TABLE session ADD COLUMN starred INTEGER NOT NULL DEFAULT 0;
ALTER TABLE session ADD COLUMN archived INTEGER NOT NULL DEFAULT 0;
ALTER TABLE session ADD COLUMN tags TEXT NOT NULL DEFAULT '[]';
ALTER TABLE session ADD COLUMN waiting INTEGER NOT NULL DEFAULT 0;

-- The listings' indexes, with what counts are made from behind the order: counting reads no row.
DROP INDEX session_recent;
DROP INDEX session_project;
DROP INDEX session_subject;
DROP INDEX session_subject_project;
CREATE INDEX session_recent ON session
  (last_activity, session, ended, waiting, open_turn, archived);
CREATE INDEX session_project ON session
  (project, last_activity, session, ended, waiting, open_turn, archived)
  WHERE project IS NOT NULL;
CREATE INDEX session_subject ON session
  (subject, last_activity, session, ended, waiting, open_turn, archived);
CREATE INDEX session_subject_project ON session
  (subject, project, last_activity, session, ended, waiting, open_turn, archived)
  WHERE project IS NOT NULL;

-- What a search finds a session by: its title, and what was said. See `search.rs`.
