//! What a row is run with: a server and a proxy of its own, the clients that it strikes, and one
//! beside them that must not notice.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    Options,
    client::Client,
    heart::unix_ms,
    ledger::{Line, Seen, Turn},
    mutant::Mutant,
    proxy::{Cut, Proxy},
    raw::Raw,
    results::Row,
    rows::{Spec, Witness},
    server::{self, Server, Setup},
};
pub(crate) use slow_disk::lacks_compiler;
use witness::Before;

const PATIENCE: Duration = Duration::from_secs(30);
/// The bystander's program says something so often.
const BYSTANDER_PACE_MS: u64 = 50;
/// How much its p99 may move.
const BYSTANDER_SLACK_MS: u64 = 20;
/// The same, on a host that runs rows beside each other: they cost it more than the fault does.
const CROWDED_SLACK_MS: u64 = 250;
/// When a network breaks again that nobody told to.
const CUT_AGAIN_AFTER: Duration = Duration::from_millis(700);

mod slow_disk;
mod verdict;
mod witness;

/// Who.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    Owner,
    Viewer,
}

impl Who {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Viewer => "viewer",
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Owner => Self::Viewer,
            Self::Viewer => Self::Owner,
        }
    }
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    Proxy,
    Direct,
}

/// What a row is run with.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) exe: PathBuf,
    pub(crate) dir: PathBuf,
    pub(crate) server: Server,
    pub(crate) proxy: Proxy,
    pub(crate) token: String,
    pub(crate) session: String,
    pub(crate) row: Row,
    /// When the fault landed, in milliseconds since the Unix epoch.
    pub(crate) struck_at: u64,
    /// Losses that the struck client is to be told of; absent means that it does not matter.
    pub(crate) losses: Option<usize>,
    /// The backend's program keeps witnesses.
    pub(crate) witnessed: bool,
    /// Passed-over events are as they should be.
    pub(crate) gaps_expected: bool,
    /// How turns end that are not done.
    pub(crate) ends: BTreeMap<String, &'static str>,
    /// The fault strikes whoever is on this server.
    pub(crate) strikes_all: bool,
    /// The fault strikes whoever is in this session.
    pub(crate) strikes_session: bool,
    /// Commands that undo what a row did to the host, the last first.
    pub(crate) undo: Vec<Vec<String>>,
    /// What is wrong on purpose.
    pub(crate) mutant: Option<Mutant>,
    witness: Witness,
    before: Before,
    admin: String,
    slack_ms: u64,
    clients: BTreeMap<Who, Client>,
    struck: Who,
    bystander: Option<Client>,
    bystander_session: String,
}

impl Rig {
    pub(crate) async fn start(
        options: &Options,
        spec: &Spec,
        mutant: Option<Mutant>,
    ) -> Result<Self> {
        let mut name = spec.row.id.replace('/', "_");
        if let Some(mutant) = mutant {
            name = format!("{name}-{}", mutant.name());
        }
        let dir = options.dir.join(name);
        fs::create_dir_all(&dir)?;
        let env = if spec.slow_disk {
            slow_disk::prepare(&dir).await?
        } else {
            Vec::new()
        };
        let server = Server::start(Setup {
            exe: options.exe.clone(),
            data: spec.data.clone().map(|name| dir.join(name)),
            dir: dir.clone(),
            more: spec.more.replace("{dir}", &dir.display().to_string()),
            files_max: spec.files_max,
            env,
            mutant,
        })
        .await?;
        let proxy = Proxy::start(server.addr()).await?;
        let token = server.token(&["--subject", "drill", "--faults"]).await?;
        let admin = server.token(&["--subject", "x", "--admin"]).await?;
        let mut rig = Self {
            exe: options.exe.clone(),
            dir,
            server,
            proxy,
            token,
            session: String::new(),
            row: spec.row.clone(),
            struck_at: 0,
            losses: None,
            witnessed: true,
            gaps_expected: false,
            ends: BTreeMap::new(),
            strikes_all: false,
            strikes_session: false,
            undo: Vec::new(),
            mutant,
            witness: spec.witness,
            before: Before::default(),
            admin,
            slack_ms: if options.parallel > 1 {
                CROWDED_SLACK_MS
            } else {
                BYSTANDER_SLACK_MS
            },
            clients: BTreeMap::new(),
            struck: Who::Owner,
            bystander: None,
            bystander_session: String::new(),
        };
        rig.place_bystander().await?;
        rig.before = Before::of(&rig.server, &rig.admin).await?;
        Ok(rig)
    }

    async fn place_bystander(&mut self) -> Result<()> {
        let token = self.server.token(&["--subject", "bystander"]).await?;
        let url = self.url(Via::Direct);
        let mut client = Client::start(&self.exe, &url, &token, &["--backend", "drill"])?;
        self.bystander_session = client.session().await?;
        let say = format!("say bystander lines=100000 pace_ms={BYSTANDER_PACE_MS}");
        client.tell(&say).await?;
        wait("the bystander's text", PATIENCE, || {
            client
                .account()
                .turn("bystander")
                .is_some_and(|turn| !turn.text.is_empty())
        })
        .await?;
        self.bystander = Some(client);
        Ok(())
    }

