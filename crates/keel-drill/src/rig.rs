//! What a row is run with: a server and a proxy of its own, the clients that it strikes, and one
//! beside them that must not notice.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    Options,
    client::Client,
    heart::unix_ms,
    mutant::Mutant,
    proxy::{Cut, Proxy},
    raw::Raw,
    results::Row,
    rows::{Preload, Spec, Witness},
    server::{Oddity, Server, Setup},
};
pub(crate) use control::Control;
use control::talker;
pub(crate) use media::{Camera, Media};
pub(crate) use model::{Model, beside};
pub(crate) use preload::lacks_compiler;
pub(crate) use programs::{MARK, children, is_marked, marked};
pub(crate) use watch::{span, wait};
use witness::Before;

const PATIENCE: Duration = Duration::from_secs(30);
/// The bystander's program says something so often.
const BYSTANDER_PACE_MS: u64 = 50;
/// How much its p99 may move.
const BYSTANDER_SLACK_MS: u64 = 20;
/// The same, on a host that runs rows beside each other: they cost it more than the fault does.
const CROWDED_SLACK_MS: u64 = 250;
/// The same for what is told at once, in milliseconds.
const CROWD_MS: f64 = 200.;
/// When a network breaks again that nobody told to.
const CUT_AGAIN_AFTER: Duration = Duration::from_millis(700);

mod control;
mod host;
mod kept;
mod laws;
mod media;
mod model;
mod preload;
mod programs;
mod slow_disk;
mod verdict;
mod wall_clock;
mod watch;
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
    /// The session's log cannot be read any more.
    pub(crate) unreadable: bool,
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
    pub(crate) media: Option<Media>,
    /// The model server behind the drilled backend.
    pub(crate) model: Option<Model>,
    /// Sessions that are ended with the row, besides the drilled one.
    sessions: Vec<String>,
    witness: Witness,
    before: Before,
    admin: String,
    slack_ms: u64,
    clients: BTreeMap<Who, Client>,
    struck: Who,
    /// More of the environment of whoever is struck.
    client_env: preload::Env,
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
        let (mut env, mut client_env) = (Vec::new(), Vec::new());
        match spec.preload {
            Preload::None => {}
            Preload::ServersDisk => env = slow_disk::prepare(&dir).await?,
            Preload::ServersClock => env = wall_clock::prepare(&dir).await?,
            Preload::ClientsClock => client_env = wall_clock::prepare(&dir).await?,
        }
        let (media, told) = match spec.camera {
            Some(camera) => {
                let (media, told) = Media::prepare(options, camera, spec.turn, &dir).await?;
                (Some(media), told)
            }
            None => (None, String::new()),
        };
        let model = match &spec.model {
            Some(mode) => Some(Model::start(&options.exe, &dir, mode).await?),
            None => None,
        };
        let more = spec
            .more
            .replace("{dir}", &dir.display().to_string())
            .replace("{model}", model.as_ref().map_or("", Model::url))
            .replace(
                "{agent}",
                &beside(&options.exe, "keel-fake-agent")
                    .display()
                    .to_string(),
            );
        let setup = Setup {
            exe: options.exe.clone(),
            data: spec.data.clone().map(|name| dir.join(name)),
            dir: dir.clone(),
            more: more + &told,
            files_max: spec.files_max,
        };
        let server = Server::start_odd(setup, Oddity { env, mutant }).await?;
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
            unreadable: false,
            ends: BTreeMap::new(),
            strikes_all: false,
            strikes_session: false,
            undo: Vec::new(),
            mutant,
            media,
            model,
            sessions: Vec::new(),
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
            client_env,
            bystander: None,
            bystander_session: String::new(),
        };
        let token = rig.server.token(&["--subject", "bystander"]).await?;
        let bystander = talker(options, &rig.url(Via::Direct), &token, "bystander").await?;
        rig.bystander_session = bystander.session().await?;
        rig.bystander = Some(bystander);
        rig.before = Before::of(&rig.server, &rig.admin).await?;
        Ok(rig)
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
        let env = match who == self.struck {
            true => self.client_env.as_slice(),
            false => &[],
        };
        let client = Client::start_in(&self.exe, url, token, &args, env)?;
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

    /// What other rows beside this one may cost it, in milliseconds.
    pub(crate) fn crowd_ms(&self) -> f64 {
        if self.slack_ms == CROWDED_SLACK_MS {
            return CROWD_MS;
        }
        0.
    }

    /// A token that may do everything.
    pub(crate) fn admin(&self) -> &str {
        &self.admin
    }

    /// Ends the session of this welcome with the row.
    pub(crate) fn also(&mut self, welcome: &Value) {
        let session = welcome["session"].as_str().unwrap_or_default();
        self.sessions.push(session.to_owned());
    }

    /// From here on, things are as the fault made them.
    pub(crate) fn strike(&mut self) {
        self.struck_at = unix_ms();
        if self.mutant == Some(Mutant::CutAgain) {
            self.proxy.cut_after(CUT_AGAIN_AFTER, Cut::Reset);
        }
    }

    /// Strikes the connections through the proxy, of which there must be one.
    pub(crate) fn cut(&mut self, cut: Cut) -> Result<()> {
        self.strike();
        match self.proxy.cut(cut) {
            0 => bail!("there was no connection to cut"),
            _ => Ok(()),
        }
    }
}
