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
    Chat,
    Responses,
    Anthropic,
    Fallback,
    Acp,
}

impl Kind {
    /// Every one: a kind that is not here is drilled by nobody.
    pub(super) const ALL: &[Self] = &[
        Self::Echo,
        Self::Lines,
        Self::JsonLines,
        Self::Chat,
        Self::Responses,
        Self::Anthropic,
        Self::Fallback,
        Self::Acp,
    ];
    /// Those behind which a model's server is.
    pub(super) const MODELS: &[Self] = &[Self::Chat, Self::Responses, Self::Anthropic];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Lines => "lines",
            Self::JsonLines => "json-lines",
            Self::Chat => "chat",
            Self::Responses => "responses",
            Self::Anthropic => "anthropic",
            Self::Fallback => "fallback",
            Self::Acp => "acp",
        }
    }

    /// Why nothing can be killed that serves it, if so.
    pub(super) const fn cannot_be_killed(self) -> Option<&'static str> {
        match self {
            Self::Echo => Some("it runs in the server itself"),
            Self::Lines
            | Self::JsonLines
            | Self::Chat
            | Self::Responses
            | Self::Anthropic
            | Self::Fallback
            | Self::Acp => None,
        }
    }

    /// What its death is told as.
    pub(super) const fn death(self) -> &'static str {
        match self {
            Self::Echo | Self::Lines | Self::JsonLines | Self::Fallback | Self::Acp => {
                "provider_crashed"
            }
            Self::Chat | Self::Responses | Self::Anthropic => "provider_unavailable",
        }
    }

    /// A backend named `bad` that says words; and with `hang` in what it is told, only some.
    fn toml(self) -> String {
        match self {
            Self::Echo => "[backends.bad]\nkind = \"echo\"\n".to_owned(),
            Self::Lines => lines("bad"),
            Self::JsonLines => json_lines("bad"),
            Self::Chat | Self::Responses | Self::Anthropic => self.model_at("{model}"),
            Self::Acp => agent(&talk()),
            Self::Fallback => {
                let down = "[backends.down]\nkind = \"process\"\ncommand = [\"/bin/false\"]\n";
                let chain = "[backends.bad]\nkind = \"fallback\"\nchain = [\"down\", \"up\"]\n";
                format!("{down}{}{chain}", json_lines("up"))
            }
        }
    }

    /// A backend named `bad` that asks the model's server at `url`.
    pub(super) fn model_at(self, url: &str) -> String {
        let api = match self {
            Self::Anthropic => "kind = \"anthropic\"",
            Self::Responses => "kind = \"openai\"\napi = \"responses\"",
            Self::Chat
            | Self::Echo
            | Self::Lines
            | Self::JsonLines
            | Self::Fallback
            | Self::Acp => "kind = \"openai\"",
        };
        format!("[backends.bad]\n{api}\nbase_url = \"{url}/v1\"\nmodel = \"fake-model\"\n")
    }

    /// What the model server answers, where there is one.
    fn mode(self) -> Option<String> {
        let rate = 1_000 / PACE_MS;
        Self::MODELS
            .contains(&self)
            .then(|| format!("ok count={WORDS} rate={rate}"))
    }

    /// A row over this kind.
    pub(super) fn onto(self, spec: Spec, more: &str) -> Spec {
        let spec = spec
            .config(format!("{}{more}\n", self.toml()))
            .backend(self.name());
        match self.mode() {
            Some(mode) => spec.model(&mode),
            None => spec,
        }
    }

    /// What is said to it under a key.
    pub(super) fn prompt(self, key: &str) -> String {
        if self == Self::Echo {
            return format!("{key} {}", words());
        }
        key.to_owned()
    }

    /// What it answers to that, all of it.
    pub(super) fn answer(self, key: &str) -> String {
        if self == Self::Echo {
            return self.prompt(key);
        }
        words()
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

    /// Makes its next turn fall silent after some words, and says what that turn is told besides its
    /// key.
    pub(super) async fn hang_next(self, rig: &mut Rig) -> Result<String> {
        match self {
            Self::Echo => {
                let params = "{\"fail\":\"hang\",\"fail_at\":5}";
                rig.tell(&format!("set {params}")).await?;
                rig.receipt(params).await?;
                Ok(words())
            }
            Self::Lines | Self::JsonLines | Self::Fallback | Self::Acp => Ok("hang".to_owned()),
            Self::Chat | Self::Responses | Self::Anthropic => {
                let rate = 1_000 / PACE_MS;
                rig.model()?
                    .answer(&format!("hangmid after=5 count={WORDS} rate={rate}"))?;
                Ok(String::new())
            }
        }
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

fn lines(name: &str) -> String {
    let script = shell(r#"printf "w$i ""#, "");
    program(name, "lines", &script)
}

fn json_lines(name: &str) -> String {
    let script = shell(
        r#"echo "{\"type\":\"text\",\"text\":\"w$i \"}""#,
        r#"echo "{\"type\":\"done\"}""#,
    );
    program(name, "json_lines", &script)
}

/// A backend that is a script for the shell, marked as this row's.
pub(super) fn program(name: &str, output: &str, script: &str) -> String {
    format!(
        "[backends.{name}]\nkind = \"process\"\noutput = \"{output}\"\n\
         command = [\"/bin/sh\", \"-c\", '''{script}''']\nenv = {{ {MARK} = \"{{dir}}\" }}\n"
    )
}

/// A script that says a word and sleeps, over and over, and then ends; it hangs after five words where
/// it is told to.
fn shell(say: &str, end: &str) -> String {
    let pace = f64::from(PACE_MS) / 1_000.;
    format!(
        "read -r l; n={WORDS}; case \"$l\" in *hang*) n=5;; esac; i=0; \
         while [ $i -lt $n ]; do {say}; i=$((i+1)); sleep {pace}; done; \
         case \"$l\" in *hang*) exec sleep 600;; esac; {end}"
    )
}

/// What the fake agent does at each prompt: says words, and hangs after five where it is told to.
fn talk() -> Vec<String> {
    let mut ops = Vec::new();
    for n in 0..WORDS {
        if n == 5 {
            ops.push("hang-if=hang".to_owned());
        }
        ops.push(format!("text=w{n} "));
        ops.push(format!("sleep-ms={PACE_MS}"));
    }
    ops
}

/// A backend named `bad` that is the fake agent speaking ACP.
pub(super) fn agent(args: &[impl AsRef<str>]) -> String {
    let args: Vec<String> = args
        .iter()
        .map(|arg| format!("{:?}", arg.as_ref()))
        .collect();
    format!(
        "[backends.bad]\nkind = \"acp\"\ncommand = [\"{{agent}}\", \"acp\", {}]\n\
         env = {{ {MARK} = \"{{dir}}\" }}\n",
        args.join(", ")
    )
}
