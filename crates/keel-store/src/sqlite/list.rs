//! Listings: each walks one index downwards; a set of projects merges one walk a project (req M41).
//!
//! No statement here sorts. The tests ask the planner, so a change that makes it sort fails.

use std::{
    cmp::Ordering,
    collections::{BTreeSet, BinaryHeap},
};

use keel_wire::record::SessionRow;
use rusqlite::{CachedStatement, Connection, Rows};

use super::{
    failure::error_of,
    rows::{self, millis},
};
use crate::{COUNT_MAX, Counts, Listing, Page, PageKey, Scope, StoreError};

/// One listing's walk: by one project or none, by subject or not, from the top or from a key.
#[derive(Debug, Clone, Copy)]
struct Walk {
    project: bool,
    subject: bool,
    keyed: bool,
}

impl Walk {
    fn condition(self) -> String {
        let terms = [
            (self.subject, "subject = :subject"),
            (self.project, "project = :project"),
            (
                self.keyed,
                "(last_activity, session) < (:last_activity, :before)",
            ),
        ];
        let terms: Vec<_> = terms
            .iter()
            .filter(|(on, _)| *on)
            .map(|(_, term)| *term)
            .collect();
        if terms.is_empty() {
            "1".to_owned()
        } else {
            terms.join(" AND ")
        }
    }

    fn query(self) -> String {
        format!(
            "SELECT {} FROM session WHERE {}
             ORDER BY last_activity DESC, session DESC",
            rows::SESSION,
            self.condition()
        )
    }

    /// All, put away, over, waiting, running and idle ones, among the last active.
    fn count_query(self) -> String {
        format!(
            "SELECT count(*), count(*) FILTER (WHERE archived),
               count(*) FILTER (WHERE NOT archived AND ended),
               count(*) FILTER (WHERE NOT archived AND NOT ended AND waiting),
               count(*) FILTER (WHERE NOT archived AND NOT ended AND NOT waiting AND open_turn),
               count(*) FILTER (WHERE NOT (archived OR ended OR waiting OR open_turn))
             FROM (SELECT ended, waiting, open_turn, archived FROM session WHERE {}
                   ORDER BY last_activity DESC, session DESC LIMIT :most)",
            self.condition()
        )
    }

    #[cfg(test)]
    const fn index(self) -> &'static str {
        match (self.project, self.subject) {
            (false, false) => "session_recent",
            (true, false) => "session_project",
            (false, true) => "session_subject",
            (true, true) => "session_subject_project",
        }
    }
}

pub(super) fn list(conn: &Connection, listing: &Listing) -> Result<Page, StoreError> {
    listing.scope.check()?;
    let projects = projects(&listing.scope);
    // One view for all walks, else a session that moves between two is seen in both.
    let view = conn
        .unchecked_transaction()
        .map_err(|error| error_of(&error))?;
    let walk = Walk {
        project: !matches!(listing.scope, Scope::All),
        subject: listing.subject.is_some(),
        keyed: listing.before.is_some(),
    };
    let query = walk.query();
    // The cache keeps one statement a text, and each walk needs one of its own.
    let prepare = |n| {
        view.prepare_cached(&format!("{query} -- walk {n}"))
            .map_err(|error| error_of(&error))
    };
    let mut statements = (0..projects.len())
        .map(prepare)
        .collect::<Result<Vec<_>, _>>()?;
    let mut walks = Vec::new();
    for (statement, project) in statements.iter_mut().zip(&projects) {
        bind(statement, listing, *project).map_err(|error| error_of(&error))?;
        walks.push(statement.raw_query());
    }
    listing.page(Merge::begin(walks)?)
}

/// The projects to walk, each once; one `None` for everybody's.
fn projects(scope: &Scope) -> Vec<Option<&str>> {
    match scope {
        Scope::All => vec![None],
        Scope::Project(project) => vec![Some(project)],
        Scope::Projects(set) => {
            let distinct: BTreeSet<_> = set.iter().map(String::as_str).collect();
            distinct.into_iter().map(Some).collect()
        }
    }
}

