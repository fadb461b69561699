//! What a row of media has besides: a way for media that breaks on command, a camera at the end of it,
//! and a call beside it that must not notice.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::{PATIENCE, Rig, Via, Who, laws, span, wait};
use crate::{
    Options,
    client::Client,
    heart::unix_ms,
    ledger::{Line, Seen},
    mutant::Mutant,
    pictures::{Broken, Pictures, flows_since},
    turn::Coturn,
    udp::{Toward, UdpProxy, Way},
};

/// Pictures in a row that are a flow.
const FLOW: usize = 10;
/// From a way that is whole again to its breaking once more, and for how long, where a mutant does it.
const AGAIN_AFTER: Duration = Duration::from_millis(2_500);
const AGAIN_FOR: Duration = Duration::from_millis(3_000);
/// A server notices within this that media of a session does not come.
const NOTICED_WITHIN_MS: f64 = 1_000.;
/// A journal is put away lazily.
const JOURNALED_WITHIN: Duration = Duration::from_secs(5);
/// What a busy host may add to the way of a bystander's picture.
const LATE_MS: u64 = 600;

/// What has the camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Camera {
    /// The Rust SDK.
    Native,
    /// A page in a real Chromium.
    Chromium,
}

impl Camera {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Chromium => "chromium",
        }
    }

    /// Of so many pictures it may drop some by itself: a browser's encoder and decoder do on a busy host.
    const fn may_drop(self, shown: u64) -> u64 {
        match self {
            Self::Native => 0,
            Self::Chromium => shown / 8 + 5,
        }
    }
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Media {
    pub(crate) udp: UdpProxy,
    pub(crate) camera: Camera,
    /// What relays for clients that want it.
    turn: Option<Coturn>,
    /// Losses of media that the struck client is to be told of; absent means that it does not matter.
    pub(crate) losses: Option<usize>,
    /// When the way was broken.
    broken: Vec<Broken>,
    /// When the way was made whole again.
    pub(crate) healed_at: u64,
    /// Pictures are judged from here on: before it an encoder finds its pace.
    pub(crate) judged_from: u64,
    bystander: Option<Client>,
}

impl Media {
    /// A way to a socket for media that a server is yet to open; and what the server is told of it.
    pub(super) async fn prepare(
        options: &Options,
        camera: Camera,
        turn_ttl_s: Option<u64>,
        dir: &Path,
    ) -> Result<(Self, String)> {
        let listen = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
        let udp = UdpProxy::start(listen, options.seed).await?;
        let (turn, relay) = match turn_ttl_s {
            Some(ttl_s) => {
                let (turn, told) = Coturn::start(dir, ttl_s).await?;
                (Some(turn), told)
            }
            None => (None, String::new()),
        };
        let told = format!(
            "[media]\nlisten = \"{listen}\"\nadvertise = \"{}\"\n\
             [backends.passthrough]\nkind = \"passthrough\"\n[backends.room]\nkind = \"room\"\n{relay}",
            udp.addr()
        );
        let media = Self {
            udp,
            camera,
            turn,
            losses: None,
            broken: Vec::new(),
            healed_at: 0,
            judged_from: 0,
            bystander: None,
        };
        Ok((media, told))
    }

    /// The TURN server of a row that has one.
    pub(crate) fn turn(&mut self) -> Result<&mut Coturn> {
        self.turn.as_mut().context("a row with a TURN server")
    }
}

impl Rig {
    pub(crate) fn media(&mut self) -> Result<&mut Media> {
        self.media.as_mut().context("a row of media")
    }

    pub(crate) fn media_ref(&self) -> Result<&Media> {
        self.media.as_ref().context("a row of media")
    }

    /// A call beside, that goes through the same proxy and is spared; then an owner whose camera's pictures
    /// come back to it. It is the one to be struck.
    pub(crate) async fn call(&mut self) -> Result<()> {
        self.call_beside().await?;
        self.dial_in().await?;
        self.flows().await
    }

    /// The owner alone, whose pictures need not flow.
    pub(crate) async fn dial_in(&mut self) -> Result<()> {
        self.dial_in_with(&[]).await
    }

    /// The same, with more arguments of a browser's.
    pub(crate) async fn dial_in_with(&mut self, more: &[String]) -> Result<()> {
        let camera = self.media_ref()?.camera;
        self.struck = Who::Owner;
        match camera {
            Camera::Native => {
                let args = ["--backend", "passthrough", "--camera"];
                self.join(Who::Owner, Via::Proxy, &args).await
            }
            Camera::Chromium => {
                let url = self.url(Via::Proxy);
                let client = Client::start_browser(&url, &self.token, more, self.mutant)?;
                self.clients.insert(Who::Owner, client);
                self.session = self.client(Who::Owner)?.session().await?;
                Ok(())
            }
        }
    }

