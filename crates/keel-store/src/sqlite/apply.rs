//! Each write as statements, inside a transaction that the caller began.
//!
//! Nothing here begins, ends or retries anything. What fails is undone by the caller.

use keel_wire::{
    Epoch, Seq, SessionId, UnixMillis,
    journal::Entry,
    record::{Batch, Fence, SessionRow, StoredEvent, StreamRow},
};
use rusqlite::{Connection, named_params, params};

use super::{
    failure::error_of,
    rows::{self, json, millis, number},
    search, shrink,
};
use crate::{
    CommitError, Head, JOURNAL_ENTRIES_MAX, StoreError, bounds::PROBE_BYTES,
    bounds::REVOCATION_MARGIN_MS,
};

type Sql<T> = rusqlite::Result<T>;

/// A stored session, as far as writes need to know it.
pub(super) struct Known {
    pub(super) id: i64,
    pub(super) head: Seq,
    title: Option<String>,
}

pub(super) fn known(conn: &Connection, session: &SessionId) -> Result<Option<Known>, StoreError> {
    let mut find = cached(
        conn,
        "SELECT id, head, title FROM session WHERE session = ?1",
    )?;
    let mut found = find
        .query([session.as_str()])
        .map_err(|error| error_of(&error))?;
    let row = found.next().map_err(|error| error_of(&error))?;
    row.map(|row| {
        Ok(Known {
            id: rows::get(row, 0)?,
            head: rows::seq(row, 1)?,
            title: rows::get(row, 2)?,
        })
    })
    .transpose()
}

pub(super) fn cached<'c>(
    conn: &'c Connection,
    sql: &str,
) -> Result<rusqlite::CachedStatement<'c>, StoreError> {
    conn.prepare_cached(sql).map_err(|error| error_of(&error))
}

pub(super) fn fence(conn: &Connection) -> Result<Fence, StoreError> {
    let sql = "SELECT fence FROM meta WHERE id = 1";
    let read = conn
        .prepare_cached(sql)
        .and_then(|mut find| find.query_row([], |row| row.get(0)));
    read.map(Fence).map_err(|error| error_of(&error))
}

pub(super) fn head(conn: &Connection, session: &SessionId) -> Result<Option<Head>, StoreError> {
    let mut find = cached(conn, "SELECT epoch, head FROM session WHERE session = ?1")?;
    let mut found = find
        .query([session.as_str()])
        .map_err(|error| error_of(&error))?;
    let row = found.next().map_err(|error| error_of(&error))?;
    row.map(|row| {
        Ok(Head {
            epoch: Epoch(rows::seq(row, 0)?),
            seq: rows::seq(row, 1)?,
        })
    })
    .transpose()
}

/// Writes a batch that is whole in itself and carries the right fence.
pub(super) fn commit(conn: &Connection, batch: &Batch) -> Result<(), CommitError> {
    let not_written = |error| CommitError::NotWritten(error_of(&error));
    let (id, retitled) = match grow(conn, batch).map_err(not_written)? {
        Some(id) => (id, false),
        None => replace(conn, batch)?,
    };
    let write = || {
        append(conn, id, &batch.events)?;
        receipts(conn, id, batch)?;
        if let Some(snapshot) = &batch.snapshot {
            let sql = "INSERT OR REPLACE INTO snapshot (session, seq, data) VALUES (?1, ?2, ?3)";
            let row = params![id, number(snapshot.seq), json(snapshot)];
            conn.prepare_cached(sql)?.execute(row)?;
        }
        Ok(())
    };
    write().map_err(not_written)?;
    let retitled = retitled.then_some(&batch.row.about.title);
    search::write(conn, id, &batch.row, retitled, &batch.search)
        .map_err(CommitError::NotWritten)?;
    match batch.compact {
        Some((from, to)) => {
            shrink::compact_between(conn, id, from, to).map_err(CommitError::NotWritten)
        }
        None => Ok(()),
    }
}

