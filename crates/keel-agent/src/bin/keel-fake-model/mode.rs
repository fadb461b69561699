//! What a request says about how it wants to be answered.

use std::time::Duration;

/// How to answer: `WORD[:ARGUMENT] [OPTION=VALUE]…`, on one line. `n:K:WORD…` is WORD for the first K
/// calls with a prompt, and `ok` from then on. `_` in a value stands for a blank.
///
/// | option | meaning |
/// |---|---|
/// | `text=T` | says T instead of the usual words |
/// | `count=N` | says N words `w0 w1 …` |
/// | `bytes=N` | each of them has so many bytes |
/// | `rate=N` | so many words a second |
/// | `stamp=1` | each word is the server's clock in µs since 1970, and a blank |
/// | `after=N` | what goes wrong does so after N words (2) |
/// | `tool=NAME`, `args=JSON`, `cmd=COMMAND` | which tool is called, and with what |
#[derive(Clone, Debug)]
pub(crate) struct Mode {
    /// The word.
    pub(crate) word: String,
    /// What stands behind its colon.
    pub(crate) argument: String,
    options: Vec<(String, String)>,
}

impl Mode {
    pub(crate) fn read(line: &str) -> Self {
        let line = line.lines().next().unwrap_or_default();
        let mut word = None;
        let mut options = Vec::new();
        for piece in line.split_whitespace() {
            match piece.split_once('=') {
                Some((name, value)) => options.push((name.to_owned(), value.replace('_', " "))),
                None if word.is_none() => word = Some(piece),
                None => {}
            }
        }
        let (word, argument) = word
            .unwrap_or("ok")
            .split_once(':')
            .unwrap_or_else(|| (word.unwrap_or("ok"), ""));
        Self {
            word: word.to_owned(),
            argument: argument.to_owned(),
            options,
        }
    }

    /// The mode of the `call`th call (from 1) with a prompt.
    pub(crate) fn at_call(self, call: u64) -> Self {
        if self.word != "n" {
            return self;
        }
        let (calls, rest) = self.argument.split_once(':').unwrap_or(("1", ""));
        let bad = call <= calls.parse().unwrap_or(1) && !rest.is_empty();
        let (word, argument) = match bad {
            true => rest.split_once(':').unwrap_or((rest, "")),
            false => ("ok", ""),
        };
        Self {
            word: word.to_owned(),
            argument: argument.to_owned(),
            options: self.options,
        }
    }

    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        let mut found = self.options.iter().filter(|(key, _)| key == name);
        found.next().map(|(_, value)| value.as_str())
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.option(name)?.parse().ok()
    }

    /// Words before what goes wrong.
    pub(crate) fn after(&self) -> usize {
        self.number("after")
            .and_then(|n| n.try_into().ok())
            .unwrap_or(2)
    }

    /// How long it takes to say a word.
    pub(crate) fn pace(&self) -> Option<Duration> {
        let slow = match self.word.as_str() {
            "slow" => Some(Duration::from_millis(100)),
            "vslow" => Some(Duration::from_secs(10)),
            _ => None,
        };
        let rate = self
            .option("rate")
            .and_then(|rate| rate.parse::<f64>().ok());
        let rate = rate.filter(|rate| *rate > 0.001);
        rate.map(|rate| Duration::from_secs_f64(1.0 / rate))
            .or(slow)
    }
}
