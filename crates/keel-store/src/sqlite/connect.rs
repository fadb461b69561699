//! Connections: one that writes, a few that only read.
//!
//! Nothing in the file is trusted to be code: no triggers, no views, no functions from the schema.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use super::failure::error_of;
use crate::{
    StoreError,
    bounds::{BUSY_TIMEOUT, WRITER_CACHE_KIB},
};

/// Where to connect to.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) path: PathBuf,
    pub(super) vfs: Option<String>,
}

impl Target {
    /// The connection that writes.
    pub(super) fn writer(&self) -> Result<Connection, StoreError> {
        let open = || {
            let conn = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            conn.pragma_update(None, "journal_mode", "wal")?;
            conn.pragma_update(None, "synchronous", "full")?;
            conn.pragma_update(None, "wal_autocheckpoint", 0)?;
            // What may have to undo a statement is kept in memory, in pieces of a KiB: a file's would be
            // got and given back as 64 KiB by each, and its pages with it.
            conn.pragma_update(None, "temp_store", "memory")?;
            // A negative size is in KiB.
            conn.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
            let limit = i64::try_from(crate::bounds::WAL_BYTES_SOFT / 2).expect("a few megabytes");
            conn.pragma_update(None, "journal_size_limit", limit)?;
            Ok(conn)
        };
        open().map_err(|error: rusqlite::Error| error_of(&error))
    }

    /// A connection that only reads.
    pub(super) fn reader(&self) -> Result<Connection, StoreError> {
        let open = || {
            let conn = self.open(OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            conn.pragma_update(None, "query_only", true)?;
            Ok(conn)
        };
        open().map_err(|error: rusqlite::Error| error_of(&error))
    }

    fn open(&self, access: OpenFlags) -> rusqlite::Result<Connection> {
        let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let path = absolute(&self.path);
        let conn = match &self.vfs {
            Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs.as_str())?,
            None => Connection::open_with_flags(path, flags)?,
        };
        conn.busy_timeout(BUSY_TIMEOUT)?;
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_ATTACH_CREATE, false)?;
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_ATTACH_WRITE, false)?;
        conn.pragma_update(None, "cell_size_check", true)?;
        conn.set_prepared_statement_cache_capacity(64);
        Ok(conn)
    }
}

/// The directory may lie behind a symbolic link; the database itself may not be one.
fn absolute(path: &Path) -> PathBuf {
    let resolved = path.parent().and_then(|dir| dir.canonicalize().ok());
    match (resolved, path.file_name()) {
        (Some(dir), Some(name)) => dir.join(name),
        (None, _) | (_, None) => path.to_owned(),
    }
}
