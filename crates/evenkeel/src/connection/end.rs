//! How a WebSocket ended, from what the library says of it.

use std::{
    io::ErrorKind,
    sync::atomic::{AtomicBool, Ordering},
};

use keel_core::client::ConnEnd;
use keel_wire::CloseCode;
use tokio_tungstenite::tungstenite::{Error, error::ProtocolError, protocol::CloseFrame};

const RESETS: &[ErrorKind] = &[ErrorKind::ConnectionReset, ErrorKind::ConnectionAborted];
const ENDS: &[ErrorKind] = &[ErrorKind::UnexpectedEof, ErrorKind::BrokenPipe];

fn is_one_of(error: &std::io::Error, kinds: &[ErrorKind]) -> bool {
    kinds.contains(&error.kind())
}

pub(super) fn of_close(frame: Option<CloseFrame>) -> ConnEnd {
    match frame {
        Some(frame) => ConnEnd::Close {
            code: CloseCode(frame.code.into()),
            reason: frame.reason.to_string(),
        },
        None => ConnEnd::Close {
            code: CloseCode::NONE,
            reason: String::new(),
        },
    }
}

/// Reading came to an end. `reset` says that writing saw a reset, which reading then sees as the
/// plain end of the input.
pub(super) fn of_error(error: &Error, reset: bool) -> ConnEnd {
    let other = || ConnEnd::Other {
        message: error.to_string(),
    };
    let ended = if reset { ConnEnd::Reset } else { ConnEnd::Eof };
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => ended,
        // The library's name for an end of the input without a close frame.
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => ended,
        Error::Io(error) if is_one_of(error, RESETS) => ConnEnd::Reset,
        Error::Io(error) if is_one_of(error, ENDS) => ended,
        Error::Io(_)
        | Error::Protocol(_)
        | Error::Capacity(_)
        | Error::Tls(_)
        | Error::WriteBufferFull(_)
        | Error::Utf8(_)
        | Error::AttackAttempt
        | Error::Url(_)
        | Error::Http(_)
        | Error::HttpFormat(_) => other(),
    }
}

/// Writing came to an end. A reset, or an end that reading sees as well, is left to reading to tell.
pub(super) fn of_write(error: &Error, reset: &AtomicBool) -> Option<ConnEnd> {
    match error {
        Error::Io(error) if error.kind() == ErrorKind::ConnectionReset => {
            reset.store(true, Ordering::Relaxed);
            None
        }
        Error::Io(_) | Error::WriteBufferFull(_) | Error::Tls(_) => Some(ConnEnd::WriteFailed),
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(_)
        | Error::Capacity(_)
        | Error::Utf8(_)
        | Error::AttackAttempt
        | Error::Url(_)
        | Error::Http(_)
        | Error::HttpFormat(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_without_a_close_frame_is_no_reset_unless_writing_saw_one() {
        let error = Error::Protocol(ProtocolError::ResetWithoutClosingHandshake);
        assert_eq!(of_error(&error, false), ConnEnd::Eof);
        assert_eq!(of_error(&error, true), ConnEnd::Reset);
        let error = Error::Io(ErrorKind::ConnectionReset.into());
        assert_eq!(of_error(&error, false), ConnEnd::Reset);
    }

    #[test]
    fn a_close_frame_without_a_code_is_1005() {
        let end = of_close(None);
        assert!(matches!(end, ConnEnd::Close { code, .. } if code == CloseCode::NONE));
    }
}
