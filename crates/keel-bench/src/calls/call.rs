//! One participant: a WebSocket for signaling, a socket for media, and str0m between them.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use str0m::{
    Candidate, Event, Input, Output, Rtc,
    change::{SdpAnswer, SdpPendingOffer},
    media::{Direction, KeyframeRequestKind, MediaKind, Mid},
    net::{Protocol, Receive},
    rtp::{RtpPacket, RtpWrite},
};
use tokio::net::{TcpStream, UdpSocket};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest},
};

use super::Shared;

/// Of a packet.
const PAYLOAD_BYTES: usize = 1_100;
/// A frame is so many packets.
const PACKETS_A_FRAME: u64 = 4;
/// How often what is due to be sent is looked at.
const TICK: Duration = Duration::from_millis(1);
const DATAGRAM_BYTES_MAX: usize = 2_000;
/// How often one that only counts looks at what has come: its socket holds many times that.
const COUNT_EVERY: Duration = Duration::from_millis(20);

/// What a participant does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Publisher,
    Viewer { session: String, whole: bool },
}

/// A participant's socket for media.
#[derive(Debug)]
enum Wire {
    /// Whatever comes wakes its task.
    Waking(UdpSocket),
    /// It is looked at now and then. Else the sender would pay for waking a reader with each packet, which
    /// over a network it does not; and the more so, the idler the readers are.
    Looked(std::net::UdpSocket),
}

impl Wire {
    /// Lets nobody be woken any more.
    fn looked(self) -> io::Result<Self> {
        Ok(match self {
            Self::Waking(socket) => Self::Looked(socket.into_std()?),
            looked @ Self::Looked(_) => looked,
        })
    }

    async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Waking(socket) => socket.readable().await,
            Self::Looked(_) => std::future::pending().await,
        }
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        match self {
            Self::Waking(socket) => socket.try_recv_from(buffer),
            Self::Looked(socket) => socket.recv_from(buffer),
        }
    }

    fn send(&self, bytes: &[u8], to: SocketAddr) {
        // What the kernel has no room for is lost, as on a network.
        let _ = match self {
            Self::Waking(socket) => socket.try_send_to(bytes, to),
            Self::Looked(socket) => socket.send_to(bytes, to),
        };
    }
}

#[derive(Debug)]
pub(super) struct Call {
    shared: Arc<Shared>,
    part: Part,
    session: String,
    ws: WebSocketStream<MaybeTlsStream<TcpStream>>,
    wire: Wire,
    local: SocketAddr,
    rtc: Rtc,
    pending: Option<SdpPendingOffer>,
    mid: Mid,
    deadline: Instant,
    connected: bool,
    saw_keyframe: bool,
    /// Of the log, and what of it was acknowledged.
    seen: u64,
    // Of a publisher.
    next: u64,
    due: Instant,
    wants_key: bool,
    is_key: bool,
}

impl Call {
    /// Says hello and offers.
    pub(super) async fn dial(shared: Arc<Shared>, part: Part) -> Result<Self> {
        let calls = &shared.calls;
        let url = format!("ws://{}/v1/connect", calls.addr);
        let mut request = url.into_client_request()?;
        let protocol = "evenkeel.v1.json".parse()?;
        request
            .headers_mut()
            .insert("sec-websocket-protocol", protocol);
        let stream = TcpStream::connect(calls.addr).await?;
        stream.set_nodelay(true)?;
        let stream = MaybeTlsStream::Plain(stream);
        let (ws, _) = tokio_tungstenite::client_async(request, stream).await?;
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        let local = socket.local_addr()?;
        let now = Instant::now();
        let mut rtc = Rtc::builder()
            .set_rtp_mode(true)
            .clear_codecs()
            .enable_vp8(true)
            .build(now);
        rtc.add_local_candidate(Candidate::host(local, "udp")?);
        let mut call = Self {
            shared,
            session: String::new(),
            ws,
            wire: Wire::Waking(socket),
            local,
            rtc,
            pending: None,
            mid: Mid::new(),
            deadline: now,
            connected: false,
            saw_keyframe: false,
            seen: 0,
            next: 0,
            due: now,
            wants_key: true,
            is_key: false,
            part,
        };
        call.hello().await?;
        call.offer().await?;
        Ok(call)
    }

    pub(super) fn session(&self) -> &str {
        &self.session
    }

