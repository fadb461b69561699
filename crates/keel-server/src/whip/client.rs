//! The client inside the server: one task a resource, with a connection of its own to the driver.

use std::{sync::Arc, time::Duration};

use keel_core::node::{ConnEnd, ConnId, Input};
use keel_wire::{
    Ack, Admission, AnswerFrame, Beat, CandidateFrame, ClientFrame, Code, CommandFrame, Cursor,
    Detach, Epoch, Fault, FaultCode, Hello, History, IceServer, InstanceId, OfferFrame,
    ParticipantId, PublishTrack, RawData, ReceiptBody, Resume, Retry, Role, Seq, ServerFrame,
    SessionId, Strategy, StreamId, StreamState, Welcome,
    codec::Decoded,
    limits::{FRAME_IN_BYTES_MAX, FRAME_OUT_BYTES_MAX},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};

use super::{ASKS_MAX, Ask, Fragment, Offer, Patched, Place, Resource, Unpatched, Way, new_etag};
use crate::{driver::Event, http::reply, random, shared::Shared, socket::Out};

/// From a POST to its answer; then nothing is left of it.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// From an offer to its answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// From leaving to being let go.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);
/// Tries in a row to come back to a session; then the resource is over.
const RESUMES_MAX: u32 = 4;
/// Between the first two of them; doubled each time.
const RESUME_STEP: Duration = Duration::from_millis(100);
/// Bytes that were taken, until the Node is told so.
const FLUSHED_TOLD_BYTES: usize = 16 * 1024;
/// The number of the one transport that a resource has.
const PEER: u32 = 1;

/// What a POST asks for.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) way: Way,
    /// The session; absent opens a new one.
    pub(crate) session: Option<SessionId>,
    /// What serves a new one.
    pub(crate) backend: Option<String>,
    pub(crate) token: String,
    pub(crate) origin: Option<String>,
    pub(crate) subject: String,
    pub(crate) role: Role,
    pub(crate) offer: Offer,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) id: String,
    pub(crate) session: SessionId,
    pub(crate) answer: String,
    pub(crate) etag: String,
    pub(crate) ice_servers: Vec<IceServer>,
}

/// Opens a resource: its client joins the session, and goes on by itself once it has an answer.
pub(crate) async fn open(
    shared: &Arc<Shared>,
    place: Place,
    start: Start,
) -> Result<Opened, Box<Fault>> {
    let (told, opened) = oneshot::channel();
    let task = Box::pin(run(Arc::clone(shared), place, start, told));
    shared.tracker.spawn(task);
    let stopping = || Box::new(reply::new_fault(Code::ServerShutdown));
    opened.await.unwrap_or_else(|_| Err(stopping()))
}

async fn run(
    shared: Arc<Shared>,
    place: Place,
    start: Start,
    told: oneshot::Sender<Result<Opened, Box<Fault>>>,
) {
    let mut client = Client::new(shared, &start);
    let joined = match timeout(OPEN_WITHIN, client.join(&start)).await {
        Ok(joined) => joined,
        Err(_) => Err(Box::new(
            reply::new_fault(Code::Internal).message("the session did not answer in time"),
        )),
    };
    let (answer, ice_servers) = match joined {
        Ok(joined) => joined,
        Err(fault) => {
            client.leave().await;
            let _ = told.send(Err(fault));
            return;
        }
    };
    let Some((session, _)) = client.who() else {
        return;
    };
    let (asks, asked) = mpsc::channel(ASKS_MAX);
    place.show(Resource {
        way: start.way,
        session: session.clone(),
        subject: start.subject,
        asks,
    });
    let etag = new_etag();
    let opened = Opened {
        id: place.id.clone(),
        session,
        answer,
        etag: etag.clone(),
        ice_servers,
    };
    if told.send(Ok(opened)).is_err() {
        // Nobody heard the answer, so nobody will come.
        return client.leave().await;
    }
    let done = client.serve(start.offer, etag, asked).await;
    drop(place);
    if let Some(done) = done {
        let _ = done.send(());
    }
}

