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
    heart::{children_left, unix_ms},
    ledger::{Line, Seen, Turn},
    proxy::{Cut, Proxy},
    results::{Leaked, Row},
    rows::Spec,
    server::{self, Server, Setup},
};

const PATIENCE: Duration = Duration::from_secs(30);
/// The bystander's program says something so often.
const BYSTANDER_PACE_MS: u64 = 50;
/// How much its p99 may move on a host that runs rows beside each other.
const BYSTANDER_SLACK_MS: u64 = 250;

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
    clients: BTreeMap<Who, Client>,
    struck: Who,
    bystander: Option<Client>,
    bystander_session: String,
}

impl Rig {
    pub(crate) async fn start(options: &Options, spec: &Spec) -> Result<Self> {
        let dir = options.dir.join(spec.row.id.replace('/', "_"));
        fs::create_dir_all(&dir)?;
        let server = Server::start(Setup {
            exe: options.exe.clone(),
            data: spec.data.clone().map(|name| dir.join(name)),
            dir: dir.clone(),
            more: spec.more.replace("{dir}", &dir.display().to_string()),
            files_max: spec.files_max,
        })
        .await?;
        let proxy = Proxy::start(server.addr()).await?;
        let token = server.token(&["--subject", "drill", "--faults"]).await?;
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
            clients: BTreeMap::new(),
            struck: Who::Owner,
            bystander: None,
            bystander_session: String::new(),
        };
        rig.place_bystander().await?;
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

    /// From here on, things are as the fault made them.
    pub(crate) fn strike(&mut self) {
        self.struck_at = unix_ms();
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
        let since = self.struck_at;
        let told = self
            .client(self.struck)?
            .until(within, "told of the loss", |line| {
                match (&line.what, line.t + 2 >= since) {
                    (Seen::Lost { code, .. } | Seen::Failed { code, .. }, true) => {
                        Some((code.clone(), line.t))
                    }
                    _ => None,
                }
            });
        let (code, at) = told.await?;
        self.row.cause = Some(code);
        self.row.told_ms = Some(span(since, at));
        Ok(())
    }

    /// Waits until the struck client is back; measured from `since`.
    pub(crate) async fn back(&mut self, since: u64, within: Duration) -> Result<()> {
        let struck_at = self.struck_at;
        let back = self
            .client(self.struck)?
            .until(within, "recovered", |line| {
                let after = line.t + 2 >= struck_at;
                matches!(line.what, Seen::Recovered { .. } if after).then_some(line.t)
            });
        let at = back.await?;
        self.row.recovered_ms = Some(span(since, at));
        self.row.outcome = Some("recovered".to_owned());
        Ok(())
    }

    /// Waits until the struck client gave up.
    pub(crate) async fn failed(&mut self, within: Duration) -> Result<()> {
        let since = self.struck_at;
        let gone = self.client(self.struck)?.until(within, "failed", |line| {
            match (&line.what, line.t + 2 >= since) {
                (Seen::Failed { code, .. }, true) => Some((code.clone(), line.t)),
                _ => None,
            }
        });
        let (code, at) = gone.await?;
        if self.row.cause.is_none() {
            self.row.cause = Some(code);
            self.row.told_ms = Some(span(since, at));
        }
        self.row.outcome = Some("failed".to_owned());
        Ok(())
    }

