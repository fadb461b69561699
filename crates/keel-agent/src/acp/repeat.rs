//! Text that an agent says again because it tried again by itself (C21).
//!
//! The protocol has no word for it. What there is to go by is the message's id: a message whose id
//! is new, that follows another message with nothing but thoughts between them, and that begins as
//! that one began, is the same message again. Everything else is one more message. An agent that
//! gives no ids, or keeps one over its retries, cannot be told from one that repeats itself.

/// Text that two messages share at their beginning by more than chance, in bytes.
const SAME_BYTES_MIN: usize = 24;
/// Text of a turn beyond which nothing is compared any more, in bytes.
const COMPARED_BYTES_MAX: usize = 256 * 1024;

/// What is to be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Say {
    /// More text.
    Text(String),
    /// What was said before is superseded; all of the text that still stands follows.
    Anew,
}

/// The text of one attempt, by message.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    /// All of it that stands.
    said: String,
    /// Where the message that is being said begins.
    from: usize,
    id: Option<String>,
    /// The beginning of a message that may be a repetition.
    held: Option<String>,
    /// Something other than text came since the message began.
    parted: bool,
    too_much: bool,
}

impl Repeats {
    /// A piece of a message.
    pub(crate) fn piece(&mut self, id: Option<&str>, text: &str) -> Vec<Say> {
        let mut say = Vec::new();
        if id.is_some() && id != self.id.as_deref() {
            say.extend(self.settle());
            let comparable = self.id.is_some() && !self.parted && self.from < self.said.len();
            self.id = id.map(str::to_owned);
            self.parted = false;
            match comparable && !self.too_much {
                true => self.held = Some(String::new()),
                false => self.from = self.said.len(),
            }
        }
        match &mut self.held {
            Some(held) => {
                held.push_str(text);
                if let Some(again) = self.verdict() {
                    say.extend(self.release(again));
                }
            }
            None => say.push(self.say(text.to_owned())),
        }
        say
    }

    /// Something other than text or a thought.
    pub(crate) fn part(&mut self) -> Vec<Say> {
        let say = self.settle();
        self.parted = true;
        say
    }

    /// The end of the answer, or of the message.
    pub(crate) fn settle(&mut self) -> Vec<Say> {
        let long = |held: &String| held.len() >= SAME_BYTES_MIN;
        match self.held.as_ref().map(long) {
            Some(again) => self.release(again),
            None => Vec::new(),
        }
    }

    /// Whether what is held is the message before it, once that can be known.
    fn verdict(&self) -> Option<bool> {
        let before = &self.said[self.from..];
        let held = self.held.as_deref()?;
        let same = before.bytes().zip(held.bytes());
        let same = same.take_while(|(one, other)| one == other).count();
        match (same == before.len(), same == held.len()) {
            (true, _) => Some(true),
            (false, true) => None,
            (false, false) => Some(same >= SAME_BYTES_MIN),
        }
    }

    fn release(&mut self, again: bool) -> Vec<Say> {
        let held = self.held.take().unwrap_or_default();
        if !again {
            self.from = self.said.len();
            return vec![self.say(held)];
        }
        self.said.truncate(self.from);
        self.said.push_str(&held);
        vec![Say::Anew, Say::Text(self.said.clone())]
    }

    fn say(&mut self, text: String) -> Say {
        self.too_much |= self.said.len() + text.len() > COMPARED_BYTES_MAX;
        if self.too_much {
            self.said = String::new();
            self.from = 0;
        } else {
            self.said.push_str(&text);
        }
        Say::Text(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands at the end, and how often it began anew.
    fn stands(pieces: &[(Option<&str>, &str)]) -> (String, usize) {
        let mut repeats = Repeats::default();
        let mut say = Vec::new();
        for (id, text) in pieces {
            match *text {
                "|" => say.extend(repeats.part()),
                text => say.extend(repeats.piece(*id, text)),
            }
        }
        say.extend(repeats.settle());
        let (mut text, mut anew) = (String::new(), 0);
        for say in say {
            match say {
                Say::Text(more) => text.push_str(&more),
                Say::Anew => {
                    text.clear();
                    anew += 1;
                }
            }
        }
        (text, anew)
    }

    #[test]
    fn a_message_that_is_said_again_supersedes_itself_c21() {
        let (a, b, c) = (Some("a"), Some("b"), Some("c"));
        let check = |pieces: &[(Option<&str>, &str)], text: &str, anew| {
            assert_eq!(stands(pieces), (text.to_owned(), anew), "{pieces:?}");
        };
        check(&[(a, "one "), (b, "one "), (b, "two")], "one two", 1);
        check(&[(a, "one "), (b, "o"), (b, "ne two")], "one two", 1);
        check(
            &[(a, "one "), (b, "one two "), (c, "one two three")],
            "one two three",
            2,
        );
        // A retry that words it otherwise after a while.
        check(
            &[
                (a, "the answer is certainly forty-one"),
                (b, "the answer is certainly forty-two"),
            ],
            "the answer is certainly forty-two",
            1,
        );
        // What came before the message that is repeated still stands.
        check(
            &[(a, "first. "), (a, "|"), (b, "sec"), (c, "second")],
            "first. second",
            1,
        );
    }

    #[test]
    fn messages_that_differ_are_all_told() {
        let (a, b) = (Some("a"), Some("b"));
        let check = |pieces: &[(Option<&str>, &str)], text: &str| {
            assert_eq!(stands(pieces), (text.to_owned(), 0), "{pieces:?}");
        };
        check(&[(a, "one "), (b, "two")], "one two");
        check(&[(a, "I see. "), (b, "I will. ")], "I see. I will. ");
        check(&[(a, "one "), (a, "|"), (b, "one ")], "one one ");
        check(&[(None, "one "), (None, "one ")], "one one ");
        check(&[(a, "one "), (None, "one ")], "one one ");
        check(&[(a, "long enough"), (b, "long")], "long enoughlong");
        let long = "x".repeat(COMPARED_BYTES_MAX);
        check(&[(a, &long), (b, "xx")], &format!("{long}xx"));
    }
}
