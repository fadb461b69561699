//! A server: bound, started, drained, closed.
//!
//! Nothing is spawned behind the caller: whoever starts a server holds it, and `close` comes back
//! when no task, socket or child is left.

mod assemble;

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use keel_agent::{Provider, process};
use keel_core::node::{HandOut, Node, Progress};
use keel_store::{Memory, OpenError, Sqlite, Store, StoreError};
use sha2::{Digest, Sha256};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    auth::{self, KeyError, Keys, Tokens},
    clock::Clock,
    config::{BackendKind, Config, StoreKind},
    driver::{Backends, Driver, EVENTS_WAITING_MAX, Event, load_revoked},
    edge::Edge,
    health::Health,
    http,
    ice::Ice,
    listen::listen,
    media::{self, Gauges, Media},
    meter::Meter,
    peers::{self, HandOverError, PeerError, Peers},
    random,
    shared::Shared,
    tails::Tails,
    tickets::Tickets,
    tls::{Reload, Tls, TlsError},
    watchdog::Watchdog,
    workplace::Workplaces,
};

use assemble::{node_config, offered, providers};

/// How long a drain may take beyond what it was given.
const DRAIN_GRACE: Duration = Duration::from_secs(2);
/// How long closing waits for tasks; only a bug makes it wait so long.
const CLOSE_WITHIN: Duration = Duration::from_secs(20);

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key cannot be read or made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The certificate or its key is not good.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Another server, as configured, is not good.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The media address cannot be listened on.
    #[error("cannot listen for media on {address}: {source}")]
    Media {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A backend cannot be made of its configuration.
    #[error("backends.{name}: {why}")]
    Backend {
        /// Which.
        name: String,
        /// Why.
        why: String,
    },
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// A server did not end as it should.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// Tasks were still there after a long wait.
    #[error("{0} tasks did not end")]
    TasksLeft(usize),
    /// The driver panicked; what the store had acknowledged is kept.
    #[error("the driver panicked")]
    Panicked,
}

/// A server that listens and does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    local_addr: SocketAddr,
    config: Config,
    store: DynStore,
    tokens: Tokens,
    resume_secret: [u8; 32],
    backends: Backends,
    tls: Option<Arc<Tls>>,
    reload: Reload,
    media: Option<Media>,
    ice: Option<Ice>,
    peers: Arc<Peers>,
}

struct DynStore(Arc<dyn Store>);

impl std::fmt::Debug for DynStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

/// Makes this process the one that adopts what programs leave behind, so that init does not, and it is
/// reaped when it is killed. For a process that is a server and nothing else.
pub fn adopt_orphans() {
    if let Err(error) = process::become_subreaper() {
        tracing::warn!(%error, "orphans of programs are adopted by init");
    }
}