/// How many sessions there are, from the listings' indexes alone.
pub(super) fn counts(
    conn: &Connection,
    scope: &Scope,
    subject: Option<&str>,
) -> Result<Counts, StoreError> {
    scope.check()?;
    let walk = Walk {
        project: !matches!(scope, Scope::All),
        subject: subject.is_some(),
        keyed: false,
    };
    let view = conn
        .unchecked_transaction()
        .map_err(|error| error_of(&error))?;
    let mut select = view
        .prepare_cached(&walk.count_query())
        .map_err(|error| error_of(&error))?;
    let mut sum = Counts::default();
    let mut left = COUNT_MAX;
    for project in projects(scope) {
        let mut bind = || {
            if let Some(project) = project {
                select.raw_bind_parameter(":project", project)?;
            }
            if let Some(subject) = subject {
                select.raw_bind_parameter(":subject", subject)?;
            }
            let most = i64::try_from(left + 1).unwrap_or(i64::MAX);
            select.raw_bind_parameter(":most", most)
        };
        bind().map_err(|error| error_of(&error))?;
        let mut rows = select.raw_query();
        let Some(row) = rows.next().map_err(|error| error_of(&error))? else {
            continue;
        };
        let all: usize = rows::get(row, 0)?;
        sum.archived += rows::get::<usize>(row, 1)?;
        sum.ended += rows::get::<usize>(row, 2)?;
        sum.waiting += rows::get::<usize>(row, 3)?;
        sum.running += rows::get::<usize>(row, 4)?;
        sum.idle += rows::get::<usize>(row, 5)?;
        if all > left {
            sum.more = true;
            break;
        }
        left -= all;
    }
    Ok(sum)
}

fn bind(
    statement: &mut CachedStatement<'_>,
    listing: &Listing,
    project: Option<&str>,
) -> rusqlite::Result<()> {
    if let Some(project) = project {
        statement.raw_bind_parameter(":project", project)?;
    }
    if let Some(subject) = &listing.subject {
        statement.raw_bind_parameter(":subject", subject)?;
    }
    if let Some(key) = &listing.before {
        statement.raw_bind_parameter(":last_activity", millis(key.last_activity))?;
        statement.raw_bind_parameter(":before", key.session.as_str())?;
    }
    Ok(())
}

/// The rows of walks that are each newest first, the newest of all first. Reads one row a walk more
/// than it has given.
struct Merge<'w> {
    walks: Vec<Rows<'w>>,
    heads: BinaryHeap<Head>,
}

impl<'w> Merge<'w> {
    fn begin(mut walks: Vec<Rows<'w>>) -> Result<Self, StoreError> {
        let mut heads = BinaryHeap::new();
        for (index, walk) in walks.iter_mut().enumerate() {
            heads.extend(next(walk)?.map(|row| Head::new(row, index)));
        }
        Ok(Self { walks, heads })
    }
}