    pub(crate) async fn call_beside(&mut self) -> Result<()> {
        let token = self.server.token(&["--subject", "beside"]).await?;
        let args = ["--backend", "passthrough", "--camera"];
        let client = Client::start(&self.exe, &self.url(Via::Direct), &token, &args)?;
        self.sessions.push(client.session().await?);
        wait("pictures of the call beside", PATIENCE, || {
            flows_since(&client.lines(), 0, FLOW).is_some()
        })
        .await?;
        let media = self.media()?;
        media.udp.spare().await;
        media.bystander = Some(client);
        Ok(())
    }

    /// Waits until the struck client's pictures flow; they are judged from then on.
    pub(crate) async fn flows(&mut self) -> Result<()> {
        let client = self.client(self.struck)?;
        // An encoder's first second is its own.
        wait("pictures", PATIENCE, || {
            flows_since(&client.lines(), 0, 2 * FLOW + 10).is_some()
        })
        .await?;
        self.media()?.judged_from = unix_ms();
        Ok(())
    }

    /// Breaks the way of media, in one direction or both.
    pub(crate) fn break_way(&mut self, directions: &[Toward], way: Way) -> Result<()> {
        self.strike();
        let from = self.struck_at;
        let media = self.media()?;
        for toward in directions {
            media.udp.set(*toward, way);
        }
        media.broken.push(Broken { from, to: u64::MAX });
        Ok(())
    }

    /// Pictures may be missing from here on, until the way is healed.
    pub(crate) fn excuse(&mut self) -> Result<()> {
        let from = unix_ms();
        self.media()?.broken.push(Broken { from, to: u64::MAX });
        Ok(())
    }

    /// What was missing until now was excused; from here on nothing is.
    pub(crate) fn excused_until_now(&mut self) -> Result<()> {
        let now = unix_ms();
        if let Some(broken) = self.media()?.broken.last_mut() {
            broken.to = now;
        }
        Ok(())
    }

    /// The way is whole again.
    pub(crate) fn heal(&mut self) -> Result<()> {
        let again = self.mutant == Some(Mutant::WayBrokenAgain);
        let media = self.media()?;
        media.udp.set_both(Way::CLEAR);
        media.healed_at = unix_ms();
        if let Some(broken) = media.broken.last_mut() {
            broken.to = media.healed_at;
        }
        if again {
            media.udp.break_later(AGAIN_AFTER, AGAIN_FOR);
        }
        Ok(())
    }

    /// Waits until the struck client says by what it lost media.
    pub(crate) async fn media_told(&mut self, within: Duration) -> Result<()> {
        let told = self.sees(within, "told of the loss of media", |line| {
            match &line.what {
                Seen::MediaLost { code, .. } => Some(code.clone()),
                _ => None,
            }
        });
        let (code, at) = told.await?;
        self.row.cause = Some(code);
        self.row.told_ms = Some(span(self.struck_at, at));
        Ok(())
    }

    /// Waits until the struck client says that media flows again, and it does; measured from when the way
    /// was whole.
    pub(crate) async fn media_back(&mut self, within: Duration) -> Result<()> {
        let healed_at = self.media_ref()?.healed_at;
        let back = self.sees(within, "media recovered", |line| {
            let after = line.t >= healed_at;
            (after && matches!(line.what, Seen::MediaRecovered { .. })).then_some(())
        });
        let ((), told_at) = back.await?;
        let flows_at = self.pictures_again(healed_at, within).await?;
        self.row.recovered_ms = Some(span(healed_at, told_at.max(flows_at)));
        self.recovered();
        self.media_stays().await
    }

