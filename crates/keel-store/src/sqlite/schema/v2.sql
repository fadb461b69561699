-- A stream that was opened for a client that came back on one that is no longer kept: what became of
-- its commands up to here is not known.
ALTER TABLE stream ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;