/// How a connection to the driver ended.
#[derive(Debug)]
struct Over {
    /// The fault that was told last.
    fault: Option<Box<Fault>>,
    /// The session, or this part in it, is over on purpose.
    ended: bool,
}

impl Over {
    /// Whether another connection may go on where this one was.
    fn may_resume(&self) -> bool {
        let retry = self.fault.as_ref().map_or(Retry::Now, |fault| fault.retry);
        !self.ended && retry == Retry::Now
    }

    fn into_fault(self) -> Box<Fault> {
        let closed = || Box::new(reply::new_fault(Code::ServerShutdown));
        self.fault.unwrap_or_else(closed)
    }
}

struct Client {
    shared: Arc<Shared>,
    origin: Option<String>,
    hello: Hello,
    conn: ConnId,
    outbox: Option<mpsc::UnboundedReceiver<Out>>,
    welcome: Option<Box<Welcome>>,
    cursor: Cursor,
    flushed: usize,
    fault: Option<Box<Fault>>,
    ended: bool,
}

impl Client {
    fn new(shared: Arc<Shared>, start: &Start) -> Self {
        let name = random::hex(&random::bytes::<12>());
        let id = |prefix: &str| format!("{prefix}-{name}");
        let instance: InstanceId = id("i").parse().expect("hexadecimal digits");
        let stream: StreamId = id("c").parse().expect("hexadecimal digits");
        let hello = Hello {
            token: start.token.clone(),
            instance,
            attempt: 1,
            session: start.session.clone(),
            backend: start.backend.clone(),
            project: None,
            busy: None,
            title: None,
            cwd: None,
            tags: Vec::new(),
            role: start.role,
            admission: Admission::Fail,
            history: History::Snapshot,
            resume: None,
            stream: StreamState {
                id: stream,
                next: Seq::ZERO.next(),
                receipts_ack: Seq::ZERO,
            },
            params: None,
            sdk: format!("{}/{}", start.way.path(), env!("CARGO_PKG_VERSION")),
            evidence: None,
        };
        Self {
            shared,
            origin: start.origin.clone(),
            hello,
            conn: ConnId(0),
            outbox: None,
            welcome: None,
            cursor: Cursor {
                epoch: Epoch(Seq::ZERO),
                seq: Seq::ZERO,
            },
            flushed: 0,
            fault: None,
            ended: false,
        }
    }

    fn who(&self) -> Option<(SessionId, ParticipantId)> {
        let welcome = self.welcome.as_ref()?;
        Some((welcome.session.clone(), welcome.participant.clone()))
    }

    // The connection.

    /// Connects and says hello; comes back with the welcome.
    async fn connect(&mut self) -> Result<(), Box<Fault>> {
        let busy = |_| Box::new(reply::new_fault(Code::AtCapacity));
        let handshake = self.shared.tickets.handshake().map_err(busy)?;
        let (outbox, frames) = mpsc::unbounded_channel();
        self.conn = self.shared.next_conn();
        let opened = Event::Opened {
            conn: self.conn,
            outbox,
            origin: self.origin.clone(),
            handshake,
        };
        (self.fault, self.ended, self.flushed) = (None, false, 0);
        self.outbox = Some(frames);
        self.tell(opened).await?;
        self.say(Box::new(self.hello.clone()).into()).await?;
        loop {
            // With `fail` there is no line to stand in.
            let frame = self.next().await.map_err(Over::into_fault)?;
            if let ServerFrame::Welcome(welcome) = frame {
                self.cursor.epoch = welcome.cursor.epoch;
                self.welcome = Some(welcome);
                return Ok(());
            }
        }
    }

    async fn tell(&self, event: Event) -> Result<(), Box<Fault>> {
        let stopping = |_| Box::new(reply::new_fault(Code::ServerShutdown));
        self.shared.events.send(event).await.map_err(stopping)
    }

