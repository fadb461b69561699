//! A run's mouth: what it says goes to the Node, and its end when it is dropped.
//!
//! Text is put together here before the Node hears of it, as the Node does before it is committed
//! (`keel_core`'s `session/gather.rs`) and by the same measure: each word of many turns would cost the
//! driver as much as a sentence. What is not text goes at once, after the text before it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use keel_core::{
    limits::{TEXT_GATHERED_BYTES_MAX, TEXT_GATHERED_PIECES_MAX, text_pause},
    node::{Input, RunEnd, RunId, RunOutput},
};
use tokio::{sync::mpsc, time::Instant};

use super::until;

/// How many runs there are.
#[derive(Debug, Clone, Default)]
pub(super) struct Crowd(Arc<AtomicUsize>);

impl Crowd {
    /// The pause that each leaves between two pieces of text.
    fn pause(&self) -> Duration {
        text_pause(self.0.load(Ordering::Relaxed))
    }
}

/// See the module's text. A run ends exactly once by construction.
pub(super) struct Mouth {
    pub(super) run: RunId,
    told: mpsc::UnboundedSender<Input>,
    crowd: Crowd,
    end: Option<RunEnd>,
    /// Text that waits for more, and in how many pieces it came.
    text: String,
    pieces: usize,
    /// When text last went.
    went_at: Option<Instant>,
}

impl Mouth {
    /// `end` is told if it is dropped without another.
    pub(super) fn new(
        run: RunId,
        told: mpsc::UnboundedSender<Input>,
        crowd: Crowd,
        end: RunEnd,
    ) -> Self {
        crowd.0.fetch_add(1, Ordering::Relaxed);
        Self {
            run,
            told,
            crowd,
            end: Some(end),
            text: String::new(),
            pieces: 0,
            went_at: None,
        }
    }

    pub(super) fn say(&mut self, output: RunOutput) {
        let RunOutput::Text(text) = output else {
            self.flush();
            return self.tell(output);
        };
        let first = self.text.is_empty();
        let room = self.text.len() + text.len() <= TEXT_GATHERED_BYTES_MAX;
        if !first && !room {
            self.flush();
        }
        self.text.push_str(&text);
        self.pieces += 1;
        let full =
            self.text.len() >= TEXT_GATHERED_BYTES_MAX || self.pieces >= TEXT_GATHERED_PIECES_MAX;
        // The first of them decides for those that follow.
        if full || first && self.due().is_none_or(|at| at <= Instant::now()) {
            self.flush();
        }
    }

    fn due(&self) -> Option<Instant> {
        Some(self.went_at? + self.crowd.pause())
    }

    /// Resolves when text has waited long enough; never while there is none.
    pub(super) async fn waited(&self) {
        until(self.due().filter(|_| !self.text.is_empty())).await;
    }

    /// Says the text that waits.
    pub(super) fn flush(&mut self) {
        if self.text.is_empty() {
            return;
        }
        self.went_at = Some(Instant::now());
        self.pieces = 0;
        let text = std::mem::take(&mut self.text);
        self.tell(RunOutput::Text(text));
    }

    fn tell(&self, output: RunOutput) {
        let run = self.run;
        let _ = self.told.send(Input::RunOutput { run, output });
    }

    pub(super) fn end(mut self, end: RunEnd) {
        self.end = Some(end);
    }
}

impl Drop for Mouth {
    fn drop(&mut self) {
        self.flush();
        self.crowd.0.fetch_sub(1, Ordering::Relaxed);
        if let Some(end) = self.end.take() {
            let _ = self.told.send(Input::RunEnded { run: self.run, end });
        }
    }
}

#[cfg(test)]
mod tests {
    use keel_core::limits::TEXT_STEP_MAX;

    use super::*;

    fn mouth(crowd: &Crowd) -> (Mouth, mpsc::UnboundedReceiver<Input>) {
        let (told, heard) = mpsc::unbounded_channel();
        let end = RunEnd::Done { stop_reason: None };
        (Mouth::new(RunId(1), told, crowd.clone(), end), heard)
    }

    fn text(text: &str) -> RunOutput {
        RunOutput::Text(text.to_owned())
    }

    /// What was told so far: texts in brackets, `!` for what is none, `.` for the end.
    fn heard(heard: &mut mpsc::UnboundedReceiver<Input>) -> String {
        let mut all = String::new();
        while let Ok(input) = heard.try_recv() {
            if let Input::RunOutput { output, .. } = input {
                if let RunOutput::Text(text) = output {
                    all.extend(["[", &text, "]"]);
                } else {
                    all.push('!');
                }
            } else {
                assert!(matches!(input, Input::RunEnded { .. }), "{input:?}");
                all.push('.');
            }
        }
        all
    }

    #[tokio::test]
    async fn of_many_runs_words_go_together_and_what_else_is_said_takes_them_along() {
        let crowd = Crowd::default();
        let others: Vec<_> = (1..500).map(|_| mouth(&crowd)).collect();
        let (mut mouth, mut told) = mouth(&crowd);
        mouth.say(text("a"));
        assert_eq!(heard(&mut told), "[a]", "the first goes at once");
        mouth.say(text("b"));
        mouth.say(text("c"));
        assert_eq!(heard(&mut told), "");
        assert_eq!(mouth.due(), mouth.went_at.map(|at| at + TEXT_STEP_MAX));
        mouth.waited().await;
        mouth.flush();
        assert_eq!(heard(&mut told), "[bc]");
        mouth.say(text("d"));
        mouth.say(RunOutput::Alive);
        assert_eq!(heard(&mut told), "[d]!");
        mouth.say(text("e"));
        drop(others);
        drop(mouth);
        assert_eq!(heard(&mut told), "[e].");
        assert_eq!(crowd.pause(), Duration::ZERO, "nobody is left");
    }

    #[tokio::test]
    async fn much_text_goes_at_once_and_in_pieces_that_the_node_takes_whole() {
        let crowd = Crowd::default();
        let _others: Vec<_> = (1..500).map(|_| mouth(&crowd)).collect();
        let (mut mouth, mut told) = mouth(&crowd);
        mouth.say(text("a"));
        mouth.say(text("b"));
        let much = "c".repeat(TEXT_GATHERED_BYTES_MAX);
        mouth.say(text(&much));
        assert_eq!(heard(&mut told), format!("[a][b][{much}]"));
        for _ in 0..TEXT_GATHERED_PIECES_MAX {
            mouth.say(text("d"));
        }
        let many = "d".repeat(TEXT_GATHERED_PIECES_MAX);
        assert_eq!(heard(&mut told), format!("[{many}]"));
    }
}
