//! The `echo` provider: says a script that anybody can compute beforehand.
//!
//! [`script`] is the whole of it: the steps follow from prompt and params alone, so a test that
//! computes them itself knows every byte that a turn must have.
//!
//! What is said into a turn while it runs is a prompt of its own, whose script follows.
//!
//! Settings come as params (`{"count": 100}`), or as the first line of the prompt, which then wins
//! and is not said: `!count=100 pace_ms=5`. Values have no blanks; `_` in `ask` stands for one.
//!
//! | setting | meaning |
//! |---|---|
//! | `pace_ms=N` | waits so long before each word |
//! | `count=N` | says N made-up words instead of the prompt's |
//! | `bytes=N` | each made-up word has so many bytes with its blank (8) |
//! | `seed=N` | makes other words (0) |
//! | `ask=TEXT` | asks first, and says the answer as JSON and a line's end |
//! | `fail=crash`, `hang`, `garbage`, `panic` | so, instead of an end |
//! | `fail_at=N` | after N words (half of them) |

use std::{collections::VecDeque, time::Duration};

use keel_wire::{Action, ActionId};
use serde_json::Value;
use tokio::time::sleep;

use crate::{Ask, Attempt, Control, Failure, Outcome, Output, Provider, Request, Sink, Stopped};

/// The name of this kind.
pub const NAME: &str = "echo";
/// Most text that a script says of its own, in bytes.
pub const SCRIPT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Longest made-up word.
pub const WORD_BYTES_MAX: u64 = 32 * 1024;

const WORD_BYTES: u64 = 8;
const GARBAGE_LINES: u32 = 1_000;

/// What the provider does, in order; after the last step it is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Waits.
    Pause(Duration),
    /// Says this.
    Say(String),
    /// Asks this, waits, and says the answer as JSON and a line's end.
    Ask(String),
    /// Ends as a program with exit code 1 would.
    Crash,
    /// Falls silent for ever.
    Hang,
    /// Says so many lines that nobody understands, and fails of it.
    Garbage(u32),
    /// Panics.
    Panic,
}

/// What the provider will do for `prompt` under `params`.
#[must_use]
pub fn script(prompt: &str, params: &Value) -> Vec<Step> {
    let (settings, prompt) = Settings::read(prompt, params);
    let words = match settings.count {
        Some(count) => made_up(count, settings.bytes, settings.seed),
        None => prompt
            .split_inclusive(char::is_whitespace)
            .map(str::to_owned)
            .collect(),
    };
    let fail_at = settings.fail_at.unwrap_or(words.len() as u64 / 2);

    let mut steps: Vec<Step> = settings.ask.map(Step::Ask).into_iter().collect();
    for (said, word) in (0..).zip(words) {
        if said == fail_at && settings.fail.is_some() {
            break;
        }
        if !settings.pace.is_zero() {
            steps.push(Step::Pause(settings.pace));
        }
        steps.push(Step::Say(word));
    }
    steps.extend(settings.fail);
    steps
}

/// What a script says if nobody stops it and every question gets `answer`.
#[must_use]
pub fn said(steps: &[Step], answer: &Value) -> String {
    let mut text = String::new();
    for step in steps {
        match step {
            Step::Say(word) => text.push_str(word),
            Step::Ask(_) => text.push_str(&format!("{answer}\n")),
            Step::Pause(_) | Step::Crash | Step::Hang | Step::Garbage(_) | Step::Panic => {}
        }
    }
    text
}

#[derive(Debug)]
struct Settings {
    pace: Duration,
    count: Option<u64>,
    bytes: u64,
    seed: u64,
    ask: Option<String>,
    fail: Option<Step>,
    fail_at: Option<u64>,
}

impl Settings {
    fn read<'a>(prompt: &'a str, params: &Value) -> (Self, &'a str) {
        let (directive, prompt) = match prompt.strip_prefix('!') {
            Some(rest) => rest.split_once('\n').unwrap_or((rest, "")),
            None => ("", prompt),
        };
        let text = |key: &str| {
            let mut pairs = directive
                .split_whitespace()
                .filter_map(|pair| pair.split_once('='));
            let here = pairs
                .find(|(name, _)| *name == key)
                .map(|(_, value)| value.to_owned());
            let param = || params.get(key);
            let as_text = |value: &Value| value.as_str().map(str::to_owned);
            here.or_else(|| {
                param().map(|value| as_text(value).unwrap_or_else(|| value.to_string()))
            })
        };
        let number = |key: &str| text(key)?.parse::<u64>().ok();

        let bytes = number("bytes")
            .unwrap_or(WORD_BYTES)
            .clamp(1, WORD_BYTES_MAX);
        let settings = Self {
            pace: Duration::from_millis(number("pace_ms").unwrap_or(0)),
            count: number("count").map(|count| count.min(SCRIPT_BYTES_MAX / bytes)),
            bytes,
            seed: number("seed").unwrap_or(0),
            ask: text("ask").map(|question| question.replace('_', " ")),
            fail: text("fail").and_then(|how| match how.as_str() {
                "crash" => Some(Step::Crash),
                "hang" => Some(Step::Hang),
                "garbage" => Some(Step::Garbage(GARBAGE_LINES)),
                "panic" => Some(Step::Panic),
                _ => None,
            }),
            fail_at: number("fail_at"),
        };
        (settings, prompt)
    }
}

