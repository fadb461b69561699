//! What is typed: prompts, and commands that begin with a slash.

use std::io::stdin;

use evenkeel::wire::TurnId;
use serde_json::Value;
use tokio::sync::mpsc;

pub(super) const HELP: &str = "Each line that is typed is said. Lines that begin with a slash are \
commands:
  /cancel      stops the running turn
  /retry [TURN]     tries a turn that is over again, by default the last
  /continue [TURN]  goes on with one that did not come to its end
  /promote TURN     makes a turn that waits the next one
  /answer TEXT      answers what is asked
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
    Retry(Option<TurnId>),
    Continue(Option<TurnId>),
    Promote(TurnId),
    Answer(String),
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
    let turn = || {
        let turn = rest.trim().parse::<TurnId>();
        turn.map_err(|error| Line::Wrong(format!("/{name} wants a turn: {error}")))
    };
    let perhaps = |line: fn(Option<TurnId>) -> Line| match rest.trim() {
        "" => line(None),
        _ => turn().map_or_else(|wrong| wrong, |turn| line(Some(turn))),
    };
    match name {
        "cancel" => Line::Cancel,
        "retry" => perhaps(Line::Retry),
        "continue" => perhaps(Line::Continue),
        "promote" => turn().map_or_else(|wrong| wrong, Line::Promote),
        "answer" => Line::Answer(rest.to_owned()),
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
        assert_eq!(parse("/retry"), Line::Retry(None));
        assert!(matches!(parse("/promote"), Line::Wrong(_)));
        let turn = TurnId::from_bits(7);
        assert_eq!(
            parse(&format!("/continue {turn}")),
            Line::Continue(Some(turn))
        );
        assert_eq!(parse("/answer yes"), Line::Answer("yes".into()));
    }
}
