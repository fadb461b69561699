//! Reads of one session. Each is one view of the store, whatever is written meanwhile.

use keel_wire::{
    ReceiptBody, Seq, SessionId, UnixMillis,
    journal::Entry,
    record::{Loaded, LoadedStream, SessionRow, StoredEvent, StoredSnapshot, StreamRow},
};
use rusqlite::{Connection, params};

use super::{
    failure::error_of,
    handover,
    rows::{self, number},
};
use crate::{PageLimit, StoreError, check};

fn sql<T>(outcome: rusqlite::Result<T>) -> Result<T, StoreError> {
    outcome.map_err(|error| error_of(&error))
}

pub(super) fn row(
    conn: &Connection,
    session: &SessionId,
) -> Result<Option<SessionRow>, StoreError> {
    let query = format!("SELECT {} FROM session WHERE session = ?1", rows::SESSION);
    let mut find = sql(conn.prepare_cached(&query))?;
    let found = sql(find.query([session.as_str()]))?;
    Ok(rows::collect(found, rows::session)?.pop())
}

pub(super) fn load(conn: &Connection, session: &SessionId) -> Result<Option<Loaded>, StoreError> {
    let view = sql(conn.unchecked_transaction())?;
    let query = format!(
        "SELECT {}, id FROM session WHERE session = ?1",
        rows::SESSION
    );
    let mut find = sql(view.prepare_cached(&query))?;
    let found = sql(find.query([session.as_str()]))?;
    let mut found = rows::collect(found, |row| {
        Ok((
            rows::session(row)?,
            rows::get::<i64>(row, rows::SESSION_COLUMNS)?,
        ))
    })?;
    let Some((row, id)) = found.pop() else {
        return Ok(None);
    };
    let snapshot = snapshot(&view, id)?;
    let base = snapshot.as_ref().map_or(Seq::ZERO, |snapshot| snapshot.seq);
    let query = format!(
        "SELECT {} FROM event WHERE session = ?1 AND to_seq > ?2 ORDER BY to_seq",
        rows::EVENT
    );
    let mut select = sql(view.prepare_cached(&query))?;
    let events = rows::collect(sql(select.query(params![id, number(base)]))?, rows::event)?;
    whole(&row, base, &events)?;
    let streams = streams(&view, id)?;
    let handover = handover::read(&view, session)?;
    Ok(Some(Loaded {
        row,
        snapshot,
        events,
        streams,
        handover,
    }))
}

/// Whether the snapshot and the events above it are all of the log.
fn whole(row: &SessionRow, base: Seq, events: &[StoredEvent]) -> Result<(), StoreError> {
    let torn = |why: String| StoreError::corrupt(format!("the log of {}: {why}", row.session));
    if base < row.trimmed {
        return Err(torn(format!(
            "trimmed through {}, folded through {base}",
            row.trimmed
        )));
    }
    let end = check::follow(base, events).map_err(torn)?;
    if end == row.head {
        Ok(())
    } else {
        Err(torn(format!(
            "it should end at {}, and ends at {end}",
            row.head
        )))
    }
}

fn snapshot(conn: &Connection, id: i64) -> Result<Option<StoredSnapshot>, StoreError> {
    let mut find = sql(conn.prepare_cached("SELECT seq, data FROM snapshot WHERE session = ?1"))?;
    let read = |row: &rusqlite::Row<'_>| {
        let snapshot: StoredSnapshot = rows::parsed(row, 1)?;
        if snapshot.seq == rows::seq(row, 0)? {
            Ok(snapshot)
        } else {
            Err(StoreError::corrupt(
                "a snapshot of another position than it says",
            ))
        }
    };
    Ok(rows::collect(sql(find.query([id]))?, read)?.pop())
}