/// Moves the log's end, where that is all that changes of the row: no index has to follow, which is most
/// of what a commit of text costs. `None` where there is more to it, and nothing was done.
fn grow(conn: &Connection, batch: &Batch) -> Sql<Option<i64>> {
    let Some(expected) = batch.expected else {
        return Ok(None);
    };
    let row = &batch.row;
    let mut grow = conn.prepare_cached(
        "UPDATE session SET head = :head
         WHERE session = :session AND head = :expected AND last_activity = :last_activity
           AND open_turn = :open_turn AND ended = :ended AND waiting = :waiting AND epoch = :epoch
           AND slot IS :slot AND ends_by IS :ends_by AND subject = :subject AND backend = :backend
           AND project IS :project AND created_at = :created_at AND title IS :title AND cwd IS :cwd
           AND starred = :starred AND archived = :archived AND tags = :tags
         RETURNING id",
    )?;
    let mut grown = grow.query(named_params! {
        ":head": number(row.head),
        ":session": row.session.as_str(),
        ":expected": number(expected),
        ":last_activity": millis(row.last_activity),
        ":open_turn": row.open_turn,
        ":ended": row.ended,
        ":waiting": row.waiting,
        ":epoch": number(row.epoch.0),
        ":slot": row.slot.as_ref().map(json),
        ":ends_by": row.ends_by.map(millis),
        ":subject": row.subject,
        ":backend": row.backend,
        ":project": row.project,
        ":created_at": millis(row.created_at),
        ":title": row.about.title,
        ":cwd": row.about.cwd,
        ":starred": row.about.starred,
        ":archived": row.about.archived,
        ":tags": json(&row.about.tags),
    })?;
    let id = grown.next()?.map(|row| row.get(0)).transpose()?;
    // A statement is over when it has said so.
    while grown.next()?.is_some() {}
    Ok(id)
}

/// Writes the whole row where the log ends as it should; its id, and whether its title is another now.
fn replace(conn: &Connection, batch: &Batch) -> Result<(i64, bool), CommitError> {
    let known = known(conn, &batch.row.session).map_err(CommitError::NotWritten)?;
    let head = known.as_ref().map(|known| known.head);
    if head != batch.expected {
        return Err(CommitError::Conflict { head });
    }
    let (id, title) = known.map_or((None, None), |known| (Some(known.id), known.title));
    let id = upsert(conn, id, &batch.row);
    let id = id.map_err(|error| CommitError::NotWritten(error_of(&error)))?;
    Ok((id, title != batch.row.about.title))
}

fn upsert(conn: &Connection, id: Option<i64>, row: &SessionRow) -> Sql<i64> {
    // `trimmed` is the store's own: a batch neither sets nor resets it.
    let sql = match id {
        None => {
            "INSERT INTO session (session, subject, backend, project, created_at, last_activity,
               ends_by, epoch, head, trimmed, open_turn, ended, slot, waiting, title, cwd, starred,
               archived, tags)
             VALUES (:session, :subject, :backend, :project, :created_at, :last_activity,
               :ends_by, :epoch, :head, 0, :open_turn, :ended, :slot, :waiting, :title, :cwd,
               :starred, :archived, :tags)"
        }
        Some(_) => {
            "UPDATE session SET subject = :subject, backend = :backend, project = :project,
               created_at = :created_at, last_activity = :last_activity, ends_by = :ends_by,
               epoch = :epoch, head = :head, open_turn = :open_turn, ended = :ended, slot = :slot,
               waiting = :waiting, title = :title, cwd = :cwd, starred = :starred,
               archived = :archived, tags = :tags
             WHERE session = :session"
        }
    };
    conn.prepare_cached(sql)?.execute(named_params! {
        ":session": row.session.as_str(),
        ":subject": row.subject,
        ":backend": row.backend,
        ":project": row.project,
        ":created_at": millis(row.created_at),
        ":last_activity": millis(row.last_activity),
        ":ends_by": row.ends_by.map(millis),
        ":epoch": number(row.epoch.0),
        ":head": number(row.head),
        ":open_turn": row.open_turn,
        ":ended": row.ended,
        ":slot": row.slot.as_ref().map(json),
        ":waiting": row.waiting,
        ":title": row.about.title,
        ":cwd": row.about.cwd,
        ":starred": row.about.starred,
        ":archived": row.about.archived,
        ":tags": json(&row.about.tags),
    })?;
    Ok(id.unwrap_or_else(|| conn.last_insert_rowid()))
}

pub(super) fn append(conn: &Connection, id: i64, events: &[StoredEvent]) -> Sql<()> {
    let mut insert = conn.prepare_cached(
        "INSERT INTO event (session, from_seq, to_seq, kind, data) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for event in events {
        let (from, to) = (number(event.from), number(event.to));
        insert.execute(params![id, from, to, event.kind, event.data.get()])?;
    }
    Ok(())
}