    /// Waits until pictures flow that came after a time; when the first of them did. A way that was healed
    /// is whole from then on.
    pub(crate) async fn pictures_again(&mut self, since: u64, within: Duration) -> Result<u64> {
        let until = Instant::now() + within;
        loop {
            let client = self.client(self.struck)?;
            if let Some(at) = flows_since(&client.lines(), since, FLOW) {
                let media = self.media()?;
                let healed_at = media.healed_at;
                let last = media.broken.last_mut();
                if let Some(broken) = last.filter(|broken| broken.to == healed_at) {
                    broken.to = at;
                }
                return Ok(at);
            }
            if Instant::now() > until {
                bail!("not within {within:?}: pictures flow");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What recovered stays so, for as long as a network takes to break again that nobody told to.
    pub(crate) async fn media_stays(&mut self) -> Result<()> {
        let until = unix_ms() + 1_000;
        self.pictures_again(until, PATIENCE).await?;
        if self.mutant == Some(Mutant::WayBrokenAgain) {
            let healed_at = self.media_ref()?.healed_at;
            let again = self.sees(PATIENCE, "told of a second loss of media", |line| {
                let after = line.t >= healed_at;
                (after && matches!(line.what, Seen::MediaLost { .. })).then_some(())
            });
            again.await?;
        }
        Ok(())
    }

    /// When the server noticed, by its journal, in milliseconds from the fault; within its bound.
    pub(crate) async fn server_noticed(&mut self, code: &str) -> Result<()> {
        let until = Instant::now() + JOURNALED_WITHIN;
        loop {
            let journal = self.ask_session("/journal").await?;
            let entries = journal["entries"].as_array().cloned().unwrap_or_default();
            let noticed = entries.iter().find(|entry| {
                entry["fact"] == "media_lost"
                    && entry["fault"]["code"] == code
                    && entry["at"].as_u64() >= Some(self.struck_at)
            });
            if let Some(at) = noticed.and_then(|entry| entry["at"].as_u64()) {
                let ms = span(self.struck_at, at);
                if ms > NOTICED_WITHIN_MS {
                    self.wrong(format!("the server noticed after {ms} ms"));
                }
                return Ok(());
            }
            if Instant::now() > until {
                bail!("the server's journal does not say that media was lost");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What the pictures of everybody who is judged come to.
    pub(super) fn judge_pictures(&mut self) -> Result<()> {
        let Some(media) = &self.media else {
            return Ok(());
        };
        let (from, struck_at, camera) = (media.judged_from, self.struck_at, media.camera);
        let mut wrong = Vec::new();
        for (who, client) in &self.clients {
            let lines = client.lines();
            let judged = |line: &Line| line.t >= from || matches!(line.what, Seen::Sent { .. });
            let judged: Vec<Line> = lines.into_iter().filter(judged).collect();
            let pictures = Pictures::of(&judged, &media.broken);
            self.row.lost += pictures
                .lost
                .saturating_sub(camera.may_drop(pictures.shown));
            self.row.duplicated += pictures.duplicated;
            self.row.reordered += pictures.reordered;
            *self.row.pictures_lost.get_or_insert(0) += pictures.excused;
            if pictures.shown == 0 {
                wrong.push(format!("the {} was shown nothing", who.name()));
            }
        }
        if let (Some(wanted), Some(client)) = (media.losses, self.clients.get(&self.struck)) {
            let lost = |line: &&Line| {
                matches!(line.what, Seen::MediaLost { .. }) && line.t + 2 >= struck_at
            };
            let told = client.lines().iter().filter(lost).count();
            if told != wanted {
                wrong.push(format!(
                    "told of {told} losses of media instead of {wanted}"
                ));
            }
        }
        self.row.wrong.extend(wrong);
        self.judge_call_beside();
        Ok(())
    }

    fn judge_call_beside(&mut self) {
        let spared = !self.strikes_all;
        let media = self.media.as_ref().filter(|_| spared);
        let Some(client) = media.and_then(|media| media.bystander.as_ref()) else {
            return;
        };
        let lines = client.lines();
        let told: Vec<&Line> = lines
            .iter()
            .filter(|line| {
                matches!(
                    line.what,
                    Seen::MediaLost { .. }
                        | Seen::Lost { .. }
                        | Seen::Fault { .. }
                        | Seen::Failed { .. }
                        | Seen::Ended { .. }
                )
            })
            .collect();
        let pictures = Pictures::of(&lines, &[]);
        let missed = pictures.lost + pictures.duplicated + pictures.reordered;
        let (before, after) = (
            laws::picture_gap(&lines, 0, self.struck_at),
            laws::picture_gap(&lines, self.struck_at, unix_ms()),
        );
        let is_late = after > (2 * before).max(before + LATE_MS);
        if !told.is_empty() || missed > 0 || is_late || pictures.shown == 0 {
            let text = format!(
                "the call beside: {pictures:?}, told {told:?}, at most {before} ms between pictures before, \
                 {after} ms after"
            );
            self.wrong(text);
        }
    }

    /// The call beside is over.
    pub(super) async fn hang_up_beside(&mut self) {
        let client = self.media.as_mut().and_then(|media| media.bystander.take());
        if let Some(client) = client {
            let _ = client.save(&self.dir.join("beside.ledger"));
            let _ = client.close().await;
        }
    }
}