fn streams(conn: &Connection, id: i64) -> Result<Vec<LoadedStream>, StoreError> {
    let mut find = sql(conn.prepare_cached(
        "SELECT stream, participant, consumed, receipts_ack, forgotten FROM stream
         WHERE session = ?1 ORDER BY stream",
    ))?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(StreamRow {
            stream: rows::id(row, 0)?,
            participant: rows::id(row, 1)?,
            consumed: rows::seq(row, 2)?,
            receipts_ack: rows::seq(row, 3)?,
            forgotten: rows::seq(row, 4)?,
        })
    };
    let streams = rows::collect(sql(find.query([id]))?, read)?;
    let mut find = sql(conn.prepare_cached(
        "SELECT n, body FROM receipt WHERE session = ?1 AND stream = ?2 ORDER BY n",
    ))?;
    let with_receipts = streams.into_iter().map(|row| {
        let found = sql(find.query(params![id, row.stream.as_str()]))?;
        let read = |row: &rusqlite::Row<'_>| {
            Ok((rows::seq(row, 0)?, rows::parsed::<ReceiptBody>(row, 1)?))
        };
        let receipts = rows::collect(found, read)?;
        Ok(LoadedStream { row, receipts })
    });
    with_receipts.collect()
}

pub(super) fn events(
    conn: &Connection,
    session: &SessionId,
    after: Seq,
    limit: PageLimit,
) -> Result<Vec<StoredEvent>, StoreError> {
    let query = format!(
        "SELECT {} FROM event
         WHERE session = (SELECT id FROM session WHERE session = ?1) AND to_seq > ?2
         ORDER BY to_seq LIMIT ?3",
        rows::EVENT
    );
    let mut select = sql(conn.prepare_cached(&query))?;
    let most = i64::try_from(limit.events.max(1)).unwrap_or(i64::MAX);
    let mut found = sql(select.query(params![session.as_str(), number(after), most]))?;
    let mut events: Vec<StoredEvent> = Vec::new();
    let mut bytes = 0;
    while let Some(row) = sql(found.next())? {
        let event = rows::event(row)?;
        bytes += event.cost();
        if bytes > limit.bytes && !events.is_empty() {
            break;
        }
        events.push(event);
    }
    let Some(first) = events.first() else {
        return Ok(events);
    };
    let before = Seq::new(first.from.get().saturating_sub(1)).expect("below a sequence");
    match check::follow(before, &events) {
        Ok(_) => Ok(events),
        Err(why) => Err(StoreError::corrupt(format!("the log of {session}: {why}"))),
    }
}

pub(super) const UNSETTLED: &str = "ended = 0 AND (open_turn = 1 OR slot IS NOT NULL)";

pub(super) fn unsettled(
    conn: &Connection,
    after: Option<&SessionId>,
    limit: usize,
) -> Result<Vec<SessionRow>, StoreError> {
    // No id is empty, so every id is above the empty text.
    let after = after.map_or("", SessionId::as_str);
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    let page = |query: &str| {
        let mut select = sql(conn.prepare_cached(query))?;
        rows::collect_sound(sql(select.query(params![after, most]))?, rows::session)
    };
    let mut unsettled = page(&unsettled_query())?;
    // Two walks, each along its own index.
    unsettled.extend(page(&offered_query())?);
    unsettled.sort_by(|a, b| a.session.cmp(&b.session));
    unsettled.dedup_by(|a, b| a.session == b.session);
    unsettled.truncate(limit);
    Ok(unsettled)
}

fn offered_query() -> String {
    let columns = rows::SESSION;
    format!(
        "SELECT {columns} FROM session WHERE session IN
           (SELECT session FROM handover WHERE offered = 1 AND session > ?1
            ORDER BY session LIMIT ?2)"
    )
}

pub(super) fn unsettled_query() -> String {
    let columns = rows::SESSION;
    format!(
        "SELECT {columns} FROM session WHERE {UNSETTLED} AND session > ?1 ORDER BY session LIMIT ?2"
    )
}

pub(super) fn journal(
    conn: &Connection,
    session: &SessionId,
    limit: usize,
) -> Result<Vec<Entry>, StoreError> {
    let mut select = sql(conn.prepare_cached(
        "SELECT entry FROM journal
         WHERE session = (SELECT id FROM session WHERE session = ?1) ORDER BY id DESC LIMIT ?2",
    ))?;
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    let found = sql(select.query(params![session.as_str(), most]))?;
    let mut entries = rows::collect_sound(found, |row| rows::parsed(row, 0))?;
    entries.reverse();
    Ok(entries)
}

pub(super) fn revoked(conn: &Connection) -> Result<Vec<(String, UnixMillis)>, StoreError> {
    let mut select = sql(conn.prepare_cached("SELECT token, until FROM revoked"))?;
    let read = |row: &rusqlite::Row<'_>| Ok((rows::get(row, 0)?, rows::get(row, 1)?));
    rows::collect(sql(select.query([]))?, read)
}
