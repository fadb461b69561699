//! Searching sessions by their titles, prompts and answers.
//!
//! A search is a few words. A session is found by its title, or by a turn of it, in which every word
//! occurs; the last word may be the beginning of one. Nothing of what was typed is syntax: whatever is
//! no letter and no digit only tells words apart, so that there is nothing to escape (A68).

use keel_wire::{
    TurnId,
    record::{SearchText, SessionRow},
};

use crate::{
    Filter, SEARCH_SESSIONS_MAX, SEARCH_WORDS_MAX, Scope, StoreError, StoreErrorKind,
    bounds::{SEARCH_PREFIX_MIN, SEARCH_TEXT_BYTES_MAX},
};

/// Longest word that is looked for, in characters; the rest of it is ignored.
const WORD_CHARS_MAX: usize = 64;

/// What to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// The words, as a person typed them.
    pub text: String,
    /// Whose sessions.
    pub scope: Scope,
    /// Only those opened with a token of this subject.
    pub subject: Option<String>,
    /// Only those that it takes.
    pub filter: Filter,
    /// Most sessions, at most [`crate::SEARCH_SESSIONS_MAX`]; 0 counts as 1.
    pub limit: usize,
}

/// A session that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The session.
    pub row: SessionRow,
    /// The newest turn of it that was found; `None` when it was its title.
    pub turn: Option<TurnId>,
    /// What stands around the words, as it was said.
    pub excerpt: String,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// The sessions, the last active first, each once.
    pub hits: Vec<Hit>,
    /// There is more than was looked at: other words narrow it down.
    pub more: bool,
}

impl Search {
    /// The words that are looked for, in lower case; the last may go on, if it is long enough.
    ///
    /// # Errors
    /// `Other` when there is none.
    pub fn words(&self) -> Result<Words, StoreError> {
        let words: Vec<String> = words_of(&self.text).take(SEARCH_WORDS_MAX).collect();
        let Some(last) = words.last() else {
            return Err(StoreError::new(
                StoreErrorKind::Other,
                "there is no word to look for",
            ));
        };
        let open = last.chars().count() >= SEARCH_PREFIX_MIN;
        Ok(Words { words, open })
    }

    pub(crate) fn sessions_max(&self) -> usize {
        self.limit.clamp(1, SEARCH_SESSIONS_MAX)
    }

    /// Whether it is to be found, if its words are.
    pub(crate) fn takes(&self, row: &SessionRow) -> bool {
        self.scope.takes(row)
            && self.subject.as_ref().is_none_or(|who| *who == row.subject)
            && self.filter.takes(row)
    }
}

/// The words of a search. There is at least one, and they are of letters and digits only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    pub(crate) words: Vec<String>,
    /// The last one may be the beginning of a word.
    pub(crate) open: bool,
}

impl Words {
    /// Whether each of them is in a text, and where the first is, in bytes.
    pub(crate) fn find(&self, text: &str) -> Option<usize> {
        let last = self.words.len() - 1;
        let mut first = None;
        for (index, word) in self.words.iter().enumerate() {
            let goes_on = self.open && index == last;
            let at = places_of(text).find_map(|(at, other)| {
                let same = if goes_on {
                    other.starts_with(word)
                } else {
                    other == *word
                };
                same.then_some(at)
            })?;
            first.get_or_insert(at);
        }
        first
    }
}

fn words_of(text: &str) -> impl Iterator<Item = String> + '_ {
    let words = text.split(|c: char| !c.is_alphanumeric());
    let whole = words.filter(|word| !word.is_empty());
    whole.map(|word| {
        word.chars()
            .take(WORD_CHARS_MAX)
            .collect::<String>()
            .to_lowercase()
    })
}

fn places_of(text: &str) -> impl Iterator<Item = (usize, String)> + '_ {
    let mut at = 0;
    text.split(|c: char| !c.is_alphanumeric()).map(move |word| {
        let here = at;
        let after = text[here + word.len()..].chars().next();
        at += word.len() + after.map_or(0, char::len_utf8);
        (here, word.to_lowercase())
    })
}

/// What is kept of a turn to be found by.
pub(crate) fn said(text: &SearchText) -> String {
    clip(&format!("{}\n\n{}", text.prompt, text.answer))
}

/// A text without NUL, which ends texts elsewhere, and within its bound.
pub(crate) fn clip(text: &str) -> String {
    text[..text.floor_char_boundary(SEARCH_TEXT_BYTES_MAX)].replace('\0', " ")
}
