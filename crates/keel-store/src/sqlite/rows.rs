//! Rows as records, and back.
//!
//! Whatever cannot be read is `Corrupt`: a row is believed only if every part of it makes sense.

use std::str::FromStr;

use keel_wire::{
    Epoch, RawData, Seq, SessionId, UnixMillis,
    record::{About, SessionRow, SlotRow, StoredEvent},
};
use rusqlite::{Row, types::FromSql};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::from_str;

use super::failure::error_of;
use crate::StoreError;

/// The columns of a session, in the order that [`session`] reads them.
pub(super) const SESSION: &str = "session, subject, backend, project, created_at, last_activity, \
     ends_by, epoch, head, trimmed, open_turn, ended, slot, waiting, title, cwd, starred, archived, \
     tags";
/// How many there are.
pub(super) const SESSION_COLUMNS: usize = 19;

/// The columns of an event, in the order that [`event`] reads them.
pub(super) const EVENT: &str = "from_seq, to_seq, kind, data";

/// SQLite's integers are signed: later than 2^63 ms is as late as can be said.
pub(super) fn millis(at: UnixMillis) -> i64 {
    i64::try_from(at).unwrap_or(i64::MAX)
}

pub(super) fn number(seq: Seq) -> i64 {
    i64::try_from(seq.get()).expect("a sequence is below 2^53")
}

pub(super) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("records have string keys and are written to memory")
}

pub(super) fn seq(row: &Row<'_>, column: usize) -> Result<Seq, StoreError> {
    let value: u64 = get(row, column)?;
    Seq::new(value).ok_or_else(|| StoreError::corrupt(format!("a sequence of {value}")))
}

pub(super) fn get<T: FromSql>(row: &Row<'_>, column: usize) -> Result<T, StoreError> {
    row.get(column).map_err(|error| error_of(&error))
}

pub(super) fn id<T: FromStr>(row: &Row<'_>, column: usize) -> Result<T, StoreError> {
    let text: String = get(row, column)?;
    text.parse()
        .map_err(|_| StoreError::corrupt(format!("not an id: {text:?}")))
}

pub(super) fn parsed<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T, StoreError> {
    let text = row.get_ref(column).map_err(|error| error_of(&error))?;
    let text = text
        .as_str()
        .map_err(|error| StoreError::corrupt(error.to_string()))?;
    from_str(text).map_err(|error| StoreError::corrupt(format!("stored JSON: {error}")))
}

pub(super) fn session(row: &Row<'_>) -> Result<SessionRow, StoreError> {
    let slot: Option<String> = get(row, 12)?;
    let slot = slot.map(|text| from_str::<SlotRow>(&text)).transpose();
    Ok(SessionRow {
        session: id::<SessionId>(row, 0)?,
        subject: get(row, 1)?,
        backend: get(row, 2)?,
        project: get(row, 3)?,
        created_at: get(row, 4)?,
        last_activity: get(row, 5)?,
        ends_by: get(row, 6)?,
        epoch: Epoch(seq(row, 7)?),
        head: seq(row, 8)?,
        trimmed: seq(row, 9)?,
        open_turn: get(row, 10)?,
        ended: get(row, 11)?,
        slot: slot.map_err(|error| StoreError::corrupt(format!("stored slot: {error}")))?,
        waiting: get(row, 13)?,
        about: About {
            title: get(row, 14)?,
            cwd: get(row, 15)?,
            starred: get(row, 16)?,
            archived: get(row, 17)?,
            tags: parsed(row, 18)?,
        },
    })
}

pub(super) fn event(row: &Row<'_>) -> Result<StoredEvent, StoreError> {
    let kind: String = get(row, 2)?;
    Ok(StoredEvent {
        from: seq(row, 0)?,
        to: seq(row, 1)?,
        kind: kind.into(),
        data: parsed::<RawData>(row, 3)?,
    })
}

/// Every row that a query gives, until one cannot be read.
pub(super) fn collect<T>(
    mut rows: rusqlite::Rows<'_>,
    mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut all = Vec::new();
    while let Some(row) = rows.next().map_err(|error| error_of(&error))? {
        all.push(read(row)?);
    }
    Ok(all)
}

/// Every row that can be read. The others are logged: one torn session hides itself only (S10).
pub(super) fn collect_sound<T>(
    rows: rusqlite::Rows<'_>,
    read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let all = collect(rows, |row| {
        Ok(read(row).inspect_err(|error| tracing::error!(%error, "a stored row is left out")))
    })?;
    Ok(all.into_iter().filter_map(Result::ok).collect())
}
