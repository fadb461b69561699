//! Writing to people: answers to stdout, everything about them to stderr.
//!
//! Colours and other ornaments only on a terminal, and without `NO_COLOR`. A pipe that was closed at
//! its other end is nobody's failure.

use std::io::{IsTerminal, Write, stderr, stdout};

/// A line about what happens.
pub(crate) fn say(line: &str) {
    let _ = writeln!(stderr(), "{line}");
}

/// A line of the answer.
pub(crate) fn print(line: &str) {
    let _ = writeln!(stdout(), "{line}");
}

/// A piece of the answer, shown at once.
pub(crate) fn write(text: &str) {
    let mut out = stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

pub(crate) fn is_stdout_terminal() -> bool {
    stdout().is_terminal()
}

/// How a line about what happens is meant.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tone {
    Bad,
    Good,
    Quiet,
}

/// The line in its colour, where colours are wanted.
pub(crate) fn say_as(tone: Tone, line: &str) {
    say(&coloured(tone, line, stderr().is_terminal()));
}

/// A line of the answer, likewise.
pub(crate) fn print_as(tone: Tone, line: &str) {
    print(&coloured(tone, line, stdout().is_terminal()));
}

fn coloured(tone: Tone, line: &str, is_terminal: bool) -> String {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if no_color || !is_terminal {
        return line.to_owned();
    }
    let colour = match tone {
        Tone::Bad => "31",
        Tone::Good => "32",
        Tone::Quiet => "2",
    };
    format!("\x1b[{colour}m{line}\x1b[0m")
}

/// What a peer sent, without what would steer a terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