    /// Waits until everybody who is left has seen a turn's end.
    pub(crate) async fn over(&mut self, key: &str) -> Result<Turn> {
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

    /// The second witness: the server's journal names the code.
    pub(crate) async fn journal_names(&mut self, code: &str) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(10);
        while !names(&self.journal().await?, code) {
            if Instant::now() > until {
                self.wrong(format!("the server's journal does not name {code}"));
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    pub(crate) async fn journal(&self) -> Result<Value> {
        let path = format!("/v1/sessions/{}/journal", self.session);
        let (_, body) = server::get(self.server.addr(), &path, Some(&self.token)).await?;
        serde_json::from_str(&body).with_context(|| format!("a journal: {body}"))
    }

    /// The other one must have noticed nothing.
    fn check_other(&mut self) {
        let other = self.struck.other();
        let Some(client) = self.clients.get(&other) else {
            return;
        };
        let losses = losses(&client.lines(), 0);
        if losses > 0 && !self.strikes_all && !self.strikes_session {
            self.wrong(format!(
                "the {} lost {losses} connections too",
                other.name()
            ));
        }
    }

    /// Judges what everybody saw, and looks for what was left behind.
    pub(crate) async fn finish(mut self) -> Row {
        if let Err(error) = self.conclude().await {
            self.wrong(format!("{error:#}"));
        }
        for (who, client) in std::mem::take(&mut self.clients) {
            let _ = client.save(&self.dir.join(format!("{}.ledger", who.name())));
            let _ = client.close().await;
        }
        if let Some(client) = self.bystander.take() {
            let _ = client.save(&self.dir.join("bystander.ledger"));
            let _ = client.close().await;
        }
        if let Err(error) = self.look_for_leaks().await {
            self.wrong(format!("leaks: {error:#}"));
        }
        let _ = self.server.kill().await;
        let mut row = self.row;
        let late = |ms: Option<f64>, bound: Option<f64>| match (ms, bound) {
            (Some(ms), Some(bound)) => ms > bound,
            _ => false,
        };
        if late(row.told_ms, row.told_bound_ms) {
            row.wrong.push(format!("told late: {:?} ms", row.told_ms));
        }
        if late(row.recovered_ms, row.recovered_bound_ms) {
            row.wrong
                .push(format!("recovered late: {:?} ms", row.recovered_ms));
        }
        if row.outcome.as_ref() != Some(&row.expected_outcome) {
            row.wrong.push(format!("outcome {:?}", row.outcome));
        }
        if row.cause != row.expected_cause {
            row.wrong.push(format!("told as {:?}", row.cause));
        }
        if row.lost + row.duplicated + row.reordered + row.silent > 0 {
            let (lost, twice) = (row.lost, row.duplicated);
            let (mixed, silent) = (row.reordered, row.silent);
            row.wrong.push(format!(
                "lost {lost}, duplicated {twice}, reordered {mixed}, silent {silent}"
            ));
        }
        row.pass = row.wrong.is_empty();
        row
    }

    async fn conclude(&mut self) -> Result<()> {
        self.check_other();
        if let (Some(losses_wanted), Ok(client)) = (self.losses, self.client(self.struck)) {
            let seen = losses(&client.lines(), self.struck_at);
            if seen != losses_wanted {
                self.wrong(format!("told of {seen} losses instead of {losses_wanted}"));
            }
        }
        let mut texts: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut wrong = Vec::new();
        for (who, client) in &self.clients {
            let (account, lines) = (client.account(), client.lines());
            self.row.lost += account.lost;
            self.row.duplicated += account.duplicated + account.run_twice() as u64;
            self.row.reordered += account.reordered;
            self.row.silent += silences(&lines);
            if account.gaps > 0 && !self.gaps_expected {
                wrong.push(format!("{} gaps at the {}", account.gaps, who.name()));
            }
            for turn in account.turns.values() {
                let key = &turn.key;
                let end = turn.end.as_deref().unwrap_or("open");
                let wanted = self.ends.get(key).copied().unwrap_or("done");
                if end != wanted {
                    let code = turn.end_code.as_deref().unwrap_or("no code");
                    wrong.push(format!("{key} ended {end} ({code}) for the {}", who.name()));
                }
                if turn.ends > 1 {
                    wrong.push(format!("{key} ended {} times", turn.ends));
                }
                if account.gaps > 0 {
                    continue;
                }
                let first = texts
                    .entry(key.clone())
                    .or_insert_with(|| turn.text.clone());
                if *first != turn.text {
                    wrong.push(format!("{key}: owner and viewer have different text"));
                }
                if self.witnessed {
                    let wrote = fs::read(self.server.witness().join(key)).unwrap_or_default();
                    if !wrote.starts_with(&turn.text) {
                        wrong.push(format!("{key}: what was told was not written"));
                    }
                    if end == "done" && wrote.len() != turn.text.len() {
                        self.row.lost += wrote.len().saturating_sub(turn.text.len()) as u64;
                    }
                }
            }
        }
        self.row.wrong.extend(wrong);
        self.check_bystander();
        Ok(())
    }

    fn check_bystander(&mut self) {
        let Some(client) = self.bystander.as_ref().filter(|_| !self.strikes_all) else {
            return;
        };
        let (account, lines) = (client.account(), client.lines());
        let own = account.turns.values().all(|turn| turn.key == "bystander");
        let whole = account.lost + account.duplicated + account.reordered + account.gaps == 0;
        let spared = !lines.iter().any(|line| {
            matches!(
                line.what,
                Seen::Lost { .. } | Seen::Fault { .. } | Seen::Failed { .. } | Seen::Ended { .. }
            )
        });
        let (before, after) = (
            p99(&lines, 0, self.struck_at),
            p99(&lines, self.struck_at, u64::MAX),
        );
        let on_time = after <= (2 * before).max(before + BYSTANDER_SLACK_MS);
        let fine = own && whole && spared && on_time;
        self.row.bystander_ok = Some(fine);
        if !fine {
            self.wrong(format!(
                "the bystander: own events only {own}, whole {whole}, spared {spared}, \
                 p99 {before} ms before and {after} ms after"
            ));
        }
    }

    async fn look_for_leaks(&mut self) -> Result<()> {
        if !self.server.is_ready().await {
            self.row.leaked.children = Some(children_left(&self.dir)?);
            return Ok(());
        }
        let admin = self.server.token(&["--subject", "x", "--admin"]).await?;
        let addr = self.server.addr();
        for session in [&self.bystander_session, &self.session] {
            if !session.is_empty() {
                let path = format!("/v1/sessions/{session}/end");
                server::ask(addr, "POST", &path, Some(&admin), "{}").await?;
            }
        }
        // Nobody is connected through the proxy once it is gone, black holes included.
        self.proxy = Proxy::start(addr).await?;
        let until = Instant::now() + Duration::from_secs(12);
        loop {
            let (_, body) = server::get(addr, "/v1/node", Some(&admin)).await?;
            let census = serde_json::from_str::<Value>(&body)?["census"].take();
            let count = |name: &str| census[name].as_u64();
            self.row.leaked = Leaked {
                tasks: count("runs"),
                sockets: count("connections"),
                children: Some(children_left(&self.dir)?),
                slots: count("slots_held"),
            };
            let leaked = &self.row.leaked;
            let clean = [leaked.tasks, leaked.sockets, leaked.children, leaked.slots]
                .iter()
                .all(|count| *count == Some(0));
            if clean {
                return Ok(());
            }
            if Instant::now() > until {
                bail!("{leaked:?}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
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

/// Whether a fault code stands anywhere in a journal.
fn names(journal: &Value, code: &str) -> bool {
    match journal {
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| (name == "code" && value == code) || names(value, code)),
        Value::Array(items) => items.iter().any(|item| names(item, code)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn losses(lines: &[Line], since: u64) -> usize {
    let lost = |line: &&Line| matches!(line.what, Seen::Lost { .. }) && line.t + 2 >= since;
    lines.iter().filter(lost).count()
}

/// Waits of more than 5 s, from a loss to its end, in which nothing was said.
fn silences(lines: &[Line]) -> u64 {
    let mut silent = 0;
    let mut waiting_since = None;
    for line in lines {
        if let Some(since) = waiting_since {
            // Half a second for a busy machine to say it.
            silent += u64::from(line.t.saturating_sub(since) > 5_500);
            waiting_since = Some(line.t);
        }
        match line.what {
            Seen::Lost { .. } => waiting_since = Some(line.t),
            Seen::Recovered { .. } | Seen::Failed { .. } | Seen::Ended { .. } => {
                waiting_since = None;
            }
            _ => {}
        }
    }
    silent
}

/// Of the spans between two texts.
fn p99(lines: &[Line], from: u64, to: u64) -> u64 {
    let texts = lines.iter().filter(|line| {
        (from..to).contains(&line.t)
            && matches!(&line.what, Seen::Event { kind, .. } if kind == "text")
    });
    let times: Vec<u64> = texts.map(|line| line.t).collect();
    let mut gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_unstable();
    gaps.get((gaps.len() * 99).div_ceil(100).saturating_sub(1))
        .copied()
        .unwrap_or(0)
}