/// Words of `bytes` bytes with their blank, from SplitMix64.
fn made_up(count: u64, bytes: u64, seed: u64) -> Vec<String> {
    let mut state = seed;
    let mut word = || {
        let mut word = String::new();
        let mut bits = 0_u64;
        for place in 0..bytes - 1 {
            if place % 8 == 0 {
                bits = split_mix(&mut state);
            }
            let letter = u8::try_from(bits & 0xff).expect("a byte") % 26;
            word.push(char::from(b'a' + letter));
            bits >>= 8;
        }
        word.push(' ');
        word
    };
    (0..count).map(|_| word()).collect()
}

const fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The provider. See the module's text.
#[derive(Debug, Clone, Copy, Default)]
pub struct Echo;

impl Provider for Echo {
    fn name(&self) -> &str {
        NAME
    }

    fn run(&self, request: Request, control: Control, sink: Sink) -> Attempt {
        Box::pin(async move {
            let said = perform(request, control, sink).await;
            said.unwrap_or(Outcome::failed(Failure::Dropped))
        })
    }

    fn steers(&self) -> bool {
        true
    }
}

async fn perform(
    request: Request,
    mut control: Control,
    mut sink: Sink,
) -> Result<Outcome, Stopped> {
    let mut steps = VecDeque::from(script(&request.prompt, &request.params));
    let mut words: Vec<String> = Vec::new();
    sink.send(Output::Started { pid: None }).await?;
    loop {
        let Some(step) = steps.pop_front() else {
            if words.is_empty() {
                return Ok(Outcome::done(None));
            }
            for text in words.drain(..) {
                steps.extend(script(&text, &request.params));
            }
            continue;
        };
        let cancelled = match step {
            Step::Pause(pace) => tokio::select! {
                biased;
                () = listen(&mut control, &mut words) => true,
                () = sleep(pace) => false,
            },
            Step::Say(word) => tokio::select! {
                biased;
                () = listen(&mut control, &mut words) => true,
                told = sink.send(Output::Text(word)) => told.map(|()| false)?,
            },
            Step::Ask(question) => {
                match ask(question, &mut control, &mut sink, &mut words).await? {
                    Some(answer) => {
                        sink.send(Output::Text(format!("{answer}\n"))).await?;
                        false
                    }
                    None => true,
                }
            }
            Step::Crash => return Ok(Outcome::failed(Failure::Exited { code: 1 })),
            Step::Hang => {
                listen(&mut control, &mut words).await;
                true
            }
            Step::Garbage(lines) => {
                let noise_lines = u64::from(lines);
                sink.count_lines(noise_lines)?;
                sink.send(Output::Noise { lines }).await?;
                let failed = Outcome::failed(Failure::Garbage { lines: noise_lines });
                return Ok(Outcome {
                    noise_lines,
                    ..failed
                });
            }
            Step::Panic => panic!("the script says so"),
        };
        if cancelled {
            return Ok(Outcome::cancelled(false));
        }
    }
}

/// Returns when it is to stop; what is said into the turn meanwhile is kept for the script's end.
async fn listen(control: &mut Control, words: &mut Vec<String>) {
    loop {
        match control.next().await {
            Ask::Cancel => return,
            Ask::Steer(text) => words.push(text),
            Ask::Answer(_) => {}
        }
    }
}

/// Asks and waits; `None` when cancelled instead.
async fn ask(
    question: String,
    control: &mut Control,
    sink: &mut Sink,
    words: &mut Vec<String>,
) -> Result<Option<Value>, Stopped> {
    let id: ActionId = "a-echo".parse().expect("an id");
    let action = Action {
        id: id.clone(),
        prompt: question,
        options: Vec::new(),
        choices: Vec::new(),
        tool_call: None,
    };
    sink.send(Output::NeedsAction(action)).await?;
    loop {
        match control.next().await {
            Ask::Cancel => return Ok(None),
            Ask::Answer(answer) if answer.action == id => return Ok(Some(answer.answer)),
            Ask::Answer(_) => {}
            Ask::Steer(text) => words.push(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_prompt_is_said_again_byte_by_byte() {
        let prompt = "one  two\n\u{1f600} three ";
        assert_eq!(said(&script(prompt, &Value::Null), &Value::Null), prompt);
    }

    #[test]
    fn the_directive_wins_over_the_params() {
        let steps = script(
            "!count=3 bytes=5\nignored",
            &json!({"count": 9, "pace_ms": 7}),
        );
        let text = said(&steps, &Value::Null);
        assert_eq!(text.len(), 15);
        assert_eq!(steps.len(), 6);
        assert_eq!(steps[0], Step::Pause(Duration::from_millis(7)));
    }

    #[test]
    fn a_script_is_bounded_whatever_is_asked_of_it() {
        let steps = script("!count=99999999999 bytes=999999999", &Value::Null);
        assert!(said(&steps, &Value::Null).len() as u64 <= SCRIPT_BYTES_MAX);
    }

    #[test]
    fn the_first_words_of_seed_0_are_known() {
        let say = |prompt| said(&script(prompt, &Value::Null), &Value::Null);
        assert_eq!(say("!count=2"), "txdtfmg kxdfccq ");
        assert_ne!(say("!count=2 seed=1"), say("!count=2"));
    }
}
