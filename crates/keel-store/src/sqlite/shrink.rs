//! Making a log smaller without changing what it says: compaction, and trimming below a snapshot.

use keel_wire::{
    Seq, SessionId,
    limits::TEXT_BYTES_MAX,
    record::{StoredEvent, compact},
};
use rusqlite::{Connection, params};

use super::{
    apply::{Known, append, cached, known},
    failure::error_of,
    rows::{self, number},
};
use crate::{StoreError, StoreErrorKind, check};

/// Replaces what lies wholly within the positions by the same in fewer rows.
pub(super) fn compact_between(
    conn: &Connection,
    id: i64,
    from: Seq,
    to: Seq,
) -> Result<(), StoreError> {
    for (from, to) in check::compactions(from, to, snapshot(conn, id)?) {
        let before = match between(conn, id, from, to) {
            Ok(events) => events,
            // It need not be. The load of this session will say what is wrong with it.
            Err(error) if error.kind == StoreErrorKind::Corrupt => {
                tracing::error!(%error, "a log that cannot be read is not compacted");
                continue;
            }
            Err(error) => return Err(error),
        };
        let after = compact(&before, TEXT_BYTES_MAX);
        if after.len() < before.len() {
            replace(conn, id, (from, to), &after).map_err(|error| error_of(&error))?;
        }
    }
    Ok(())
}

fn snapshot(conn: &Connection, id: i64) -> Result<Option<Seq>, StoreError> {
    let mut find = cached(conn, "SELECT seq FROM snapshot WHERE session = ?1")?;
    let found = find.query([id]).map_err(|error| error_of(&error))?;
    Ok(rows::collect(found, |row| rows::seq(row, 0))?.pop())
}

fn between(conn: &Connection, id: i64, from: Seq, to: Seq) -> Result<Vec<StoredEvent>, StoreError> {
    let columns = rows::EVENT;
    let sql = format!(
        "SELECT {columns} FROM event
         WHERE session = ?1 AND to_seq BETWEEN ?2 AND ?3 AND from_seq >= ?2 ORDER BY to_seq"
    );
    let mut select = cached(conn, &sql)?;
    let found = select.query(params![id, number(from), number(to)]);
    rows::collect(found.map_err(|error| error_of(&error))?, rows::event)
}

fn replace(
    conn: &Connection,
    id: i64,
    (from, to): (Seq, Seq),
    events: &[StoredEvent],
) -> rusqlite::Result<()> {
    let sql = "DELETE FROM event
               WHERE session = ?1 AND to_seq BETWEEN ?2 AND ?3 AND from_seq >= ?2";
    conn.prepare_cached(sql)?
        .execute(params![id, number(from), number(to)])?;
    append(conn, id, events)
}

/// Drops the events that lie wholly at or below `through`.
pub(super) fn trim(conn: &Connection, session: &SessionId, through: Seq) -> Result<(), StoreError> {
    let Some(Known { id, .. }) = known(conn, session)? else {
        return Ok(());
    };
    check::trim(through, snapshot(conn, id)?)?;
    drop_through(conn, id, through).map_err(|error| error_of(&error))
}

fn drop_through(conn: &Connection, id: i64, through: Seq) -> rusqlite::Result<()> {
    let which = params![id, number(through)];
    let sql = "SELECT max(to_seq) FROM event WHERE session = ?1 AND to_seq <= ?2";
    let last: Option<i64> = conn
        .prepare_cached(sql)?
        .query_row(which, |row| row.get(0))?;
    let Some(last) = last else { return Ok(()) };
    let sql = "DELETE FROM event WHERE session = ?1 AND to_seq <= ?2";
    conn.prepare_cached(sql)?.execute(which)?;
    let sql = "UPDATE session SET trimmed = ?2 WHERE id = ?1";
    conn.prepare_cached(sql)?.execute([id, last]).map(drop)
}