    async fn hello(&mut self) -> Result<()> {
        let n = self.shared.last.fetch_add(1, Relaxed);
        let name = format!("{}-{n}", std::process::id());
        let mut hello = json!({
            "type": "hello", "token": self.shared.calls.token, "instance": format!("i-call-{name}"),
            "attempt": 1, "role": "publisher", "history": "snapshot", "sdk": "bench/0",
            "stream": { "id": format!("c-call-{name}"), "next": 1, "receipts_ack": 0 },
        });
        match &self.part {
            Part::Publisher => {
                hello["backend"] = json!("room");
                hello["role"] = json!("owner");
            }
            Part::Viewer { session, .. } => hello["session"] = json!(session),
        }
        self.say(&hello).await?;
        while self.session.is_empty() {
            let said = self.ws.next().await.context("no welcome")??;
            self.hear(said).await?;
        }
        Ok(())
    }

    async fn offer(&mut self) -> Result<()> {
        let publishes = self.part == Part::Publisher;
        if publishes {
            let publish = json!({
                "type": "command", "n": 1, "name": "track.publish",
                "data": { "track": "camera", "kind": "video" },
            });
            self.say(&publish).await?;
        }
        let direction = if publishes {
            Direction::SendOnly
        } else {
            Direction::RecvOnly
        };
        let mut changes = self.rtc.sdp_api();
        self.mid = changes.add_media(MediaKind::Video, direction, None, None, None);
        let (offer, pending) = changes.apply().context("there is something to offer")?;
        self.pending = Some(pending);
        let mut sdp = offer.to_sdp_string();
        if !self.is_whole() {
            let lines = sdp.split_inclusive("\r\n");
            let lines = lines.filter(|line| !line.contains("transport-"));
            sdp = lines.collect();
        }
        let lines = if publishes {
            json!([{ "mid": self.mid.to_string(), "track": "camera" }])
        } else {
            json!([])
        };
        self.say(&json!({ "type": "offer", "peer": 1, "sdp": sdp, "lines": lines }))
            .await
    }

    fn is_whole(&self) -> bool {
        !matches!(self.part, Part::Viewer { whole: false, .. })
    }

    async fn say(&mut self, frame: &Value) -> Result<()> {
        Ok(self.ws.send(Message::text(frame.to_string())).await?)
    }

    async fn hear(&mut self, message: Message) -> Result<()> {
        let Message::Text(text) = message else {
            return Ok(());
        };
        let frame: Value = serde_json::from_str(&text)?;
        match frame["type"].as_str() {
            Some("welcome") => {
                self.seen = frame["cursor"]["seq"].as_u64().unwrap_or(0);
                frame["session"]
                    .as_str()
                    .unwrap_or_default()
                    .clone_into(&mut self.session);
            }
            Some("beat") => {
                let (n, seq) = (&frame["n"], self.seen);
                self.say(&json!({ "type": "beat", "n": n, "seq": seq }))
                    .await?;
            }
            Some("event") => {
                self.seen = frame["to"].as_u64().unwrap_or(self.seen);
                self.say(&json!({ "type": "ack", "seq": self.seen }))
                    .await?;
            }
            Some("answer") => {
                let sdp = frame["sdp"].as_str().context("an answer")?;
                let pending = self
                    .pending
                    .take()
                    .context("an answer to what was offered")?;
                let answer = SdpAnswer::from_sdp_string(sdp)?;
                self.rtc.sdp_api().accept_answer(pending, answer)?;
                self.deadline = Instant::now();
            }
            Some("fault" | "ended") => bail!("told: {frame}"),
            Some(_) | None => {}
        }
        Ok(())
    }

    /// Runs until it may send, or has seen a keyframe.
    pub(super) async fn until_in(&mut self) -> Result<()> {
        loop {
            let is_in = match &self.part {
                Part::Publisher => self.connected,
                // Nobody but a whole one can tell; a lean one has been sent something.
                Part::Viewer { .. } => self.saw_keyframe,
            };
            if is_in {
                self.due = Instant::now();
                return Ok(());
            }
            self.step().await?;
        }
    }

    /// Runs for good.
    pub(super) async fn run(mut self) -> Result<()> {
        if !self.is_whole() {
            self.wire = self.wire.looked()?;
        }
        loop {
            self.step().await?;
        }
    }

    async fn step(&mut self) -> Result<()> {
        let mut wakes = self.deadline;
        if self.part == Part::Publisher && self.connected {
            wakes = wakes.min(Instant::now() + TICK);
        }
        if matches!(self.wire, Wire::Looked(_)) {
            tokio::select! {
                said = self.ws.next() => {
                    let said = said.context("signaling ended")??;
                    self.hear(said).await?;
                }
                () = tokio::time::sleep(COUNT_EVERY) => self.read()?,
            }
            return self.drive();
        }
        tokio::select! {
            biased;
            readable = self.wire.readable() => {
                readable?;
                self.read()?;
            }
            said = self.ws.next() => {
                let said = said.context("signaling ended")??;
                self.hear(said).await?;
            }
            () = tokio::time::sleep_until(wakes.into()) => {}
        }
        self.drive()
    }

