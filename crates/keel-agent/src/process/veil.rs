//! Takes the known secrets out of a text that comes in pieces, wherever it is cut.
//!
//! What may be the beginning of a secret is held back until it is known whether it is one: less than
//! the longest secret, and nothing at all while the text ends in no such thing.

use super::redact::Redactor;

/// The end of a text that may be the beginning of a secret.
#[derive(Debug, Default)]
pub(crate) struct Veil {
    held: String,
}

impl Veil {
    /// What may be told now that there is `more` of the text.
    pub(crate) fn piece(&mut self, redactor: &Redactor, more: &str) -> String {
        self.held.push_str(more);
        let (told, from) = redactor.without_secrets(&self.held, true);
        self.held.drain(..from);
        told
    }

    /// What was held back, as nothing follows it.
    pub(crate) fn rest(&mut self, redactor: &Redactor) -> String {
        let held = std::mem::take(&mut self.held);
        redactor.without_secrets(&held, false).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One begins with another, one is in another, one overlaps itself and others.
    const SECRETS: [&str; 4] = ["aabaab", "aabaabbb", "abaaba", "baaaaab\u{e9}"];

    fn redactor(secrets: &[&str]) -> Redactor {
        let env = secrets.iter().enumerate();
        let env = env.map(|(n, secret)| (format!("KEY_{n}"), (*secret).to_owned()));
        Redactor::new(&env.collect::<Vec<_>>())
    }

    /// What is told of these pieces; nothing is held that is no beginning of a secret.
    fn told(redactor: &Redactor, secrets: &[&str], pieces: &[&str]) -> String {
        let mut veil = Veil::default();
        let mut told = String::new();
        for piece in pieces {
            told.push_str(&veil.piece(redactor, piece));
            let begins =
                |secret: &&str| secret.len() > veil.held.len() && secret.starts_with(&*veil.held);
            assert!(secrets.iter().any(begins), "{pieces:?} {veil:?}");
        }
        told + &veil.rest(redactor)
    }

    #[test]
    fn a_secret_is_concealed_wherever_it_is_cut_a67() {
        let redactor = redactor(&SECRETS);
        for n in 0_u32..1 << 10 {
            let text: String = (0..10)
                .map(|bit| if n >> bit & 1 == 1 { 'b' } else { 'a' })
                .collect();
            let text = text + if n % 3 == 0 { "\u{e9}" } else { "" };
            let whole = told(&redactor, &SECRETS, &[&text]);
            assert!(
                !SECRETS.iter().any(|secret| whole.contains(secret)),
                "{text} {whole}"
            );
            let mut value = text.as_str().into();
            redactor.conceal(&mut value);
            assert_eq!(value, whole, "{text}");
            let cuts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            for one in &cuts {
                for two in cuts.iter().filter(|two| *two >= one) {
                    let pieces = [&text[..*one], &text[*one..*two], &text[*two..]];
                    assert_eq!(told(&redactor, &SECRETS, &pieces), whole, "{pieces:?}");
                }
            }
            let letters: Vec<&str> = text.split_inclusive(|_| true).collect();
            assert_eq!(told(&redactor, &SECRETS, &letters), whole, "{text}");
        }
    }

    #[test]
    fn only_what_may_be_the_beginning_of_a_secret_is_held_back_a67() {
        let redactor = redactor(&["canary-one"]);
        let mut veil = Veil::default();
        assert_eq!(veil.piece(&redactor, "a can"), "a ");
        assert_eq!(veil.piece(&redactor, "al, a canary-on"), "canal, a ");
        assert_eq!(veil.piece(&redactor, "e, canary-o"), "[redacted], ");
        assert_eq!(veil.rest(&redactor), "canary-o");
        assert_eq!(veil.rest(&redactor), "");
        let none = Redactor::new(&[]);
        assert_eq!(veil.piece(&none, "canary-one"), "canary-one");
    }
}
