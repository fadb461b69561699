//! The directory of a store: its files, their modes, and the lock on it.
//!
//! The lock belongs to the kernel: it is gone when the process is, however it went. It is held until
//! this value is dropped, which the writer thread does last.

use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{OpenError, bounds::LOCK_WITHIN};

/// The directory, locked.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

impl Files {
    /// Makes what is missing, and locks the directory.
    pub(super) fn lock(dir: &Path) -> Result<Self, OpenError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| OpenError::Path { path, source }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(at(dir))?;
        if let Err(error) = std::fs::set_permissions(dir, Permissions::from_mode(0o700)) {
            tracing::warn!(%error, "store directory cannot be made private");
        }
        let lock_path = dir.join("lock");
        let lock = private(&lock_path).map_err(at(&lock_path))?;
        let until = Instant::now() + LOCK_WITHIN;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                // A server that was killed while it started a program leaves a copy of itself for
                // the moment until that program runs, and the copy holds the lock.
                Err(TryLockError::WouldBlock) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(OpenError::Locked {
                        dir: dir.to_owned(),
                    });
                }
                Err(TryLockError::Error(error)) => return Err(at(&lock_path)(error)),
            }
        }
        let files = Self {
            dir: dir.to_owned(),
            _lock: lock,
        };
        // SQLite gives the mode of the database to the files that it makes beside it.
        let database = files.database();
        private(&database).map_err(at(&database))?;
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(at(dir))?;
        Ok(files)
    }

    /// The path of the database.
    pub(super) fn database(&self) -> PathBuf {
        self.dir.join("sessions.sqlite3")
    }

    /// The size of the write-ahead log, in bytes; 0 if there is none.
    pub(super) fn wal_bytes(&self) -> u64 {
        let wal = self.dir.join("sessions.sqlite3-wal");
        wal.metadata().map_or(0, |metadata| metadata.len())
    }
}

fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}