impl Server {
    /// Opens the store, makes the keys if there are none, and listens.
    ///
    /// # Errors
    /// See [`StartError`]. A second server on the same store is refused.
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        let config = config.with_defaults();
        let key_dir = config.key_dir();
        let keys = Keys::open(&key_dir, &config.auth.keys)?;
        let resume_secret = auth::resume_secret(&key_dir)?;
        let tokens = Tokens::new(keys, config.auth.issuer.as_deref());
        let ice = Ice::open(&config)?;
        let reload = Reload::default();
        let tls = config.server.tls.as_ref();
        let tls = tls.map(|tls| Tls::open(tls, reload.clone())).transpose()?;
        let store: Arc<dyn Store> = match config.store.kind {
            StoreKind::Memory => Arc::new(Memory::new()),
            StoreKind::Sqlite => {
                let path = keel_store::sqlite::Config::new(&config.store.path);
                let opened = tokio::task::spawn_blocking(move || Sqlite::open(&path)).await;
                Arc::new(opened.map_err(|error| StartError::Thread(io::Error::other(error)))??)
            }
        };
        let peers = Arc::new(Peers::open(&config.peers)?);
        load_revoked(&*store, &tokens).await?;
        let address = config.server.listen;
        let failed = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let local_addr = listener.local_addr().map_err(failed)?;
        let media = match config.media.listen {
            Some(address) => {
                let certificate = media::identity(&key_dir)?;
                let failed = |(address, source)| StartError::Media { address, source };
                let bound = Media::bind(&config.media, address, certificate).await;
                Some(bound.map_err(failed)?)
            }
            None => None,
        };
        let owner = random::hex(&Sha256::digest(resume_secret)[..8]);
        let runs_programs = config
            .backends
            .values()
            .any(|backend| matches!(backend.kind, BackendKind::Process | BackendKind::Acp));
        if runs_programs && config.store.kind == StoreKind::Sqlite {
            // The store's lock says that no other server of this owner is alive.
            let owner = owner.clone();
            let reaped = tokio::task::spawn_blocking(move || process::reap_leftovers(&owner)).await;
            if let Ok(reaped @ 1..) = reaped {
                tracing::warn!(reaped, "programs of a server that died were still there");
            }
        }
        let store = DynStore(store);
        let backends = providers(&config.backends, &owner)
            .map_err(|(name, why)| StartError::Backend { name, why })?;
        Ok(Self {
            listener,
            local_addr,
            config,
            store,
            tokens,
            resume_secret,
            backends,
            tls: tls.map(Arc::new),
            reload,
            media,
            ice,
            peers,
        })
    }

    /// The same server on another store, as one that stands before its own.
    #[must_use]
    pub fn with_store(mut self, wrap: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>) -> Self {
        self.store = DynStore(wrap(self.store.0));
        self
    }

    /// The same server with other providers, as ones that stand before those it was configured with.
    #[must_use]
    pub fn with_providers(mut self, wrap: impl Fn(Arc<dyn Provider>) -> Arc<dyn Provider>) -> Self {
        for (provider, _) in self.backends.values_mut() {
            *provider = wrap(Arc::clone(provider));
        }
        self
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Checks and makes tokens as this server does.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Asks this server, once it answers, to read its certificate again.
    #[must_use]
    pub fn reload(&self) -> Reload {
        self.reload.clone()
    }

    /// Begins to answer.
    ///
    /// # Errors
    /// When the threads of the watchdog and of the media plane cannot be started.
    pub fn start(self) -> Result<Running, StartError> {
        let (clock, meter) = (Clock::start(), Meter::new());
        let health = Arc::new(Health::new(clock));
        let abort_after = self.config.server.abort_after_s.map(Duration::from_secs);
        let watchdog = Watchdog::start(Arc::clone(&health), meter.clone(), abort_after)
            .map_err(StartError::Thread)?;
        let (events, queue) = mpsc::channel(EVENTS_WAITING_MAX);
        let (tracker, closing) = (TaskTracker::new(), CancellationToken::new());
        let listen_config = &self.config.server;
        let store = self.store.0;
        let roots = self.config.backends.iter();
        let roots = roots.map(|(name, backend)| (name.clone(), backend.cwd_roots.clone()));
        let workplaces = Workplaces::new(roots);
        let takes_media = self.media.is_some();
        let started = self
            .media
            .map(|media| media.start(&meter, &closing, &tracker))
            .transpose()
            .map_err(StartError::Thread)?;
        let (planes, gauges) = match started {
            Some((planes, facts, gauges)) => (Some((planes, facts)), gauges),
            None => (None, Gauges::default()),
        };
        let shared = Arc::new(Shared {
            events: events.clone(),
            store: Arc::clone(&store),
            tokens: self.tokens.clone(),
            edge: Edge::new(listen_config, self.local_addr),
            tickets: Tickets::new(
                listen_config.max_connections,
                listen_config.per_address,
                listen_config.max_unauthenticated,
            ),
            tails: Arc::new(Tails::default()),
            health: Arc::clone(&health),
            meter: meter.clone(),
            tracker: tracker.clone(),
            closing: closing.clone(),
            conns: AtomicU64::new(1),
            event_streams: Arc::new(Semaphore::new(self.config.limits.event_streams)),
            idempotency: http::Idempotency::default(),
            whip: Arc::default(),
            media_backend: self.config.media_backend(),
            request_within: self.config.request_within(),
            faults: self.config.faults.enabled,
            playground: listen_config.playground,
            backends: offered(&self.config),
            default_backend: self.config.default_backend(),
            takes_media,
            gauges,
            workplaces: workplaces.clone(),
            fence: store.fence(),
            drain_target: self.config.drain.target.clone(),
            drain_within: Duration::from_secs(self.config.server.drain_within_s),
            peers: Arc::clone(&self.peers),
            tls: self.tls,
        });
        let ice = self.ice.map(|ice| Arc::new(ice) as Arc<dyn HandOut>);
        let driver = Driver {
            planes,
            node: Node::new(
                node_config(
                    &self.config,
                    &*store,
                    self.resume_secret,
                    ice,
                    &self.backends,
                ),
                random::seed(),
            ),
            clock,
            events: queue,
            probes: events.downgrade(),
            store,
            tokens: self.tokens.clone(),
            health,
            meter,
            tails: Arc::clone(&shared.tails),
            backends: self.backends,
            peers: self.peers,
            workplaces,
            tracker: tracker.clone(),
            closing: closing.clone(),
        };
        let driver = tokio::spawn(tokio::task::unconstrained(Box::pin(driver.run())));
        let router = http::router(Arc::clone(&shared));
        let tls = shared.tls.is_some();
        if let Some(tls) = &shared.tls {
            tracker.spawn(Arc::clone(tls).watch(shared.meter.clone(), closing.clone()));
        }
        tracker.spawn(listen(self.listener, router, Arc::clone(&shared)));
        tracing::info!(address = %self.local_addr, tls, "listening");
        Ok(Running {
            local_addr: self.local_addr,
            tokens: self.tokens,
            drain_within: Duration::from_secs(self.config.server.drain_within_s),
            drain_target: self.config.drain.target,
            shared,
            reload: self.reload,
            events,
            driver,
            tracker,
            closing,
            watchdog,
        })
    }

    /// Answers until `shutdown` resolves; then drains and closes.
    ///
    /// # Errors
    /// When it cannot start, or did not end as it should.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
        let mut running = self.start()?;
        tokio::select! {
            () = shutdown => {
                let target = running.drain_target.clone();
                running.drain(target).await;
            }
            // The driver ends by itself only by a panic.
            _ = &mut running.driver => {
                tracing::error!("the driver panicked; the server stops");
                return Err(CloseError::Panicked.into());
            }
        }
        Ok(running.close().await?)
    }
}