    pub(crate) fn url(&self, via: Via) -> String {
        let addr = match via {
            Via::Proxy => self.proxy.addr(),
            Via::Direct => self.server.addr(),
        };
        format!("ws://{addr}/v1/connect")
    }

    /// Starts a client, which need not get in.
    pub(crate) fn launch(&mut self, who: Who, via: Via, more: &[&str]) -> Result<()> {
        let (url, token) = (self.url(via), self.token.clone());
        self.launch_as(who, &url, &token, more)
    }

    pub(crate) fn launch_as(
        &mut self,
        who: Who,
        url: &str,
        token: &str,
        more: &[&str],
    ) -> Result<()> {
        let session = self.session.clone();
        let mut args = more.to_vec();
        match who {
            Who::Viewer => args.extend(["--session", &session, "--role", "viewer"]),
            Who::Owner if session.is_empty() => {
                if !more.contains(&"--backend") {
                    args.extend(["--backend", "drill"]);
                }
            }
            Who::Owner => args.extend(["--session", &session]),
        }
        if let Some(mutant) = self.mutant.filter(|_| who == self.struck) {
            args.extend(["--mutant", mutant.name()]);
        }
        let client = Client::start(&self.exe, url, token, &args)?;
        self.clients.insert(who, client);
        Ok(())
    }

    /// Starts a client and waits until it is in.
    pub(crate) async fn join(&mut self, who: Who, via: Via, more: &[&str]) -> Result<()> {
        self.launch(who, via, more)?;
        let session = self.client(who)?.session().await?;
        if who == Who::Owner {
            self.session = session;
        }
        Ok(())
    }

    /// An owner and a viewer, of whom one is to be struck: it goes through the proxy.
    pub(crate) async fn enter(&mut self, struck: Who) -> Result<()> {
        self.struck = struck;
        let via = |who| {
            if who == struck {
                Via::Proxy
            } else {
                Via::Direct
            }
        };
        self.join(Who::Owner, via(Who::Owner), &[]).await?;
        self.join(Who::Viewer, via(Who::Viewer), &[]).await
    }

    pub(crate) fn client(&self, who: Who) -> Result<&Client> {
        self.clients.get(&who).context("it was started")
    }

    pub(crate) fn client_mut(&mut self, who: Who) -> Result<&mut Client> {
        self.clients.get_mut(&who).context("it was started")
    }

    /// Takes a client out of what is judged.
    pub(crate) fn dismiss(&mut self, who: Who) -> Option<Client> {
        self.clients.remove(&who)
    }

    pub(crate) async fn tell(&mut self, line: &str) -> Result<()> {
        self.client_mut(Who::Owner)?.tell(line).await
    }

    /// Begins a turn, and waits until everybody has text of it: work is in flight.
    pub(crate) async fn flow(&mut self, key: &str, words: &str) -> Result<()> {
        self.tell(&format!("say {key} {words}")).await?;
        for client in self.clients.values() {
            wait("text of a running turn", PATIENCE, || {
                client
                    .account()
                    .turn(key)
                    .is_some_and(|turn| !turn.text.is_empty())
            })
            .await?;
        }
        let owner = self.client(Who::Owner)?.account();
        if owner.turn(key).is_some_and(|turn| turn.end.is_some()) {
            bail!("the turn was over before anything was broken");
        }
        Ok(())
    }

    /// Many clients in one process, which have a session each.
    pub(crate) fn crowd(&self, url: &str, of: usize) -> Result<Client> {
        let of = of.to_string();
        let mut args = vec!["--backend", "echo", "--crowd", &of];
        if let Some(mutant) = self.mutant {
            args.extend(["--mutant", mutant.name()]);
        }
        Client::start(&self.exe, url, &self.token, &args)
    }

    /// A client by hand, which said hello with more members; and what it was welcomed with.
    pub(crate) async fn by_hand(&self, more: &Value) -> Result<(Raw, Value)> {
        Raw::join(self.server.addr(), &self.token, more, self.mutant).await
    }

    /// From here on, things are as the fault made them.
    pub(crate) fn strike(&mut self) {
        self.struck_at = unix_ms();
        if self.mutant == Some(Mutant::CutAgain) {
            self.proxy.cut_after(CUT_AGAIN_AFTER, Cut::Reset);
        }
    }

    /// What the server says about the session that is drilled.
    pub(crate) async fn ask_session(&self, about: &str) -> Result<Value> {
        let path = format!("/v1/sessions/{}{about}", self.session);
        let (_, body) = server::get(self.server.addr(), &path, Some(&self.admin)).await?;
        serde_json::from_str(&body).with_context(|| format!("an answer of JSON: {body}"))
    }

