//! Sessions that go from store to store: marks, parts that are kept until they are accepted.
//!
//! As all writes: inside a transaction that the caller began. A session is received in one statement
//! after the other within one transaction, so that a power cut leaves all of it or nothing.

use keel_wire::{
    SessionId,
    handover::{Handover, Mark, Offer, Part, Whole},
    record::{Batch, Fence, StoredReceipt},
};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    apply,
    failure::error_of,
    rows::{self, json, number},
};
use crate::{
    CommitError, Head, STAGED_BYTES_MAX, StoreError, StoreErrorKind,
    check::{self, Standing},
};

fn sql<T>(outcome: rusqlite::Result<T>) -> Result<T, StoreError> {
    outcome.map_err(|error| error_of(&error))
}

fn refuse<T>(why: impl Into<String>) -> Result<T, StoreError> {
    Err(StoreError::new(StoreErrorKind::Other, why))
}

pub(super) fn read(conn: &Connection, session: &SessionId) -> Result<Option<Handover>, StoreError> {
    let mut find = sql(conn.prepare_cached("SELECT data FROM handover WHERE session = ?1"))?;
    let found = sql(find.query([session.as_str()]))?;
    Ok(rows::collect(found, |row| rows::parsed(row, 0))?.pop())
}

pub(super) fn held(
    conn: &Connection,
    after: Option<&SessionId>,
    limit: usize,
) -> Result<Vec<SessionId>, StoreError> {
    let mut select = sql(conn.prepare_cached(
        "SELECT session FROM session WHERE ended = 0 AND session > ?1 ORDER BY session LIMIT ?2",
    ))?;
    let after = after.map_or("", SessionId::as_str);
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    rows::collect_sound(sql(select.query(params![after, most]))?, |row| {
        rows::id(row, 0)
    })
}

pub(super) fn mark(
    conn: &Connection,
    session: &SessionId,
    next: &Handover,
) -> Result<(), StoreError> {
    check::mark(read(conn, session)?.as_ref(), next)?;
    match next.mark {
        Mark::Offered { .. } if apply::known(conn, session)?.is_none() => {
            return refuse("a session that is not here is not offered");
        }
        Mark::Moved { .. } => apply::delete(conn, session)?,
        Mark::Offered { .. } | Mark::Received { .. } | Mark::Kept | Mark::Declined => {}
    }
    write(conn, session, next)
}

fn write(conn: &Connection, session: &SessionId, next: &Handover) -> Result<(), StoreError> {
    let offered = matches!(next.mark, Mark::Offered { .. });
    let mut write = apply::cached(
        conn,
        "INSERT OR REPLACE INTO handover (session, offered, data) VALUES (?1, ?2, ?3)",
    )?;
    let row = params![session.as_str(), offered, json(next)];
    sql(write.execute(row)).map(drop)
}

pub(super) fn stage(conn: &Connection, offer: &Offer, part: &Part) -> Result<(), StoreError> {
    let session = offer.session.as_str();
    if check::standing(read(conn, &offer.session)?.as_ref(), offer) != Standing::Open {
        return refuse("that offer is past");
    }
    let text = json(part);
    if matches!(part, Part::Begin { .. }) {
        forget(conn, &offer.session)?;
    } else {
        let mut find = apply::cached(
            conn,
            "SELECT handover, (SELECT sum(octet_length(part)) FROM staged WHERE session = ?1)
             FROM staged WHERE session = ?1 LIMIT 1",
        )?;
        let kept = find.query_row([session], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
        });
        match sql(kept.optional())? {
            Some((id, bytes)) if id == offer.id.as_str() => {
                let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                if bytes.saturating_add(text.len()) > STAGED_BYTES_MAX {
                    return refuse("it is larger than what may be received");
                }
            }
            Some(_) | None => return refuse("no such session is being received"),
        }
    }
    let mut keep = apply::cached(
        conn,
        "INSERT INTO staged (session, handover, part) VALUES (?1, ?2, ?3)",
    )?;
    sql(keep.execute(params![session, offer.id.as_str(), text])).map(drop)
}