    async fn say(&self, frame: ClientFrame) -> Result<(), Box<Fault>> {
        let bytes = frame.encode();
        if bytes.len() > FRAME_IN_BYTES_MAX {
            let fault = reply::new_fault(Code::MediaRefused);
            return Err(Box::new(fault.message("the description is too large")));
        }
        let conn = self.conn;
        self.tell(Event::Input(Input::Frame { conn, bytes })).await
    }

    /// The next frame that is anybody's business but this connection's.
    async fn next(&mut self) -> Result<ServerFrame, Over> {
        loop {
            let out = self.out().await;
            if let Some(frame) = self.hear(out).await? {
                return Ok(frame);
            }
        }
    }

    /// What the driver wants of the connection; `None` when it is gone. Loses nothing when it is
    /// dropped half-way.
    async fn out(&mut self) -> Option<Out> {
        match &mut self.outbox {
            Some(outbox) => outbox.recv().await,
            None => None,
        }
    }

    async fn hear(&mut self, out: Option<Out>) -> Result<Option<ServerFrame>, Over> {
        match out {
            Some(Out::Frame(bytes)) => Ok(self.frame(&bytes).await),
            // The Node judges the silence that it asks for.
            Some(Out::Freeze { .. }) => Ok(None),
            Some(Out::Abort) => {
                let (conn, end) = (self.conn, ConnEnd::Eof);
                let _ = self.tell(Event::Input(Input::Lost { conn, end })).await;
                Err(self.over())
            }
            Some(Out::Close { .. }) => Err(self.over()),
            None => {
                // The driver is gone: nothing comes back from here.
                self.ended = true;
                self.fault = Some(Box::new(reply::new_fault(Code::ServerShutdown)));
                Err(self.over())
            }
        }
    }

    fn over(&mut self) -> Over {
        self.outbox = None;
        Over {
            fault: self.fault.take(),
            ended: self.ended,
        }
    }

    /// What a frame is to the client itself: how far the log is, signs of life, last words.
    async fn frame(&mut self, bytes: &[u8]) -> Option<ServerFrame> {
        self.flushed += bytes.len();
        if self.flushed >= FLUSHED_TOLD_BYTES {
            let (conn, bytes) = (self.conn, std::mem::take(&mut self.flushed));
            let _ = self
                .tell(Event::Input(Input::Flushed { conn, bytes }))
                .await;
        }
        let frame = match ServerFrame::decode(bytes, FRAME_OUT_BYTES_MAX) {
            Ok(Decoded::Known(frame)) => frame,
            Ok(Decoded::Unknown { .. }) | Err(_) => return None,
        };
        match &frame {
            ServerFrame::Beat(beat) => {
                let seq = self.cursor.seq;
                let beat = Beat {
                    n: beat.n,
                    seq,
                    suspect_ms: None,
                    pace_ms: None,
                };
                let _ = self.say(beat.into()).await;
                let _ = self.say(Ack { seq }.into()).await;
                return None;
            }
            ServerFrame::Event(event) => self.cursor.seq = event.to,
            ServerFrame::Gap(gap) => {
                self.cursor = Cursor {
                    epoch: gap.epoch,
                    seq: gap.to,
                };
            }
            // Those of media end no connection.
            ServerFrame::Fault(told) if is_of_media(&told.fault) => {}
            ServerFrame::Fault(told) => self.fault = Some(Box::new(told.fault.clone())),
            ServerFrame::Ended(_) => self.ended = true,
            ServerFrame::Welcome(_)
            | ServerFrame::Queued(_)
            | ServerFrame::Receipt(_)
            | ServerFrame::Replayed(_)
            | ServerFrame::Ephemeral(_)
            | ServerFrame::Status(_)
            | ServerFrame::Goaway(_)
            | ServerFrame::Offer(_)
            | ServerFrame::Answer(_)
            | ServerFrame::Candidate(_)
            | ServerFrame::Lines(_)
            | ServerFrame::IceServers(_) => {}
        }
        Some(frame)
    }

    // Its life.