    /// What the server says about itself.
    pub(crate) async fn ask_node(&self) -> Result<Value> {
        let (_, body) = server::get(self.server.addr(), "/v1/node", Some(&self.admin)).await?;
        serde_json::from_str(&body).with_context(|| format!("an answer of JSON: {body}"))
    }

    /// Tokens of a server that was started on other data.
    pub(crate) async fn renew_tokens(&mut self) -> Result<()> {
        self.token = self.server.token(&["--subject", "drill"]).await?;
        self.admin = self.server.token(&["--subject", "x", "--admin"]).await?;
        Ok(())
    }

    /// Does something to the host, which is undone when the row is over.
    pub(crate) async fn host(&mut self, command: &[&str], undo: Option<&[&str]>) -> Result<String> {
        let (program, args) = command.split_first().context("a command")?;
        let output = tokio::process::Command::new(program)
            .args(args)
            .output()
            .await
            .with_context(|| (*program).to_owned())?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{}: {said}", command.join(" "));
        }
        if let Some(undo) = undo {
            self.undo
                .push(undo.iter().map(|&word| word.to_owned()).collect());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Strikes the connections through the proxy, of which there must be one.
    pub(crate) fn cut(&mut self, cut: Cut) -> Result<()> {
        self.strike();
        match self.proxy.cut(cut) {
            0 => bail!("there was no connection to cut"),
            _ => Ok(()),
        }
    }

    /// Waits until the struck client says what it lost its connection, or its session, by.
    pub(crate) async fn told(&mut self, within: Duration) -> Result<()> {
        let told = self.sees(within, "told of the loss", |line| match &line.what {
            Seen::Lost { code, .. } | Seen::Failed { code, .. } => Some(code.clone()),
            _ => None,
        });
        let (code, at) = told.await?;
        self.row.cause = Some(code);
        self.row.told_ms = Some(span(self.struck_at, at));
        Ok(())
    }

    /// Waits until the struck client is back; measured from `since`.
    pub(crate) async fn back(&mut self, since: u64, within: Duration) -> Result<()> {
        let back = self.sees(within, "recovered", |line| {
            matches!(line.what, Seen::Recovered { .. }).then_some(())
        });
        let ((), at) = back.await?;
        self.row.recovered_ms = Some(span(since, at));
        self.recovered();
        Ok(())
    }

    /// Waits until the struck client gave up.
    pub(crate) async fn failed(&mut self, within: Duration) -> Result<()> {
        let gone = self.sees(within, "failed", |line| match &line.what {
            Seen::Failed { code, .. } => Some(code.clone()),
            _ => None,
        });
        let (code, at) = gone.await?;
        if self.row.cause.is_none() {
            self.row.cause = Some(code);
            self.row.told_ms = Some(span(self.struck_at, at));
        }
        self.row.outcome = Some("failed".to_owned());
        Ok(())
    }

    /// Waits until everybody who is left has seen a turn's end.
    pub(crate) async fn over(&self, key: &str) -> Result<Turn> {
        let ended = |client: &Client| {
            let account = client.account();
            account.turn(key).filter(|turn| turn.end.is_some()).cloned()
        };
        for (who, client) in &self.clients {
            let what = format!("the end of {key} at the {}", who.name());
            wait(&what, PATIENCE, || ended(client).is_some()).await?;
        }
        let (_, client) = self.clients.iter().next().context("somebody is there")?;
        ended(client).context("it ended")
    }

    /// Waits until the struck client saw something, after the fault.
    pub(crate) async fn sees<T>(
        &self,
        within: Duration,
        what: &str,
        mut look: impl FnMut(&Line) -> Option<T>,
    ) -> Result<(T, u64)> {
        let since = self.struck_at;
        self.client(self.struck)?
            .until(within, what, |line| {
                let after = line.t + 2 >= since;
                after
                    .then(|| look(line))
                    .flatten()
                    .map(|found| (found, line.t))
            })
            .await
    }

    /// It came back, and that is what was wanted.
    pub(crate) fn recovered(&mut self) {
        self.row.outcome = Some("recovered".to_owned());
    }

    /// Waits for a receipt; the code of a refusal.
    pub(crate) async fn receipt(&self, key: &str) -> Result<(Option<String>, u64)> {
        let receipt = self
            .client(Who::Owner)?
            .until(PATIENCE, "a receipt", |line| match &line.what {
                Seen::Receipt { key: of, code, .. } if of == key => Some((code.clone(), line.t)),
                _ => None,
            });
        receipt.await
    }

    pub(crate) fn wrong(&mut self, what: impl Into<String>) {
        self.row.wrong.push(what.into());
    }
}

/// Waits until something is so.
pub(crate) async fn wait(
    what: &str,
    within: Duration,
    mut is_so: impl FnMut() -> bool,
) -> Result<()> {
    let until = Instant::now() + within;
    while !is_so() {
        if Instant::now() > until {
            bail!("not within {within:?}: {what}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds")]
pub(crate) fn span(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64
}
