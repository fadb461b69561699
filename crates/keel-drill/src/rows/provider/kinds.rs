//! The kinds of provider that rows are generated over: a backend of each that says words at a pace.

use crate::{
    rig::{MARK, Rig, Who},
    rows::Spec,
};

use anyhow::Result;

/// How many words a backend says, and so many milliseconds apart.
const WORDS: u32 = 40;
const PACE_MS: u32 = 40;

/// A kind of provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Echo,
    Lines,
    JsonLines,
}

impl Kind {
    /// Every one: a kind that is not here is drilled by nobody.
    pub(super) const ALL: &[Self] = &[Self::Echo, Self::Lines, Self::JsonLines];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Lines => "lines",
            Self::JsonLines => "json_lines",
        }
    }

    /// Why nothing can be killed that serves it, if so.
    pub(super) const fn cannot_be_killed(self) -> Option<&'static str> {
        match self {
            Self::Echo => Some("it runs in the server itself"),
            Self::Lines | Self::JsonLines => None,
        }
    }

    /// What its death is told as.
    pub(super) const fn death(self) -> &'static str {
        match self {
            Self::Echo | Self::Lines | Self::JsonLines => "provider_crashed",
        }
    }

    /// A backend named `bad` that says words.
    fn toml(self) -> String {
        let mark = format!("env = {{ {MARK} = \"{{dir}}\" }}");
        match self {
            Self::Echo => "[backends.bad]\nkind = \"echo\"\n".to_owned(),
            Self::Lines => format!(
                "[backends.bad]\nkind = \"process\"\n{mark}\ncommand = [\"/bin/sh\", \"-c\", '''{}''']\n",
                shell(r#"printf "w$i ""#, "")
            ),
            Self::JsonLines => format!(
                "[backends.bad]\nkind = \"process\"\noutput = \"json_lines\"\n{mark}\n\
                 command = [\"/bin/sh\", \"-c\", '''{}''']\n",
                shell(
                    r#"echo "{\"type\":\"text\",\"text\":\"w$i \"}""#,
                    r#"echo "{\"type\":\"done\"}""#
                )
            ),
        }
    }

    /// What the model server answers, where there is one.
    const fn mode(self) -> Option<&'static str> {
        match self {
            Self::Echo | Self::Lines | Self::JsonLines => None,
        }
    }

    /// A row over this kind.
    pub(super) fn onto(self, spec: Spec, more: &str) -> Spec {
        let spec = spec
            .config(format!("{}{more}\n", self.toml()))
            .backend(self.name());
        match self.mode() {
            Some(mode) => spec.model(mode),
            None => spec,
        }
    }

    /// What is said to it under a key.
    pub(super) fn prompt(self, key: &str) -> String {
        match self {
            Self::Echo => format!("{key} {}", words()),
            Self::Lines | Self::JsonLines => key.to_owned(),
        }
    }

    /// What it answers to that, all of it.
    pub(super) fn answer(self, key: &str) -> String {
        match self {
            Self::Echo => self.prompt(key),
            Self::Lines | Self::JsonLines => words(),
        }
    }

    /// Makes it take its time; only once the owner is in.
    pub(super) async fn slow_down(self, rig: &mut Rig) -> Result<()> {
        if self == Self::Echo {
            let params = format!("{{\"pace_ms\":{PACE_MS}}}");
            rig.tell(&format!("set {params}")).await?;
            rig.receipt(&params).await?;
        }
        Ok(())
    }

    /// Makes it fail from its next turn on, after some words, without killing anything.
    pub(super) async fn crash_next(self, rig: &mut Rig) -> Result<()> {
        let params = "{\"fail\":\"crash\",\"fail_at\":5}";
        rig.tell(&format!("set {params}")).await?;
        rig.receipt(params).await.map(drop)
    }

    /// Kills what serves it in the middle of a turn, or makes it fail as if.
    pub(super) async fn die(self, rig: &mut Rig) -> Result<()> {
        rig.strike();
        rig.kill_what_serves().await
    }

    /// Checks that a done turn said all.
    pub(super) fn check(self, rig: &mut Rig, key: &str) -> Result<()> {
        let told = rig.client(Who::Owner)?.account();
        let told = told.turn(key).map(|turn| turn.text.clone());
        let told = String::from_utf8_lossy(&told.unwrap_or_default()).into_owned();
        let wanted = self.answer(key);
        if told != wanted {
            let (told, wanted) = (told.len(), wanted.len());
            rig.wrong(format!("{key}: {told} bytes were told and not {wanted}"));
        }
        Ok(())
    }
}

/// The words `w0 w1 …`, each with a blank behind it.
fn words() -> String {
    (0..WORDS).map(|n| format!("w{n} ")).collect()
}

/// A script that says a word and sleeps, over and over, and then ends.
fn shell(say: &str, end: &str) -> String {
    let pace = f64::from(PACE_MS) / 1_000.;
    format!(
        "read -r l; i=0; while [ $i -lt {WORDS} ]; do {say}; i=$((i+1)); sleep {pace}; done; {end}"
    )
}
