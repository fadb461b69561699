//! The schema, as a ladder of versions that each climb in one transaction.
//!
//! The version is `user_version` in the file's header, written in the same transaction as what it
//! stands for: a step that is cut off leaves nothing of itself (S21). This is done by hand and not
//! by refinery, which writes the step and its version in two transactions unless all steps are
//! grouped, and panics on a tampered history table.

use rusqlite::{Connection, TransactionBehavior};

use super::failure::error_of;
use crate::{OpenError, StoreError};

const LADDER: &[&str] = &[
    include_str!("schema/v1.sql"),
    include_str!("schema/v2.sql"),
    concat!(
        include_str!("schema/v3.sql"),
        include_str!("schema/search.sql")
    ),
    include_str!("schema/v4.sql"),
];

/// The one virtual table that is ours, as the file's schema keeps it.
const SEARCH: &str = include_str!("schema/search.sql");

/// Brings the database to the newest schema.
pub(super) fn migrate(conn: &mut Connection) -> Result<(), OpenError> {
    climb(conn, LADDER)
}

fn climb(conn: &mut Connection, ladder: &[&str]) -> Result<(), OpenError> {
    let known = u32::try_from(ladder.len()).expect("a ladder of few steps");
    let found = version(conn)?;
    if found > known {
        return Err(OpenError::SchemaTooNew { found, known });
    }
    refuse_strangers(conn, found)?;
    for (step, to) in ladder
        .iter()
        .zip(1..=known)
        .skip_while(|(_, to)| *to <= found)
    {
        let up = |conn: &mut Connection| -> rusqlite::Result<()> {
            let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            tx.execute_batch(step)?;
            tx.pragma_update(None, "user_version", to)?;
            tx.commit()
        };
        up(conn).map_err(|error| error_of(&error))?;
        tracing::info!(version = to, "store schema migrated");
    }
    Ok(())
}

fn version(conn: &Connection) -> Result<u32, StoreError> {
    let read = conn.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
    let version = read.map_err(|error| error_of(&error))?;
    u32::try_from(version).map_err(|_| StoreError::corrupt(format!("schema version {version}")))
}

/// A file that was made by something else, or had code put into it, is not opened (A69).
fn refuse_strangers(conn: &Connection, version: u32) -> Result<(), StoreError> {
    let sql = "SELECT name FROM sqlite_schema
               WHERE type IN ('trigger', 'view')
                  OR (type = 'table' AND rootpage = 0 AND NOT (name = 'search' AND sql = ?2))
                  OR (?1 = 0 AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\')
               LIMIT 1";
    let stranger = conn.query_row(sql, (version, SEARCH.trim_end()), |row| {
        row.get::<_, String>(0)
    });
    match stranger {
        Err(rusqlite::Error::QueryReturnedNoRows) => Ok(()),
        Err(error) => Err(error_of(&error)),
        Ok(name) => Err(StoreError::corrupt(format!(
            "the file holds {name:?}, which is not ours"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use rusqlite::functions::FunctionFlags;

    use super::*;
    use crate::StoreErrorKind;

    fn tables(conn: &Connection) -> Vec<String> {
        let mut read = conn
            .prepare("SELECT name FROM sqlite_schema ORDER BY name")
            .unwrap();
        read.query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect()
    }

    #[test]
    fn a_step_that_fails_half_way_leaves_nothing_and_climbs_later_s21() {
        let mut conn = Connection::open_in_memory().unwrap();
        let broken = [
            "CREATE TABLE a (x)",
            "CREATE TABLE b (x); INSERT INTO c VALUES (1)",
        ];
        climb(&mut conn, &broken).expect_err("there is no c");
        assert_eq!(
            (version(&conn), tables(&conn)),
            (Ok(1), vec!["a".to_owned()])
        );
        let mended = [broken[0], "CREATE TABLE b (x)"];
        climb(&mut conn, &mended).unwrap();
        climb(&mut conn, &mended).expect("a second time is nothing");
        assert_eq!((version(&conn), tables(&conn).len()), (Ok(2), 2));
    }

    #[test]
    fn streams_of_the_first_schema_have_forgotten_nothing_s21() {
        let mut conn = Connection::open_in_memory().unwrap();
        climb(&mut conn, &LADDER[..1]).unwrap();
        conn.execute("INSERT INTO stream VALUES (1, 'c-1', 'p-1', 7, 3)", [])
            .unwrap();
        migrate(&mut conn).unwrap();
        let row = conn.query_row("SELECT consumed, forgotten FROM stream", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        });
        assert_eq!(row, Ok((7, 0)));
    }

    #[test]
    fn a_newer_schema_is_refused_untouched() {
        let mut conn = Connection::open_in_memory().unwrap();
        climb(&mut conn, &["CREATE TABLE a (x)", "CREATE TABLE b (x)"]).unwrap();
        let refused = climb(&mut conn, &["CREATE TABLE a (x)"]);
        assert!(matches!(
            refused,
            Err(OpenError::SchemaTooNew { found: 2, known: 1 })
        ));
    }

    #[test]
    fn files_of_others_and_files_with_code_are_refused_a69() {
        let rows = [
            "CREATE TABLE somebody_elses (x)",
            "PRAGMA user_version = 1; CREATE VIEW v AS SELECT 1",
            "PRAGMA user_version = 1; CREATE TABLE t (x);
             CREATE TRIGGER evil AFTER INSERT ON t BEGIN DELETE FROM t; END",
            "PRAGMA user_version = 1; CREATE VIRTUAL TABLE t USING fts5(x)",
            "PRAGMA user_version = 3; CREATE VIRTUAL TABLE search USING fts5(x)",
        ];
        for sql in rows {
            let mut conn = Connection::open_in_memory().unwrap();
            conn.execute_batch(sql).unwrap();
            match migrate(&mut conn) {
                Err(OpenError::Store(error)) => assert_eq!(error.kind, StoreErrorKind::Corrupt),
                other => panic!("{sql}: {other:?}"),
            }
        }
    }

    /// The child half of the test below: dies in the midst of a step.
    #[test]
    #[ignore = "run by the test below, in a process of its own"]
    fn child_dies_in_a_migration() {
        let Ok(path) = std::env::var("KEEL_STORE_TEST_MIGRATION") else {
            return;
        };
        let mut conn = Connection::open(path).unwrap();
        conn.pragma_update(None, "journal_mode", "wal").unwrap();
        let die = |_: &rusqlite::functions::Context<'_>| -> rusqlite::Result<i64> {
            std::process::abort()
        };
        conn.create_scalar_function("die", 0, FunctionFlags::SQLITE_UTF8, die)
            .unwrap();
        let big = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)";
        let step = format!(
            "PRAGMA cache_size = 1; CREATE TABLE b (x); {big}
             INSERT INTO b SELECT zeroblob(9000) FROM n; SELECT die();"
        );
        let _ = climb(&mut conn, &["CREATE TABLE a (x)", &step]);
    }

    #[test]
    fn a_killed_migration_is_rolled_back_s21() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--ignored",
                "--exact",
                "sqlite::schema::tests::child_dies_in_a_migration",
            ])
            .env("KEEL_STORE_TEST_MIGRATION", &path)
            .output()
            .unwrap()
            .status;
        assert_eq!(status.signal(), Some(6), "the child died in the step");
        let mut conn = Connection::open(&path).unwrap();
        assert_eq!(
            (version(&conn), tables(&conn)),
            (Ok(1), vec!["a".to_owned()])
        );
        climb(&mut conn, &["CREATE TABLE a (x)", "CREATE TABLE b (x)"]).unwrap();
        assert_eq!(version(&conn), Ok(2));
    }
}
