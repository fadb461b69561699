//! TLS by configuration: which certificate is shown, and a new one without a dropped session.
//!
//! A handshake takes what is good at its beginning; connections that stand are never touched. A
//! new pair takes the old one's place only when it is whole, and a broken one is told and changes
//! nothing.

mod error;
mod load;
mod validity;

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use rustls::ServerConfig;
use serde::Serialize;
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

pub use error::{TlsError, TlsFile};
use load::{Loaded, load};

use crate::{clock, config, meter::Meter};

/// How often it is looked whether the files have changed.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often the date is looked at.
const DATE_EVERY: Duration = Duration::from_secs(3_600);
/// From so many days before its end a certificate is warned of.
const WARN_DAYS: i64 = 30;
const DAY_MS: i64 = 86_400_000;

/// Asks a running server to read its certificate again. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Reload(Arc<Notify>);

impl Reload {
    /// Reads it as soon as may be, changed or not. Without TLS nothing happens.
    pub fn now(&self) {
        self.0.notify_one();
    }
}

/// How the certificate is, for `/v1/node`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Shown {
    not_before: String,
    not_after: String,
    /// Whole days; below zero once it has expired.
    days_left: i64,
    /// Why the files that are there now are not used; then those of before are.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Tls {
    cert: PathBuf,
    key: PathBuf,
    /// Of what was read first.
    stamps: [Stamp; 2],
    loaded: watch::Sender<Loaded>,
    error: Mutex<Option<String>>,
    reload: Reload,
}

/// What tells that a file is another.
type Stamp = Option<(SystemTime, u64, u64)>;

impl Tls {
    /// Reads the pair.
    ///
    /// # Errors
    /// When it is not good.
    pub(crate) fn open(config: &config::Tls, reload: Reload) -> Result<Self, TlsError> {
        let (cert, key) = (config.cert.clone(), config.key().to_owned());
        // Before they are read, so that no later change is missed.
        let stamps = [&cert, &key].map(|path| stamp(path));
        let loaded = load(&cert, &key)?;
        Ok(Self {
            cert,
            key,
            stamps,
            loaded: watch::Sender::new(loaded),
            error: Mutex::default(),
            reload,
        })
    }

    /// For a handshake that begins.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.loaded.borrow().config)
    }

    pub(crate) fn shown(&self) -> Shown {
        let loaded = self.loaded.borrow();
        let error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        Shown {
            not_before: loaded.validity.not_before.text(),
            not_after: loaded.validity.not_after.text(),
            days_left: loaded.days_left(clock::wall()),
            error: error.clone(),
        }
    }

    /// Looks after the files and the date until the server is closed.
    pub(crate) async fn watch(self: Arc<Self>, meter: Meter, closing: CancellationToken) {
        self.look_at_date(&meter);
        let (mut used, mut seen) = (self.stamps, None);
        let mut dated = tokio::time::Instant::now();
        loop {
            let asked = tokio::select! {
                () = closing.cancelled() => return,
                asked = timeout(LOOK_EVERY, self.reload.0.notified()) => asked.is_ok(),
            };
            let stamps = self.look().await;
            // Files that are being written differ from one look to the next.
            let settled = seen.as_ref() == Some(&stamps);
            seen = Some(stamps);
            if asked || (stamps != used && settled) {
                used = stamps;
                self.read_again(&meter).await;
                self.look_at_date(&meter);
            } else if dated.elapsed() >= DATE_EVERY {
                dated = tokio::time::Instant::now();
                self.look_at_date(&meter);
            }
        }
    }

    async fn look(self: &Arc<Self>) -> [Stamp; 2] {
        let tls = Arc::clone(self);
        let stamps = move || [&tls.cert, &tls.key].map(|path| stamp(path));
        let stamps = tokio::task::spawn_blocking(stamps).await;
        stamps.unwrap_or_default()
    }

    async fn read_again(self: &Arc<Self>, meter: &Meter) {
        let tls = Arc::clone(self);
        let read = move || load(&tls.cert, &tls.key);
        let Ok(read) = tokio::task::spawn_blocking(read).await else {
            return;
        };
        meter.tls_reloaded(read.is_ok());
        let error = match read {
            Ok(loaded) => {
                let until = loaded.validity.not_after.text();
                tracing::info!(%until, "another certificate is in use");
                self.loaded.send_replace(loaded);
                None
            }
            Err(error) => {
                tracing::error!(%error, "the new certificate is not used; the old one is");
                Some(error.to_string())
            }
        };
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    fn look_at_date(&self, meter: &Meter) {
        let (now, loaded) = (clock::wall(), self.loaded.borrow());
        let days_left = loaded.days_left(now);
        meter.tls_days_left(days_left);
        let (from, until) = (loaded.validity.not_before, loaded.validity.not_after);
        if until.ms <= signed(now) {
            tracing::error!(until = %until.text(), "the certificate has EXPIRED: clients refuse it");
        } else if from.ms > signed(now) {
            tracing::error!(from = %from.text(), "the certificate is not valid YET: clients refuse it");
        } else if days_left < WARN_DAYS {
            tracing::warn!(until = %until.text(), days_left, "the certificate expires soon");
        }
    }
}

impl Loaded {
    fn days_left(&self, now: u64) -> i64 {
        (self.validity.not_after.ms - signed(now)).div_euclid(DAY_MS)
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}