fn forget(conn: &Connection, session: &SessionId) -> Result<(), StoreError> {
    let mut forget = apply::cached(conn, "DELETE FROM staged WHERE session = ?1")?;
    sql(forget.execute([session.as_str()])).map(drop)
}

fn parts(conn: &Connection, offer: &Offer) -> Result<Vec<Part>, StoreError> {
    let mut select = apply::cached(
        conn,
        "SELECT part FROM staged WHERE session = ?1 AND handover = ?2 ORDER BY id",
    )?;
    let found = sql(select.query([offer.session.as_str(), offer.id.as_str()]))?;
    rows::collect(found, |row| rows::parsed(row, 0))
}

pub(super) fn accept(
    conn: &Connection,
    granted: Fence,
    offer: &Offer,
) -> Result<Option<Head>, CommitError> {
    let written = |error| CommitError::NotWritten(error);
    let kept = read(conn, &offer.session).map_err(written)?;
    match check::standing(kept.as_ref(), offer) {
        Standing::Accepted | Standing::Since => {
            return head(conn, &offer.session).map_err(written);
        }
        Standing::Past => return Ok(None),
        Standing::Open => {}
    }
    if apply::known(conn, &offer.session)
        .map_err(written)?
        .is_some()
    {
        return Ok(None);
    }
    let parts = parts(conn, offer).map_err(written)?;
    forget(conn, &offer.session).map_err(written)?;
    let whole = match Whole::of(parts, &offer.session) {
        Ok(whole) => whole,
        Err(why) => {
            tracing::warn!(session = %offer.session, why, "what was received is no session");
            return Ok(None);
        }
    };
    let received = Handover {
        moves: offer.moves,
        key: Some(whole.key),
        mark: Mark::Received {
            id: offer.id.clone(),
        },
    };
    write(conn, &offer.session, &received).map_err(written)?;
    put(conn, granted, whole)?;
    head(conn, &offer.session).map_err(written)
}

/// Writes a session that is not here, whose log may begin above its first position.
fn put(conn: &Connection, fence: Fence, whole: Whole) -> Result<(), CommitError> {
    let (session, trimmed) = (whole.row.session.clone(), whole.row.trimmed);
    let receipts = whole.streams.iter().flat_map(|stream| {
        let id = &stream.row.stream;
        stream.receipts.iter().map(|(n, body)| StoredReceipt {
            stream: id.clone(),
            n: *n,
            body: body.clone(),
        })
    });
    let search = whole.searchable();
    let batch = Batch {
        search,
        fence,
        expected: None,
        receipts: receipts.collect(),
        streams: whole
            .streams
            .iter()
            .map(|stream| stream.row.clone())
            .collect(),
        row: whole.row,
        events: whole.events,
        streams_dropped: Vec::new(),
        snapshot: whole.snapshot,
        compact: None,
    };
    apply::commit(conn, &batch)?;
    let rest = || {
        let mut begins = apply::cached(conn, "UPDATE session SET trimmed = ?2 WHERE session = ?1")?;
        sql(begins.execute(params![session.as_str(), number(trimmed)]))?;
        apply::journal(conn, &session, &whole.entries)
    };
    rest().map_err(CommitError::NotWritten)
}

pub(super) fn settle(conn: &Connection, offer: &Offer) -> Result<Option<Head>, StoreError> {
    match check::standing(read(conn, &offer.session)?.as_ref(), offer) {
        Standing::Accepted | Standing::Since => return head(conn, &offer.session),
        Standing::Past => return Ok(None),
        Standing::Open => {}
    }
    forget(conn, &offer.session)?;
    if apply::known(conn, &offer.session)?.is_none() {
        let declined = Handover {
            moves: offer.moves,
            key: None,
            mark: Mark::Declined,
        };
        write(conn, &offer.session, &declined)?;
    }
    Ok(None)
}

/// It may have been deleted since: it was accepted all the same.
fn head(conn: &Connection, session: &SessionId) -> Result<Option<Head>, StoreError> {
    Ok(apply::head(conn, session)?.or(Some(Head::NONE)))
}
