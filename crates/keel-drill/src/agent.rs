//! The program behind the drill's sessions: it writes text, and keeps a witness of what it wrote.
//!
//! The witness is a file outside Evenkeel, written before standard output is: whatever Evenkeel told
//! anybody must be a prefix of it, and all of it where the turn is done.

use std::{
    fs::OpenOptions,
    io::{BufRead, Write},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result};

/// The line that a program which lies keeps to itself.
const LIE_AT: u32 = 3;

/// What the program is to write.
#[derive(Debug, Clone)]
pub struct Script {
    /// Where witnesses are kept.
    pub witness: PathBuf,
    /// How many lines.
    pub lines: u32,
    /// Between two lines.
    pub pace: Duration,
    /// Says once what it keeps no witness of.
    pub lies: bool,
}

/// Runs the program: the first word of its input is the turn's key, `lines=N` and `pace_ms=N` may
/// follow.
///
/// # Errors
/// When the witness or standard output cannot be written.
pub fn main(mut script: Script) -> Result<()> {
    let mut prompt = String::new();
    std::io::stdin().lock().read_line(&mut prompt)?;
    let mut words = prompt.split_whitespace();
    let key = words.next().context("the prompt names a key")?.to_owned();
    for word in words {
        match word.split_once('=') {
            Some(("lines", n)) => script.lines = n.parse()?,
            Some(("pace_ms", ms)) => script.pace = Duration::from_millis(ms.parse()?),
            Some(_) | None => {}
        }
    }
    let path = script.witness.join(&key);
    let mut witness = OpenOptions::new()
        .create_new(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("a turn runs once: {}", path.display()))?;
    let mut rng = fastrand::Rng::with_seed(key.bytes().fold(7, |seed, b| seed * 31 + u64::from(b)));
    let mut stdout = std::io::stdout().lock();
    for n in 0..script.lines {
        let line = line(&key, n, &mut rng);
        if !(script.lies && n == LIE_AT) {
            witness.write_all(line.as_bytes())?;
        }
        stdout.write_all(line.as_bytes())?;
        stdout.flush()?;
        std::thread::sleep(script.pace);
    }
    Ok(())
}

/// Words of different lengths in more than one script, so that cuts fall anywhere in a character.
fn line(key: &str, n: u32, rng: &mut fastrand::Rng) -> String {
    const WORDS: [&str; 8] = ["keel", "even", "ßack", "日本", "🛶", "\"q\"", "\\n", "tide"];
    let mut line = format!("{key} {n}");
    for _ in 0..rng.usize(2..24) {
        line.push(' ');
        line.push_str(WORDS[rng.usize(..WORDS.len())]);
    }
    line.push('\n');
    line
}