fn receipts(conn: &Connection, id: i64, batch: &Batch) -> Sql<()> {
    let mut insert = conn.prepare_cached(
        "INSERT OR REPLACE INTO receipt (session, stream, n, body) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for receipt in &batch.receipts {
        let row = params![
            id,
            receipt.stream.as_str(),
            number(receipt.n),
            json(&receipt.body)
        ];
        insert.execute(row)?;
    }
    for stream in &batch.streams {
        move_stream(conn, id, stream)?;
    }
    for stream in &batch.streams_dropped {
        let which = params![id, stream.as_str()];
        let forget = "DELETE FROM stream WHERE session = ?1 AND stream = ?2";
        conn.prepare_cached(forget)?.execute(which)?;
        let forget = "DELETE FROM receipt WHERE session = ?1 AND stream = ?2";
        conn.prepare_cached(forget)?.execute(which)?;
    }
    Ok(())
}

fn move_stream(conn: &Connection, id: i64, row: &StreamRow) -> Sql<()> {
    let (stream, acked) = (row.stream.as_str(), number(row.receipts_ack));
    let sql = "INSERT OR REPLACE INTO stream 
                 (session, stream, participant, consumed, receipts_ack, forgotten)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let values = params![
        id,
        stream,
        row.participant.as_str(),
        number(row.consumed),
        acked,
        number(row.forgotten)
    ];
    conn.prepare_cached(sql)?.execute(values)?;
    let sql = "DELETE FROM receipt WHERE session = ?1 AND stream = ?2 AND n <= ?3";
    conn.prepare_cached(sql)?
        .execute(params![id, stream, acked])?;
    Ok(())
}

pub(super) fn delete(conn: &Connection, session: &SessionId) -> Result<(), StoreError> {
    let Some(Known { id, .. }) = known(conn, session)? else {
        return Ok(());
    };
    for table in ["event", "snapshot", "stream", "receipt", "journal"] {
        let mut forget = cached(conn, &format!("DELETE FROM {table} WHERE session = ?1"))?;
        forget.execute([id]).map_err(|error| error_of(&error))?;
    }
    search::forget(conn, id)?;
    let mut forget = cached(conn, "DELETE FROM session WHERE id = ?1")?;
    forget
        .execute([id])
        .map(drop)
        .map_err(|error| error_of(&error))
}

/// Adds to one session's journal; what is too old for it goes.
pub(super) fn journal(
    conn: &Connection,
    session: &SessionId,
    entries: &[Entry],
) -> Result<(), StoreError> {
    let Some(Known { id, .. }) = known(conn, session)? else {
        return Ok(());
    };
    let write = || {
        let sql = "INSERT INTO journal (session, entry) VALUES (?1, ?2)";
        let mut insert = conn.prepare_cached(sql)?;
        let surplus = entries.len().saturating_sub(JOURNAL_ENTRIES_MAX);
        for entry in &entries[surplus..] {
            insert.execute(params![id, json(entry)])?;
        }
        let sql = "DELETE FROM journal WHERE session = ?1 AND id <= (
                     SELECT id FROM journal WHERE session = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)";
        let bound = i64::try_from(JOURNAL_ENTRIES_MAX).expect("a small bound");
        conn.prepare_cached(sql)?.execute([id, bound]).map(drop)
    };
    write().map_err(|error| error_of(&error))
}

pub(super) fn revoke(
    conn: &Connection,
    token: &str,
    until: UnixMillis,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let write = || {
        let sql = "DELETE FROM revoked WHERE until < ?1";
        let expired = millis(now.saturating_sub(REVOCATION_MARGIN_MS));
        conn.prepare_cached(sql)?.execute([expired])?;
        let sql = "INSERT INTO revoked (token, until) VALUES (?1, ?2)
                   ON CONFLICT (token) DO UPDATE SET until = max(until, excluded.until)";
        conn.prepare_cached(sql)?
            .execute(params![token, millis(until)])
            .map(drop)
    };
    write().map_err(|error| error_of(&error))
}

/// Writes something that means nothing, to see whether writing works.
///
/// Random, because SQLite does not write what is there already.
pub(super) fn probe(conn: &Connection) -> Result<(), StoreError> {
    let bytes = i64::try_from(PROBE_BYTES).expect("a small number");
    let mut write = cached(conn, "UPDATE meta SET probe = randomblob(?1) WHERE id = 1")?;
    write
        .execute([bytes])
        .map(drop)
        .map_err(|error| error_of(&error))
}