    /// Joins, publishes and offers; comes back with the answer.
    async fn join(&mut self, start: &Start) -> Result<(String, Vec<IceServer>), Box<Fault>> {
        self.connect().await?;
        let offer = &start.offer;
        for (line, kind) in offer.lines.iter().zip(&offer.kinds) {
            let (track, kind) = (line.track.clone(), *kind);
            self.publish(PublishTrack { track, kind }).await?;
        }
        self.say(frame_of(offer).into()).await?;
        let answer = self.answer().await?;
        let welcome = self.welcome.as_mut();
        let ice_servers = welcome.map(|welcome| std::mem::take(&mut welcome.ice_servers));
        Ok((answer.sdp, ice_servers.unwrap_or_default()))
    }

    async fn publish(&mut self, publish: PublishTrack) -> Result<(), Box<Fault>> {
        let n = self.hello.stream.next;
        self.hello.stream.next = n.next();
        let data = serde_json::to_string(&publish).expect("a name and a word");
        let command = CommandFrame {
            n,
            name: "track.publish".to_owned(),
            ttl_ms: None,
            receipts_ack: self.hello.stream.receipts_ack,
            data: RawData::trusted(data),
        };
        self.say(command.into()).await?;
        loop {
            let frame = self.next().await.map_err(Over::into_fault)?;
            if let ServerFrame::Receipt(receipt) = frame
                && receipt.n == n
            {
                self.hello.stream.receipts_ack = n;
                return match receipt.body {
                    ReceiptBody::Ok { .. } => Ok(()),
                    ReceiptBody::Fault(fault) => Err(fault),
                };
            }
        }
    }

    /// The answer to an offer, or why there is none.
    async fn answer(&mut self) -> Result<AnswerFrame, Box<Fault>> {
        loop {
            let frame = self.next().await.map_err(Over::into_fault)?;
            if let ServerFrame::Answer(answer) = frame {
                return Ok(answer);
            } else if let ServerFrame::Fault(told) = frame
                && is_of_description(&told.fault)
            {
                return Err(Box::new(told.fault));
            }
        }
    }

    /// Leaves the session, if it is in one, and waits until it is let go.
    async fn leave(&mut self) {
        if self.outbox.is_none() {
            return;
        }
        if self.welcome.is_none() {
            // Nobody knows it yet: it goes as a browser does that is closed.
            let (conn, end) = (self.conn, ConnEnd::Eof);
            let _ = self.tell(Event::Input(Input::Lost { conn, end })).await;
            self.outbox = None;
            return;
        }
        if self.say(Detach {}.into()).await.is_ok() {
            let gone = async { while self.next().await.is_ok() {} };
            let _ = timeout(LEAVE_WITHIN, gone).await;
        }
        self.outbox = None;
    }

    /// Serves requests until the resource is over; who waits for its end, if anybody does.
    async fn serve(
        mut self,
        mut offer: Offer,
        mut etag: String,
        mut asked: mpsc::Receiver<Ask>,
    ) -> Option<oneshot::Sender<()>> {
        loop {
            tokio::select! {
                ask = asked.recv() => match ask {
                    Some(Ask::Leave { reply }) => {
                        self.leave().await;
                        return Some(reply);
                    }
                    Some(Ask::Patch { tags, fragment, reply }) => {
                        let patched = self.patch(&mut offer, &mut etag, tags, fragment).await;
                        let gone = matches!(&patched, Err(Unpatched::Refused(fault)) if ends_transport(fault));
                        let _ = reply.send(patched);
                        if gone {
                            self.leave().await;
                            return None;
                        }
                    }
                    None => {
                        self.leave().await;
                        return None;
                    }
                },
                out = self.out() => match self.hear(out).await {
                    Ok(Some(ServerFrame::Fault(told))) if ends_transport(&told.fault) => {
                        tracing::info!(fault = told.fault.code.name(), "a WHIP or WHEP transport is gone");
                        self.leave().await;
                        return None;
                    }
                    Ok(_) => {}
                    Err(over) => if !over.may_resume() || !self.resume().await {
                        self.leave().await;
                        return None;
                    },
                },
            }
        }
    }