    fn read(&mut self) -> Result<()> {
        let mut buffer = [0; DATAGRAM_BYTES_MAX];
        while let Ok((bytes, from)) = self.wire.receive(&mut buffer) {
            let bytes = &buffer[..bytes];
            // RFC 7983; RTCP's types are no payload types (RFC 5761 §4).
            let is_rtp =
                matches!(bytes, [128..=191, second, ..] if !matches!(second & 0x7f, 64..=95));
            if is_rtp && self.part != Part::Publisher {
                self.shared.came.fetch_add(1, Relaxed);
                self.shared.datagram.store(bytes.len() as u64, Relaxed);
                if !self.is_whole() {
                    self.saw_keyframe = true;
                    continue;
                }
            }
            let received = Receive {
                proto: Protocol::Udp,
                source: from,
                destination: self.local,
                contents: bytes.try_into()?,
            };
            self.rtc
                .handle_input(Input::Receive(Instant::now(), received))?;
            self.drain()?;
        }
        Ok(())
    }

    fn drive(&mut self) -> Result<()> {
        let now = Instant::now();
        if self.deadline <= now {
            self.rtc.handle_input(Input::Timeout(now))?;
        }
        self.drain()?;
        if self.part == Part::Publisher && self.connected {
            let per_s = self.shared.per_s.load(Relaxed).max(1);
            let gap = Duration::from_nanos(1_000_000_000 / per_s);
            // What was missed by a second is not made up for.
            self.due = self.due.max(now - Duration::from_secs(1));
            while self.due <= now {
                self.due += gap;
                self.shoot()?;
                self.drain()?;
            }
        }
        Ok(())
    }

    /// Sends one packet, with the time in it.
    fn shoot(&mut self) -> Result<()> {
        let nth = self.next % PACKETS_A_FRAME;
        if nth == 0 {
            self.is_key = std::mem::take(&mut self.wants_key);
        }
        let now = Instant::now();
        let mut payload = vec![7; PAYLOAD_BYTES];
        // RFC 7741 §4.2: S on the first packet of a frame; P is 0 in a keyframe's header.
        payload[0] = if nth == 0 { 0x10 } else { 0 };
        payload[1] = u8::from(!(self.is_key && nth == 0));
        let at = u64::try_from(now.duration_since(self.shared.start).as_nanos())?;
        payload[2..10].copy_from_slice(&at.to_be_bytes());
        let params = self
            .rtc
            .media(self.mid)
            .context("its line is there")?
            .remote_pts()
            .to_vec();
        let pt = *params.first().context("a codec was agreed on")?;
        let mut api = self.rtc.direct_api();
        let stream = api
            .stream_tx_by_mid(self.mid, None)
            .context("it may send")?;
        let time = u32::try_from((self.next / PACKETS_A_FRAME * 3_000) & 0xffff_ffff)?;
        let rtp = RtpWrite::new(pt, (1_000 + self.next).into(), time, now, payload)
            .marker(nth == PACKETS_A_FRAME - 1)
            .nackable(true);
        stream.write_rtp(rtp);
        self.next += 1;
        self.shared.sent.fetch_add(1, Relaxed);
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        loop {
            match self.rtc.poll_output()? {
                Output::Timeout(at) => {
                    self.deadline = at;
                    return Ok(());
                }
                Output::Transmit(transmit) => {
                    self.wire.send(&transmit.contents, transmit.destination);
                }
                Output::Event(event) => self.event(event),
            }
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Connected => self.connected = true,
            Event::KeyframeRequest(request) => {
                self.wants_key |= request.kind == KeyframeRequestKind::Pli;
            }
            Event::RtpPacket(packet) => self.came(&packet),
            _ => {}
        }
    }

    fn came(&mut self, packet: &RtpPacket) {
        let payload = &packet.payload;
        self.saw_keyframe |= payload.len() > 10 && payload[0] & 0x10 != 0 && payload[1] & 1 == 0;
        let Some(Ok(at)) = payload.get(2..10).map(<[u8; 8]>::try_from) else {
            return;
        };
        let sent = self.shared.start + Duration::from_nanos(u64::from_be_bytes(at));
        let after = Instant::now().saturating_duration_since(sent);
        if let Ok(mut delays) = self.shared.delays_ms.lock() {
            delays.push(crate::samples::ms(after));
        }
    }
}
