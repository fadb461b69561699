//! How a session is opened, joined or resumed.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use keel_core::client::{Backoff, Config, ResumeState, TokenSource};
use keel_wire::{Admission, BusyPolicy, Code, Cursor, History, Role, SessionId, State, Status};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    ConnectError, Session,
    connection::{Endpoint, Trust},
    driver::{Driver, Parts, REPORTS_MAX, Shown},
    error::{over, own_fault},
    feed::Feed,
    request::Control,
    session::Inner,
    token::Provider,
};

/// Commands that wait for the driver to take them; then `outbox_full`. The driver's outbox has a
/// bound of its own.
const ORDERS_MAX: usize = 256;
const CONTROLS_MAX: usize = 64;

/// Where sessions come from.
#[derive(Debug, Clone, Copy)]
pub struct Client;

impl Client {
    /// A session to be opened, joined or resumed.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }
}

/// What is wanted of a session. Everything but an address and a token has a default.
#[derive(Debug, Clone)]
pub struct Builder {
    config: Config,
    provider: Option<Provider>,
    trust: Result<Trust, String>,
}

impl Default for Builder {
    fn default() -> Self {
        let mut config = Config::new("", TokenSource::Fixed(String::new()));
        config.addresses.clear();
        config.sdk = concat!("evenkeel-rust/", env!("CARGO_PKG_VERSION")).to_owned();
        Self {
            config,
            provider: None,
            trust: Ok(Trust::default()),
        }
    }
}

