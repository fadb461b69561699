//! What is typed: prompts, and commands that begin with a slash.

use std::io::stdin;

use serde_json::Value;
use tokio::sync::mpsc;

pub(super) const HELP: &str = "Each line that is typed is said. Lines that begin with a slash are \
commands:
  /cancel      stops the running turn
  /set JSON    patches the params
  /send JSON   tells every participant something
  /status      prints how the session is
  /drop        drops the connection on purpose
  /end         ends the session for everybody
  /quit        leaves; so does the end of the input, once what was said is answered";

/// Lines that wait to be taken.
const LINES_MAX: usize = 64;

pub(super) type Lines = mpsc::Receiver<Line>;

#[derive(Debug, PartialEq)]
pub(super) enum Line {
    Say(String),
    Cancel,
    Set(Value),
    Send(Value),
    Status,
    Drop,
    End,
    Quit,
    Wrong(String),
}

/// Reads stdin to its end. The thread may outlast the session, waiting for a line: only the process
/// ends it.
pub(super) fn read() -> Lines {
    let (lines, queue) = mpsc::channel(LINES_MAX);
    std::thread::spawn(move || {
        for line in stdin().lines() {
            let Ok(line) = line else { return };
            if !line.trim().is_empty() && lines.blocking_send(parse(&line)).is_err() {
                return;
            }
        }
    });
    queue
}

fn parse(line: &str) -> Line {
    let Some(command) = line.strip_prefix('/') else {
        return Line::Say(line.to_owned());
    };
    let (name, rest) = command.split_once(' ').unwrap_or((command, ""));
    let value = || {
        serde_json::from_str(rest)
            .map_err(|error| Line::Wrong(format!("/{name} wants JSON: {error}")))
    };
    match name {
        "cancel" => Line::Cancel,
        "set" => value().map_or_else(|wrong| wrong, Line::Set),
        "send" => value().map_or_else(|wrong| wrong, Line::Send),
        "status" => Line::Status,
        "drop" => Line::Drop,
        "end" => Line::End,
        "quit" => Line::Quit,
        _ => Line::Wrong(format!(
            "there is no /{name}; `evenkeel connect --help` lists what there is"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_said_and_commands_are_not() {
        assert_eq!(parse("hello"), Line::Say("hello".into()));
        assert_eq!(
            parse("/set {\"a\":1}"),
            Line::Set(serde_json::json!({ "a": 1 }))
        );
        assert!(matches!(parse("/set {"), Line::Wrong(_)));
        assert!(matches!(parse("/nope"), Line::Wrong(_)));
    }
}