/// Why [`Server::run`] did not end well.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It did not end as it should.
    #[error(transparent)]
    Close(#[from] CloseError),
}

/// A server that answers.
#[derive(Debug)]
pub struct Running {
    local_addr: SocketAddr,
    tokens: Tokens,
    drain_within: Duration,
    drain_target: Option<String>,
    shared: Arc<Shared>,
    reload: Reload,
    events: mpsc::Sender<Event>,
    driver: JoinHandle<()>,
    tracker: TaskTracker,
    closing: CancellationToken,
    watchdog: Watchdog,
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Checks and makes tokens as this server does.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Asks this server to read its certificate again.
    #[must_use]
    pub fn reload(&self) -> Reload {
        self.reload.clone()
    }

    /// Tasks that are there: listener, connections, runs.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.tracker.len()
    }

    /// Hands every session over to another server, a peer by its name or by where it is, and waits until
    /// all have gone there with their clients, or stay. The server goes on, and says where they are.
    ///
    /// # Errors
    /// When that cannot be begun: nothing has changed.
    pub async fn hand_over(
        &self,
        target: &str,
        within: Duration,
    ) -> Result<Progress, HandOverError> {
        let done = peers::hand_over(&self.shared, target, within).await?;
        // What is under way is bounded by the Node: turns by `within`, who stays on by as much again.
        timeout(within * 2 + DRAIN_GRACE, done)
            .await
            .map_err(|_| HandOverError::Late)?
            .map_err(|_| HandOverError::Closing)
    }

    /// Takes no new work, tells everybody, and waits until all turns have ended, but no longer
    /// than configured. With a `target`, a peer, sessions are handed over to it first.
    pub async fn drain(&self, target: Option<String>) {
        if let Some(target) = &target {
            match self.hand_over(target, self.drain_within).await {
                Ok(Progress { moved, stayed, .. }) => {
                    tracing::info!(target, moved, stayed, "sessions were handed over");
                }
                Err(error) => tracing::error!(target, %error, "sessions are not handed over"),
            }
        }
        let (drained, done) = oneshot::channel();
        let within = self.drain_within;
        let drain = Event::Drain {
            within,
            target: None,
            drained,
        };
        tracing::info!(within_s = within.as_secs(), "draining");
        let settled = async {
            if self.events.send(drain).await.is_ok() {
                let _ = done.await;
            }
        };
        match timeout(within + DRAIN_GRACE, settled).await {
            Ok(()) => tracing::info!("drained"),
            Err(_) => tracing::warn!("not everything was settled in time"),
        }
    }

    /// Ends everything. Comes back when no task, socket or child is left.
    ///
    /// # Errors
    /// When something did not end; it is left behind.
    pub async fn close(self) -> Result<(), CloseError> {
        drop(self.events);
        drop(self.shared);
        self.tracker.close();
        self.closing.cancel();
        let driver = timeout(CLOSE_WITHIN, self.driver).await;
        let tasks = timeout(CLOSE_WITHIN, self.tracker.wait()).await;
        // The thread looks up four times a second at most.
        let _ = tokio::task::spawn_blocking(move || self.watchdog.stop()).await;
        match (driver, tasks) {
            (Ok(Ok(())), Ok(())) => Ok(()),
            (Ok(Err(_)), _) => Err(CloseError::Panicked),
            (Err(_), _) | (_, Err(_)) => Err(CloseError::TasksLeft(self.tracker.len().max(1))),
        }
    }
}
