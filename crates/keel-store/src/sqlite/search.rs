//! The full-text index: a row for each title, and one for each turn that has ended.
//!
//! A row's id is its session's, shifted, plus a number that grows: so a session's rows are a range,
//! newest last. `keys` holds words made of the session's subject and project, so that what others said
//! is never looked at; it is a hash, and the session's own row decides. An index that is damaged hides
//! what was said from searches and keeps nobody from saying more.

use std::{
    collections::{BTreeMap, btree_map},
    fmt::Write,
};

use keel_wire::record::{SearchText, SessionRow};
use rusqlite::{Connection, params};

use super::{
    failure::error_of,
    rows::{self, collect},
};
use crate::{
    Found, Hit, Scope, Search, StoreError, StoreErrorKind,
    bounds::{EXCERPT_WORDS, SEARCH_HITS_MAX, SEARCH_TURNS_MAX},
    search::{Words, clip, said},
};

/// Rows of the index that one session may have had: its title's, and its turns'.
const SPAN: i64 = 1 << 24;

fn sql<T>(outcome: rusqlite::Result<T>) -> Result<T, StoreError> {
    outcome.map_err(|error| error_of(&error))
}

/// Writes what a commit brings to be found: a title that changed, and turns that ended.
pub(super) fn write(
    conn: &Connection,
    id: i64,
    row: &SessionRow,
    retitled: Option<&Option<String>>,
    turns: &[SearchText],
) -> Result<(), StoreError> {
    if retitled.is_none() && turns.is_empty() {
        return Ok(());
    }
    sql(conn.execute_batch("SAVEPOINT search"))?;
    let written = write_rows(conn, id, row, retitled, turns);
    if let Err(error) = &written
        && !conn.is_autocommit()
    {
        sql(conn.execute_batch("ROLLBACK TO search"))?;
        if matches!(error.kind, StoreErrorKind::Corrupt | StoreErrorKind::Other) {
            tracing::error!(%error, session = %row.session, "what was said cannot be searched");
            return sql(conn.execute_batch("RELEASE search"));
        }
    }
    written?;
    sql(conn.execute_batch("RELEASE search"))
}

fn write_rows(
    conn: &Connection,
    id: i64,
    row: &SessionRow,
    retitled: Option<&Option<String>>,
    turns: &[SearchText],
) -> Result<(), StoreError> {
    let (first, last) = span(id);
    let mut remove = sql(conn.prepare_cached("DELETE FROM search WHERE rowid = ?1"))?;
    let mut insert = sql(
        conn.prepare_cached("INSERT INTO search (rowid, keys, said, turn) VALUES (?1, ?2, ?3, ?4)")
    )?;
    let keys = keys(row);
    if let Some(title) = retitled {
        sql(remove.execute([first]))?;
        if let Some(title) = title {
            sql(insert.execute(params![first, keys, clip(title), None::<&str>]))?;
        }
    }
    if turns.is_empty() {
        return Ok(());
    }
    let newest =
        "SELECT rowid FROM search WHERE rowid BETWEEN ?1 AND ?2 ORDER BY rowid DESC LIMIT 1";
    let mut newest = sql(conn.prepare_cached(newest))?;
    let found = sql(newest.query([first, last]))?;
    let mut at = collect(found, |row| rows::get::<i64>(row, 0))?
        .pop()
        .unwrap_or(first);
    for turn in turns {
        if at == last {
            return Ok(());
        }
        at += 1;
        sql(insert.execute(params![at, keys, said(turn), turn.turn.as_str()]))?;
        let oldest = at - i64::from(SEARCH_TURNS_MAX);
        if oldest > first {
            sql(remove.execute([oldest]))?;
        }
    }
    Ok(())
}

/// Forgets everything of a session. Fails where the index is damaged: what was said would stay in it.
pub(super) fn forget(conn: &Connection, id: i64) -> Result<(), StoreError> {
    let (first, last) = span(id);
    let sql_text = "DELETE FROM search WHERE rowid BETWEEN ?1 AND ?2";
    let mut forget = sql(conn.prepare_cached(sql_text))?;
    sql(forget.execute([first, last])).map(drop)
}