    /// Another connection for the same attachment. False when the transport did not outlive the one
    /// before, or there is no way back.
    async fn resume(&mut self) -> bool {
        for nth in 0..RESUMES_MAX {
            let Some(welcome) = &self.welcome else {
                return false;
            };
            self.hello.attempt += 1;
            self.hello.session = Some(welcome.session.clone());
            self.hello.backend = None;
            self.hello.resume = Some(Resume {
                participant: welcome.participant.clone(),
                key: welcome.resume_key.clone(),
                cursor: self.cursor,
                strategy: Strategy::Fast,
            });
            match timeout(OPEN_WITHIN, self.connect()).await {
                Ok(Ok(())) => {
                    return self.welcome.as_ref().is_some_and(|w| w.peer == Some(PEER));
                }
                Ok(Err(fault)) if fault.retry != Retry::Now => return false,
                Ok(Err(_)) | Err(_) => sleep(RESUME_STEP * (1 << nth)).await,
            }
        }
        false
    }

    async fn patch(
        &mut self,
        offer: &mut Offer,
        etag: &mut String,
        tags: Option<Vec<String>>,
        fragment: Fragment,
    ) -> Result<Patched, Unpatched> {
        if tags.is_some_and(|tags| !tags.contains(etag)) {
            return Err(Unpatched::Stale);
        }
        let restarts = fragment.ice.filter(|ice| ice.ufrag != offer.ufrag);
        let Some(ice) = restarts else {
            for candidate in fragment.candidates {
                let peer = PEER;
                let frame = CandidateFrame { peer, candidate };
                self.say(frame.into()).await.map_err(Unpatched::Refused)?;
            }
            return Ok(Patched::Trickled);
        };
        let again = offer.restarted(&ice);
        self.say(frame_of(&again).into())
            .await
            .map_err(Unpatched::Refused)?;
        let late = |_| {
            let fault = reply::new_fault(Code::MediaRefused);
            Box::new(fault.message("the restart was not answered in time"))
        };
        let answer = timeout(ANSWER_WITHIN, self.answer()).await.map_err(late);
        let answer = answer.and_then(|answer| answer);
        let answer = answer.map_err(Unpatched::Refused)?;
        (*offer, *etag) = (again, new_etag());
        let fragment = Fragment::of_answer(&answer.sdp);
        let etag = etag.clone();
        Ok(Patched::Restarted { fragment, etag })
    }
}

fn frame_of(offer: &Offer) -> OfferFrame {
    OfferFrame {
        peer: PEER,
        sdp: offer.sdp.clone(),
        lines: offer.lines.clone(),
        settled: true,
    }
}

fn is_of_media(fault: &Fault) -> bool {
    let FaultCode::Known(code) = &fault.code else {
        return false;
    };
    matches!(code, Code::MediaRefused) || ends_transport(fault)
}

/// The answer to a description: it names the transport. One that does not is about a candidate or a
/// track that was said before, and the description is answered yet.
fn is_of_description(fault: &Fault) -> bool {
    is_of_media(fault) && fault.detail.contains_key("peer")
}

/// The plane has no such transport any more.
fn ends_transport(fault: &Fault) -> bool {
    let FaultCode::Known(code) = &fault.code else {
        return false;
    };
    matches!(code, Code::MediaFailed | Code::AtCapacity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_that_is_refused_is_no_answer_to_the_restart_behind_it_a53() {
        let refused = || reply::new_fault(Code::MediaRefused);
        assert!(!is_of_description(&refused()), "of a candidate");
        assert!(is_of_description(&refused().detail("peer", PEER)));
        let failed = reply::new_fault(Code::MediaFailed).detail("peer", PEER);
        assert!(is_of_description(&failed));
        assert!(!is_of_description(&reply::new_fault(Code::RateLimited)));
    }
}
