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
use crate::{Listing, Page, PageKey, Scope, StoreError};

/// One listing's walk: by one project or none, by subject or not, from the top or from a key.
#[derive(Debug, Clone, Copy)]
struct Walk {
    project: bool,
    subject: bool,
    keyed: bool,
}

impl Walk {
    fn query(self) -> String {
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
        let condition = if terms.is_empty() {
            "1".to_owned()
        } else {
            terms.join(" AND ")
        };
        format!(
            "SELECT {} FROM session WHERE {condition}
             ORDER BY last_activity DESC, session DESC",
            rows::SESSION
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
    listing.check()?;
    let projects: Vec<Option<&str>> = match &listing.scope {
        Scope::All => vec![None],
        Scope::Project(project) => vec![Some(project)],
        Scope::Projects(set) => set
            .iter()
            .map(String::as_str)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .map(Some)
            .collect(),
    };
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
    // One more than fits, to know whether another page follows.
    Ok(listing.page(merge(walks, listing.rows_max().saturating_add(1))?))
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

/// The newest rows of walks that are each newest first. Reads one row a walk more than it gives.
fn merge(mut walks: Vec<Rows<'_>>, most: usize) -> Result<Vec<SessionRow>, StoreError> {
    let mut heads = BinaryHeap::new();
    for (index, walk) in walks.iter_mut().enumerate() {
        heads.extend(next(walk)?.map(|row| Head::new(row, index)));
    }
    let mut merged = Vec::new();
    while merged.len() < most {
        let Some(Head { row, walk, .. }) = heads.pop() else {
            break;
        };
        merged.push(row);
        heads.extend(next(&mut walks[walk])?.map(|row| Head::new(row, walk)));
    }
    Ok(merged)
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
