//! A WebRTC client that shares no code with what it tests: str0m in its frame mode, as a browser
//! would be, on a socket of its own.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use str0m::{
    Candidate, Event, Input, Output, Rtc,
    change::{SdpAnswer, SdpPendingOffer},
    format::Codec,
    media::{Direction, Frequency, MediaKind, MediaTime, Mid},
    net::{Protocol, Receive},
};
use tokio::{
    net::UdpSocket,
    time::{sleep_until, timeout},
};

const FRAME: Duration = Duration::from_millis(33);

pub(crate) struct Peer {
    pub(crate) rtc: Rtc,
    socket: UdpSocket,
    addr: SocketAddr,
    pending: Option<SdpPendingOffer>,
    camera: Option<Mid>,
    wants_key: bool,
    started: Instant,
    next_frame: Instant,
    pub(crate) sent: u32,
    pub(crate) connected: bool,
    pub(crate) got: Vec<u32>,
    /// When a datagram came last.
    pub(crate) heard: Instant,
}

impl Peer {
    /// A peer, and its offer: one line of video, and one of audio.
    pub(crate) async fn offering(publishes: bool) -> (Self, String) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let addr = socket.local_addr().expect("an address");
        let now = Instant::now();
        let mut rtc = Rtc::builder()
            .clear_codecs()
            .enable_vp8(true)
            .enable_opus(true, false)
            .build(now);
        rtc.add_local_candidate(Candidate::host(addr, "udp").expect("a candidate"));
        let way = if publishes {
            Direction::SendOnly
        } else {
            Direction::RecvOnly
        };
        let mut changes = rtc.sdp_api();
        let mid = changes.add_media(MediaKind::Video, way, None, None, None);
        changes.add_media(MediaKind::Audio, way, None, None, None);
        let (offer, pending) = changes.apply().expect("changes");
        let peer = Self {
            rtc,
            socket,
            addr,
            pending: Some(pending),
            camera: publishes.then_some(mid),
            wants_key: true,
            started: now,
            next_frame: now,
            sent: 0,
            connected: false,
            got: Vec::new(),
            heard: now,
        };
        (peer, offer.to_sdp_string())
    }

    pub(crate) fn answered(&mut self, sdp: &str) {
        let answer = SdpAnswer::from_sdp_string(sdp).expect("an answer");
        let pending = self.pending.take().expect("an offer");
        self.rtc
            .sdp_api()
            .accept_answer(pending, answer)
            .expect("accepted");
    }

    /// An offer that restarts ICE.
    pub(crate) fn restart(&mut self) -> String {
        let mut changes = self.rtc.sdp_api();
        changes.ice_restart(true);
        let (offer, pending) = changes.apply().expect("changes");
        self.pending = Some(pending);
        offer.to_sdp_string()
    }

    /// Goes on until that holds; whether it did in time.
    pub(crate) async fn until(
        &mut self,
        within: Duration,
        mut holds: impl FnMut(&Self) -> bool,
    ) -> bool {
        let end = Instant::now() + within;
        let mut buffer = vec![0; 2_048];
        loop {
            let wakes = self.drain().await;
            if holds(self) {
                return true;
            }
            let now = Instant::now();
            if now >= end || !self.rtc.is_alive() {
                return false;
            }
            let wakes = wakes.min(self.next_frame).min(end);
            tokio::select! {
                got = self.socket.recv_from(&mut buffer) => {
                    if let Ok((bytes, from)) = got {
                        self.receive(from, &buffer[..bytes]);
                    }
                }
                () = sleep_until(wakes.into()) => {
                    let now = Instant::now();
                    self.rtc.handle_input(Input::Timeout(now)).expect("time");
                    self.shoot(now);
                }
            }
        }
    }

    /// Nothing comes any more: whether that is so within the time.
    pub(crate) async fn falls_silent(&mut self, within: Duration) -> bool {
        self.until(within, |peer| {
            peer.heard.elapsed() > Duration::from_millis(700)
        })
        .await
            || !self.rtc.is_alive()
    }

    fn receive(&mut self, from: SocketAddr, bytes: &[u8]) {
        self.heard = Instant::now();
        let Ok(contents) = bytes.try_into() else {
            return;
        };
        let received = Receive {
            proto: Protocol::Udp,
            source: from,
            destination: self.addr,
            contents,
        };
        let input = Input::Receive(Instant::now(), received);
        if self.rtc.accepts(&input) {
            self.rtc.handle_input(input).expect("taken");
        }
    }

    fn shoot(&mut self, now: Instant) {
        if now < self.next_frame {
            return;
        }
        self.next_frame = now + FRAME;
        let Some(mid) = self.camera.filter(|_| self.connected) else {
            return;
        };
        let is_key = std::mem::take(&mut self.wants_key);
        let millis = u64::try_from(now.duration_since(self.started).as_millis()).expect("short");
        let time = MediaTime::new(millis * 90, Frequency::NINETY_KHZ);
        // A frame tag (RFC 6386 §9.1), then the number, then ballast.
        let mut frame = vec![u8::from(!is_key), 0, 0];
        frame.extend(self.sent.to_be_bytes());
        frame.resize(if is_key { 3_000 } else { 1_500 }, 7);
        let Some(writer) = self.rtc.writer(mid) else {
            return;
        };
        let mut vp8 = writer
            .payload_params()
            .filter(|p| p.spec().codec == Codec::Vp8);
        let Some(pt) = vp8.next().map(|p| p.pt()) else {
            return;
        };
        drop(vp8);
        writer.write(pt, now, time, frame).expect("written");
        self.sent += 1;
    }

    async fn drain(&mut self) -> Instant {
        loop {
            match self.rtc.poll_output().expect("an output") {
                Output::Timeout(at) => return at,
                Output::Transmit(transmit) => {
                    let sent = self
                        .socket
                        .send_to(&transmit.contents, transmit.destination);
                    let _ = timeout(Duration::from_secs(1), sent).await;
                }
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(Event::KeyframeRequest(_)) => self.wants_key = true,
                Output::Event(Event::MediaData(data)) => {
                    let number = data.data.get(3..7).and_then(|b| b.try_into().ok());
                    self.got.extend(number.map(u32::from_be_bytes));
                }
                Output::Event(_) => {}
            }
        }
    }
}