impl Iterator for Merge<'_> {
    type Item = Result<SessionRow, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Head { row, walk, .. } = self.heads.pop()?;
        match next(&mut self.walks[walk]) {
            Ok(following) => {
                self.heads.extend(following.map(|row| Head::new(row, walk)));
                Some(Ok(row))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

/// The next sound row of a walk. One that makes no sense hides itself only (S10).
fn next(walk: &mut Rows<'_>) -> Result<Option<SessionRow>, StoreError> {
    while let Some(row) = walk.next().map_err(|error| error_of(&error))? {
        match rows::session(row) {
            Ok(row) => return Ok(Some(row)),
            Err(error) => tracing::error!(%error, "a stored row is left out"),
        }
    }
    Ok(None)
}

/// The row that a walk stands at. The newest comes first out of a heap.
struct Head {
    key: PageKey,
    row: SessionRow,
    walk: usize,
}

impl Head {
    fn new(row: SessionRow, walk: usize) -> Self {
        Self {
            key: PageKey::of(&row),
            row,
            walk,
        }
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::{read, schema};

    fn plan(conn: &Connection, query: &str) -> String {
        let mut explain = conn
            .prepare(&format!("EXPLAIN QUERY PLAN {query}"))
            .unwrap();
        let mut steps = explain.raw_query();
        let mut plan = Vec::new();
        while let Some(step) = steps.next().unwrap() {
            plan.push(step.get::<_, String>(3).unwrap());
        }
        plan.join("; ")
    }

    fn assert_indexed(conn: &Connection, query: &str, index: &str) {
        let plan = plan(conn, query);
        assert!(
            plan.contains(&format!("INDEX {index} ")) || plan.ends_with(index),
            "{plan}"
        );
        assert!(!plan.contains("TEMP B-TREE"), "{query}: {plan}");
        assert!(!plan.contains(';'), "one step: {plan}");
    }

    #[test]
    fn every_listing_walks_its_index_and_sorts_nothing_m41() {
        let mut conn = Connection::open_in_memory().unwrap();
        schema::migrate(&mut conn).unwrap();
        for bits in 0..8 {
            let walk = Walk {
                project: bits & 1 > 0,
                subject: bits & 2 > 0,
                keyed: bits & 4 > 0,
            };
            assert_indexed(&conn, &walk.query(), walk.index());
            let searches = walk.project || walk.subject || walk.keyed;
            let verb = if searches { "SEARCH" } else { "SCAN" };
            assert!(plan(&conn, &walk.query()).starts_with(verb), "{walk:?}");
            let bounded = plan(&conn, &walk.query()).contains("(last_activity,session)<(?,?)");
            assert_eq!(bounded, walk.keyed, "the key bounds the walk");
        }
        assert_indexed(&conn, &read::unsettled_query(), "session_unsettled");
    }

    /// The file of a store that the first release made, brought up by this one.
    fn brought_up(dir: &std::path::Path) -> Connection {
        let path = dir.join("sessions.sqlite3");
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch(include_str!("../../fixtures/first_release.sql"))
            .unwrap();
        drop(conn);
        drop(crate::Sqlite::open(&crate::sqlite::Config::new(dir)).expect("it opens"));
        Connection::open(&path).unwrap()
    }

    #[test]
    fn both_listings_use_their_index_also_on_a_database_of_the_first_release_m41() {
        let mut new = Connection::open_in_memory().unwrap();
        schema::migrate(&mut new).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let old = brought_up(dir.path());
        for conn in [&new, &old] {
            for bits in 0..8 {
                let walk = Walk {
                    project: bits & 1 > 0,
                    subject: bits & 2 > 0,
                    keyed: bits & 4 > 0,
                };
                assert_indexed(conn, &walk.query(), walk.index());
                if walk.keyed {
                    continue;
                }
                let counting = plan(conn, &walk.count_query());
                let from = format!("USING COVERING INDEX {}", walk.index());
                assert!(counting.contains(&from), "no row is read: {counting}");
                assert!(!counting.contains("TEMP B-TREE"), "{counting}");
            }
        }
        let sql = "SELECT sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite%' ORDER BY name";
        let schema_of = |conn: &Connection| -> Vec<Option<String>> {
            let mut read = conn.prepare(sql).unwrap();
            let rows = read.query_map([], |row| row.get(0)).unwrap();
            rows.map(Result::unwrap).collect()
        };
        assert_eq!(
            schema_of(&old),
            schema_of(&new),
            "an old file ends as a new one begins"
        );
    }

    #[tokio::test]
    async fn sessions_of_the_first_release_are_listed_counted_found_and_go_on_s21() {
        use crate::{Counts, conformance::Scribe};
        let dir = tempfile::tempdir().unwrap();
        drop(brought_up(dir.path()));
        let store: std::sync::Arc<dyn crate::Store> = std::sync::Arc::new(
            crate::Sqlite::open(&crate::sqlite::Config::new(dir.path())).expect("it opens"),
        );
        let docks = Scope::Project("docks".to_owned());
        let listing = Listing {
            scope: docks.clone(),
            subject: None,
            filter: crate::Filter::default(),
            before: None,
            limit: 10,
        };
        let page = store.list(listing).await.expect("readable");
        let ends: Vec<_> = page
            .rows
            .iter()
            .map(|row| &row.session.as_str()[32..])
            .collect();
        assert_eq!(ends, ["3c", "1a"]);
        let counts = store.counts(docks, None).await.expect("readable");
        let want = Counts {
            running: 1,
            idle: 1,
            ..Counts::default()
        };
        assert_eq!(counts, want);

        let loaded = store.load(&page.rows[1].session).await.expect("readable");
        let loaded = loaded.expect("there");
        assert_eq!((loaded.events.len(), loaded.streams.len()), (2, 1));
        assert_eq!(loaded.row.about, keel_wire::record::About::default());
        let mut scribe = Scribe::of(&store, loaded.row);
        scribe.row.about.title = Some("from before".to_owned());
        scribe.write(&[]).await;
        let search = crate::Search {
            text: "before".to_owned(),
            scope: Scope::All,
            subject: Some("ann".to_owned()),
            filter: crate::Filter::default(),
            limit: 5,
        };
        let found = store.search(search).await.expect("readable");
        assert_eq!(found.hits.len(), 1);
        store.close().await.expect("closed");
    }

    #[test]
    fn statistics_of_a_real_store_do_not_change_the_plans_m41() {
        let mut conn = Connection::open_in_memory().unwrap();
        schema::migrate(&mut conn).unwrap();
        conn.execute_batch(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
             INSERT INTO session (session, subject, backend, project, created_at, last_activity,
               epoch, head, trimmed, open_turn, ended)
             SELECT 's-' || i, 'u' || (i % 3), 'b', 'p' || (i % 500), i, i, 1, 0, 0, 0, 0 FROM n;
             ANALYZE;",
        )
        .unwrap();
        for bits in 0..8 {
            let walk = Walk {
                project: bits & 1 > 0,
                subject: bits & 2 > 0,
                keyed: bits & 4 > 0,
            };
            assert_indexed(&conn, &walk.query(), walk.index());
        }
        assert_indexed(&conn, &read::unsettled_query(), "session_unsettled");
    }
}
