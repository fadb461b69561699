//! SQLite's errors as ours.

use rusqlite::{Error, ffi};

use crate::{StoreError, StoreErrorKind};

pub(super) fn error_of(error: &Error) -> StoreError {
    StoreError::new(kind_of(error), message_of(error))
}

fn kind_of(error: &Error) -> StoreErrorKind {
    if let Some(failure) = error.sqlite_error() {
        return kind_of_code(failure.extended_code);
    }
    let unreadable = matches!(
        error,
        Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::InvalidColumnType(..)
            | Error::Utf8Error(..)
    );
    if unreadable {
        StoreErrorKind::Corrupt
    } else {
        StoreErrorKind::Other
    }
}

fn kind_of_code(extended: i32) -> StoreErrorKind {
    match extended {
        ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC => return StoreErrorKind::Fsync,
        ffi::SQLITE_IOERR_CORRUPTFS => return StoreErrorKind::Corrupt,
        _ => {}
    }
    match extended & 0xff {
        ffi::SQLITE_FULL => StoreErrorKind::Full,
        ffi::SQLITE_IOERR
        | ffi::SQLITE_CANTOPEN
        | ffi::SQLITE_READONLY
        | ffi::SQLITE_PERM
        | ffi::SQLITE_NOLFS => StoreErrorKind::Io,
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED | ffi::SQLITE_PROTOCOL => StoreErrorKind::Busy,
        ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB => StoreErrorKind::Corrupt,
        _ => StoreErrorKind::Other,
    }
}

fn message_of(error: &Error) -> String {
    match error.sqlite_error() {
        Some(failure) => format!("sqlite {}: {error}", failure.extended_code),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extended_codes_become_kinds() {
        let rows = [
            (ffi::SQLITE_FULL, StoreErrorKind::Full),
            (ffi::SQLITE_IOERR_WRITE, StoreErrorKind::Io),
            (ffi::SQLITE_IOERR_FSYNC, StoreErrorKind::Fsync),
            (ffi::SQLITE_BUSY_SNAPSHOT, StoreErrorKind::Busy),
            (ffi::SQLITE_CORRUPT_INDEX, StoreErrorKind::Corrupt),
            (ffi::SQLITE_CONSTRAINT_UNIQUE, StoreErrorKind::Other),
        ];
        for (code, want) in rows {
            let error = Error::SqliteFailure(ffi::Error::new(code), None);
            assert_eq!(error_of(&error).kind, want, "{code}");
        }
    }
}