impl Builder {
    /// Where to connect: `ws://host:port` or `wss://host:port`. Given several times, the later ones
    /// are for when the first is gone.
    #[must_use]
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.config.addresses.push(url.into());
        self
    }

    /// A token that is good for long enough. Once it has expired, the session is over, unless
    /// [`Session::refresh_token`] brought a fresh one.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.config.token = TokenSource::Fixed(token.into());
        self.provider = None;
        self
    }

    /// Where to fetch a token, at each connect and whenever the server wants a fresh one. It has ten
    /// seconds, and is dropped if it takes longer.
    #[must_use]
    pub fn token_provider<P, F, E>(mut self, provider: P) -> Self
    where
        P: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<String, E>> + Send + 'static,
        E: fmt::Display,
    {
        self.config.token = TokenSource::Fetched;
        self.provider = Some(Provider::new(provider));
        self
    }

    /// The session to join. Without it a new one is opened.
    #[must_use]
    pub fn session(mut self, session: SessionId) -> Self {
        self.config.session = Some(session);
        self
    }

    /// What a new session is served by. Without it, the server's default.
    #[must_use]
    pub fn backend(mut self, backend: impl Into<String>) -> Self {
        self.config.backend = Some(backend.into());
        self
    }

    /// The project of a new session.
    #[must_use]
    pub fn project(mut self, project: impl Into<String>) -> Self {
        self.config.project = Some(project.into());
        self
    }

    /// The role wanted; the token must allow it. [`Role::Owner`] by default.
    #[must_use]
    pub fn role(mut self, role: Role) -> Self {
        self.config.role = role;
        self
    }

    /// The params of a new session.
    #[must_use]
    pub fn params(mut self, params: Value) -> Self {
        self.config.params = Some(params);
        self
    }

    /// What to do when there is no slot: refuse (the default), or stand in line.
    #[must_use]
    pub fn admission(mut self, admission: Admission) -> Self {
        self.config.admission = admission;
        self
    }

    /// What happens to a `say` while a turn runs, in a new session.
    #[must_use]
    pub fn busy(mut self, busy: BusyPolicy) -> Self {
        self.config.busy = Some(busy);
        self
    }

    /// What a person calls a new session.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.config.title = Some(title.into());
        self
    }

    /// Where a new session's programs work: a directory beneath one of the backend's roots.
    #[must_use]
    pub fn cwd(mut self, cwd: impl Into<String>) -> Self {
        self.config.cwd = Some(cwd.into());
        self
    }

    /// Words to find a new session by.
    #[must_use]
    pub fn tags(mut self, tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.config.tags = tags.into_iter().map(Into::into).collect();
        self
    }

    /// What is wanted of the past of a session that is joined: every event, or a snapshot.
    #[must_use]
    pub fn history(mut self, history: History) -> Self {
        self.config.history = history;
        self
    }

    /// The waits between tries.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.config.backoff = backoff;
        self
    }

    /// When a recovery is given up. By default, the server's resume window; zero means never.
    #[must_use]
    pub fn give_up_after(mut self, limit: Duration) -> Self {
        self.config.give_up_after = Some(limit);
        self
    }

    /// The longest that a first connect may take, a place in line excepted.
    #[must_use]
    pub fn connect_within(mut self, limit: Duration) -> Self {
        self.config.connect_within = limit;
        self
    }

    /// Tries a server that cannot be reached again on a first connect, too, for as long as
    /// [`Builder::connect_within`] allows. By default that is the caller's decision.
    #[must_use]
    pub fn retry_first_connect(mut self) -> Self {
        self.config.retry_first_connect = true;
        self
    }

    /// Goes on where an earlier client was: see [`Session::resume_state`].
    #[must_use]
    pub fn resume(mut self, state: ResumeState) -> Self {
        self.config.resume = Some(Box::new(state));
        self
    }

    /// Trusts the roots in this PEM, and no others, on `wss://`: for a server whose certificate is
    /// signed by somebody that the system does not know. By default the system's roots are trusted.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn roots_pem(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.trust = Trust::only(pem.as_ref());
        self
    }

    /// Name and version of the application, for the server's log.
    #[must_use]
    pub fn sdk(mut self, name: impl Into<String>) -> Self {
        self.config.sdk = name.into();
        self
    }

    /// Connects. Comes back when the session is joined or has a place in line (the status says
    /// which); everything that happens from then on is told by [`Session::events`].
    ///
    /// Cancel-safe: dropping the future drops the connection.
    ///
    /// # Errors
    /// With the first cause. After that nothing is left of the try.
    pub async fn connect(self) -> Result<Session, ConnectError> {
        self.check()?;
        let trust = self.trust.map_err(|message| {
            let message = format!("the roots to be trusted: {message}");
            ConnectError::new(own_fault(Code::InvalidRequest, &message))
        })?;
        let (orders, order_queue) = mpsc::channel(ORDERS_MAX);
        let (controls, control_queue) = mpsc::channel(CONTROLS_MAX);
        let (status, status_shown) = watch::channel(before_connect());
        let (cursor, cursor_shown) = watch::channel(Cursor::default());
        let (membership, membership_shown) = watch::channel(None);
        let feed = Arc::<Feed>::default();
        let (tracker, abort) = (TaskTracker::new(), CancellationToken::new());
        let reports = mpsc::channel(REPORTS_MAX);
        #[cfg(feature = "media")]
        let (media_orders, media) = {
            let (orders_to, taken) = mpsc::unbounded_channel();
            let parts = crate::media::Parts {
                orders: taken,
                inputs: reports.0.clone(),
                commands: orders.clone(),
            };
            (orders_to, crate::media::Beginning::new(parts))
        };
        let driver = Driver::new(Parts {
            config: self.config,
            provider: self.provider,
            trust,
            orders: order_queue,
            controls: control_queue,
            reports,
            #[cfg(feature = "media")]
            media: media_orders,
            feed: Arc::clone(&feed),
            shown: Shown {
                status,
                cursor,
                membership,
            },
            abort: abort.clone(),
        });
        tracker.spawn(Box::pin(driver.run()));
        tracker.close();
        let session = Session(Arc::new(Inner {
            orders,
            controls,
            feed,
            status: status_shown,
            cursor: cursor_shown,
            membership: membership_shown,
            tracker,
            #[cfg(feature = "media")]
            media,
        }));
        match session.connect().await {
            Ok(()) => Ok(session),
            Err(error) => {
                // The server has had its last word; there is nothing to say goodbye to.
                abort.cancel();
                session.close().await;
                Err(error)
            }
        }
    }

    fn check(&self) -> Result<(), ConnectError> {
        let refuse = |code, message: &str| Err(ConnectError::new(own_fault(code, message)));
        if self.config.addresses.is_empty() {
            return refuse(Code::InvalidRequest, "no address was given");
        }
        for address in &self.config.addresses {
            if let Err(message) = Endpoint::parse(address) {
                return refuse(Code::InvalidRequest, &message);
            }
        }
        match &self.config.token {
            TokenSource::Fixed(token) if token.is_empty() => {
                refuse(Code::Unauthenticated, "no token was given")
            }
            TokenSource::Fixed(_) | TokenSource::Fetched => Ok(()),
        }
    }
}

impl Session {
    pub(crate) async fn connect(&self) -> Result<(), ConnectError> {
        let (verdict, told) = oneshot::channel();
        let asked = self.0.controls.send(Control::Connect(verdict)).await;
        let told = match asked {
            Ok(()) => told.await.ok(),
            Err(_) => None,
        };
        match told {
            Some(Ok(())) => Ok(()),
            Some(Err(fault)) => Err(ConnectError { fault }),
            None => Err(ConnectError::new(over())),
        }
    }
}

fn before_connect() -> Status {
    Status {
        state: State::Connecting {
            phase: keel_wire::Phase::Token,
        },
        fault: None,
        legs: Vec::new(),
        injected: Vec::new(),
        since: 0,
    }
}