const fn span(id: i64) -> (i64, i64) {
    (id * SPAN, id * SPAN + SPAN - 1)
}

pub(super) fn find(conn: &Connection, search: &Search) -> Result<Found, StoreError> {
    search.scope.check()?;
    let expression = expression(search, &search.words()?);
    // One view: what is found is what is shown.
    let view = sql(conn.unchecked_transaction())?;
    let mut find = sql(view.prepare_cached(
        "SELECT rowid FROM search WHERE search MATCH ?1 ORDER BY rowid DESC LIMIT ?2",
    ))?;
    let most = i64::try_from(SEARCH_HITS_MAX).expect("a small bound");
    let places = sql(find.query(params![expression, most]))?;
    let places = collect(places, |row| rows::get::<i64>(row, 0))?;
    let more = places.len() == SEARCH_HITS_MAX;
    let mut newest = BTreeMap::new();
    for place in places {
        if let btree_map::Entry::Vacant(entry) = newest.entry(place / SPAN) {
            entry.insert(place);
        }
    }
    let columns = rows::SESSION;
    let query = format!("SELECT {columns} FROM session WHERE id = ?1");
    let mut session = sql(view.prepare_cached(&query))?;
    let mut found = Vec::new();
    for (id, place) in newest {
        let rows = sql(session.query([id]))?;
        let rows = rows::collect_sound(rows, rows::session)?;
        found.extend(rows.into_iter().map(|row| (row, place)));
    }
    found.retain(|(row, _)| search.takes(row));
    found.sort_by_key(|(row, _)| std::cmp::Reverse(crate::PageKey::of(row)));
    let more = more || found.len() > search.sessions_max();
    found.truncate(search.sessions_max());
    let query = format!(
        "SELECT turn, snippet(search, 1, '', '', '…', {EXCERPT_WORDS})
         FROM search WHERE search MATCH ?1 AND rowid = ?2"
    );
    let mut excerpt = sql(view.prepare_cached(&query))?;
    let mut hits = Vec::new();
    for (row, place) in found {
        let shown = sql(excerpt.query(params![expression, place]))?;
        let shown = collect(shown, |row| {
            Ok((rows::get::<Option<String>>(row, 0)?, rows::get(row, 1)?))
        })?;
        hits.extend(shown.into_iter().map(|(turn, excerpt)| Hit {
            row: row.clone(),
            turn: turn.and_then(|turn| turn.parse().ok()),
            excerpt,
        }));
    }
    Ok(Found { hits, more })
}

/// The search in the index's own language. The words are of letters and digits, the keys are ours.
fn expression(search: &Search, words: &Words) -> String {
    let mut text = String::from("said : (");
    let last = words.words.len() - 1;
    for (index, word) in words.words.iter().enumerate() {
        let and = if index > 0 { " AND " } else { "" };
        let open = if words.open && index == last {
            " *"
        } else {
            ""
        };
        let _ = write!(text, "{and}\"{word}\"{open}");
    }
    text.push(')');
    if let Some(subject) = &search.subject {
        let _ = write!(text, " AND keys : {}", key('u', subject));
    }
    let projects: Vec<String> = match &search.scope {
        Scope::All => Vec::new(),
        Scope::Project(project) => vec![key('p', project)],
        // Nobody's, when the set is empty.
        Scope::Projects(set) if set.is_empty() => vec!["none".to_owned()],
        Scope::Projects(set) => set.iter().map(|project| key('p', project)).collect(),
    };
    if !projects.is_empty() {
        let _ = write!(text, " AND keys : ({})", projects.join(" OR "));
    }
    text
}

fn keys(row: &SessionRow) -> String {
    let project = row.project.as_ref().map(|project| key('p', project));
    let subject = key('u', &row.subject);
    format!("{subject} {}", project.unwrap_or_default())
}

/// A word that stands for a name: FNV-1a, which never changes.
fn key(kind: char, name: &str) -> String {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{kind}{hash:016x}")
}
