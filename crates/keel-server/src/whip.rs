//! WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep): a session's media for clients that speak HTTP once
//! and WebRTC from then on.
//!
//! A resource is a client inside the server: it has a connection to the driver as a WebSocket has one,
//! and says hello, publishes, offers and answers beats over it. There is no other way into a session,
//! so receipts, journal, status, limits and tokens hold for it as for everybody.

mod client;
mod description;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use keel_wire::{Code, Fault, IceServer, SessionId};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use crate::{http::reply, random};

pub(crate) use client::{Start, open};
pub(crate) use description::{Fragment, Offer};

/// Resources at once; then 503.
const RESOURCES_MAX: usize = 1_024;
/// Resources of one subject at once; then 429.
const RESOURCES_OF_SUBJECT_MAX: usize = 64;
/// Resources that a subject may open a second, averaged; then 429.
const OPENED_PER_S: f64 = 5.0;
/// Resources that it may open at once when it was quiet.
const OPENED_BURST: f64 = 20.0;
/// Subjects whose pace is kept; those that were quiet are forgotten.
const PACES_MAX: usize = 4_096;
/// Requests that wait for a resource; then 429.
const ASKS_MAX: usize = 8;

/// Which way media goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// WHIP: to the session.
    Publish,
    /// WHEP: from it.
    Play,
}

impl Way {
    /// The first segment of its paths.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Publish => "whip",
            Self::Play => "whep",
        }
    }
}

/// What a request wants of a resource.
#[derive(Debug)]
pub(crate) enum Ask {
    /// More candidates, or a restart of ICE.
    Patch {
        /// The entity tags that it names; `None` for `*`.
        tags: Option<Vec<String>>,
        /// What it says.
        fragment: Fragment,
        /// Takes what came of it.
        reply: oneshot::Sender<Result<Patched, Unpatched>>,
    },
    /// Its end.
    Leave {
        /// Is told when nothing of it is left.
        reply: oneshot::Sender<()>,
    },
}

/// What came of a fragment.
#[derive(Debug)]
pub(crate) enum Patched {
    /// Its candidates were passed on.
    Trickled,
    /// ICE was restarted.
    Restarted {
        /// The server's credentials and candidates.
        fragment: String,
        /// The tag of the ICE session that has begun.
        etag: String,
    },
}

/// Why nothing came of it.
#[derive(Debug)]
pub(crate) enum Unpatched {
    /// It is of another ICE session.
    Stale,
    /// The session, or the plane, refused it; the ICE session before stands.
    Refused(Box<Fault>),
}

/// A resource, as requests find it.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) way: Way,
    pub(crate) session: SessionId,
    pub(crate) subject: String,
    asks: mpsc::Sender<Ask>,
}

impl Resource {
    /// Asks it; `None` when it is over, or has too much to do.
    pub(crate) fn ask(&self, ask: Ask) -> Result<(), Busy> {
        self.asks.try_send(ask).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Busy::Full,
            mpsc::error::TrySendError::Closed(_) => Busy::Over,
        })
    }
}

/// Why a resource takes no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Busy {
    /// It has too many.
    Full,
    /// It is no more.
    Over,
}

/// All resources.
#[derive(Debug, Default)]
pub(crate) struct Resources {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// `None` while it is being opened.
    table: HashMap<String, (String, Option<Arc<Resource>>)>,
    paces: HashMap<String, Pace>,
}

/// How many resources a subject may still open.
#[derive(Debug, Clone, Copy)]
struct Pace {
    left: f64,
    at: Instant,
}

impl Pace {
    fn refill(&mut self, now: Instant) {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * OPENED_PER_S;
        (self.left, self.at) = ((self.left + gained).min(OPENED_BURST), now);
    }
}

/// The right to be a resource, for as long as it is held.
#[derive(Debug)]
pub(crate) struct Place {
    /// Names it: nobody guesses it.
    pub(crate) id: String,
    resources: Arc<Resources>,
}

impl Place {
    /// Requests find it from here on.
    fn show(&self, resource: Resource) {
        if let Some(entry) = self.resources.lock().table.get_mut(&self.id) {
            entry.1 = Some(Arc::new(resource));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.resources.lock().table.remove(&self.id);
    }
}

impl Resources {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more resource of a subject.
    pub(crate) fn reserve(self: &Arc<Self>, subject: &str) -> Result<Place, Box<Fault>> {
        let now = Instant::now();
        let mut inner = self.lock();
        let no = |code: Code, why: &str| Err(Box::new(reply::new_fault(code).message(why)));
        if inner.table.len() >= RESOURCES_MAX {
            return no(
                Code::AtCapacity,
                "there are as many WHIP and WHEP resources as may be",
            );
        }
        let own = inner.table.values().filter(|(of, _)| of == subject).count();
        if own >= RESOURCES_OF_SUBJECT_MAX {
            return no(
                Code::RateLimited,
                "this subject has as many resources as it may",
            );
        }
        if inner.paces.len() >= PACES_MAX {
            inner.paces.retain(|_, pace| {
                pace.refill(now);
                pace.left < OPENED_BURST
            });
        }
        let fresh = Pace {
            left: OPENED_BURST,
            at: now,
        };
        let pace = inner.paces.entry(subject.to_owned()).or_insert(fresh);
        pace.refill(now);
        if pace.left < 1.0 {
            return no(Code::RateLimited, "resources are being opened too fast");
        }
        pace.left -= 1.0;
        let id = random::hex(&random::bytes::<16>());
        inner.table.insert(id.clone(), (subject.to_owned(), None));
        drop(inner);
        let resources = Arc::clone(self);
        Ok(Place { id, resources })
    }

    /// The resource of that name.
    pub(crate) fn find(&self, id: &str) -> Option<Arc<Resource>> {
        self.lock().table.get(id)?.1.clone()
    }
}

/// A strong tag for an ICE session.
fn new_etag() -> String {
    format!("\"{}\"", random::hex(&random::bytes::<8>()))
}

/// A server as WHIP tells of it (RFC 9725 §4.6).
pub(crate) fn link(server: &IceServer, url: &str) -> String {
    let quoted = |text: &str| text.replace(['\\', '"', '\r', '\n'], "");
    let mut link = format!("<{}>; rel=\"ice-server\"", quoted(url));
    if let (Some(username), Some(credential)) = (&server.username, &server.credential) {
        let (username, credential) = (quoted(username), quoted(credential));
        link += &format!(
            "; username=\"{username}\"; credential=\"{credential}\"; credential-type=\"password\""
        );
    }
    link
}
