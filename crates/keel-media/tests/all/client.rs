//! A client that shares no code with what it tests: str0m in its frame mode, as a browser would be.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use keel_media::{Line, Signal, TrackId};
use str0m::{
    Candidate, Event, Input, Output, Rtc,
    change::{SdpAnswer, SdpOffer, SdpPendingOffer},
    channel::ChannelId,
    format::{Codec, CodecExtra},
    media::{Direction, Frequency, MediaKind, MediaTime, Mid, Rid, Simulcast, SimulcastLayer},
    net::{Protocol, Receive, TcpType},
};

/// Between two frames of a camera.
pub(crate) const FRAME: Duration = Duration::from_millis(33);

/// The layers of a simulcast camera, smallest first: their rids, and the bytes of a frame.
pub(crate) const LAYERS: [(&str, usize); 3] = [("q", 600), ("h", 2_000), ("f", 6_500)];

/// A frame that a client got.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) at: Instant,
    pub(crate) number: u32,
    pub(crate) is_key: bool,
    pub(crate) layer: u8,
    /// Nothing is missing before it.
    pub(crate) contiguous: bool,
}

/// A camera that draws a number into each frame.
#[derive(Debug)]
pub(crate) struct Camera {
    pub(crate) mid: Mid,
    pub(crate) next: u32,
    due: Instant,
    started: Instant,
    /// The layers of which a keyframe is wanted.
    wants_key: Vec<u8>,
    /// Sends [`LAYERS`].
    simulcast: bool,
    /// Of a frame, without layers.
    pub(crate) bytes: usize,
    /// Nothing is sent while it is set.
    pub(crate) stopped: bool,
    pub(crate) keyframes: u32,
}

/// A microphone that says how loud it is.
#[derive(Debug)]
pub(crate) struct Microphone {
    mid: Mid,
    due: Instant,
    sent: u64,
    /// In -dBov.
    pub(crate) level: i8,
}

pub(crate) struct Client {
    pub(crate) rtc: Rtc,
    pub(crate) microphone: Option<Microphone>,
    pub(crate) addr: SocketAddr,
    pub(crate) tcp: bool,
    pending: Option<SdpPendingOffer>,
    pub(crate) cameras: Vec<Camera>,
    /// What came on each line.
    pub(crate) got: BTreeMap<Mid, Vec<Got>>,
    /// What the server says is on each line.
    pub(crate) lines: BTreeMap<String, TrackId>,
    pub(crate) connected_at: Option<Instant>,
    pub(crate) deadline: Instant,
    pub(crate) said: Vec<Signal>,
    /// Offers of the server's.
    pub(crate) offers_heard: u32,
    /// Takes nothing on any line.
    pub(crate) declines: bool,
    /// So many offers are answered with what nobody can accept.
    pub(crate) nonsense: u32,
    /// So many answers are lost on their way.
    pub(crate) loses: u32,
    /// Says nothing of when packets come (transport-wide congestion control).
    pub(crate) is_plain: bool,
}

impl Client {
    pub(crate) fn new(addr: SocketAddr, now: Instant) -> Self {
        let mut rtc = Rtc::builder()
            .clear_codecs()
            .enable_vp8(true)
            .enable_opus(true, false)
            .build(now);
        rtc.add_local_candidate(Candidate::host(addr, "udp").unwrap());
        Self::of(rtc, addr, false, now)
    }

    /// One that connects by TCP, and has nothing else (RFC 6544).
    pub(crate) fn over_tcp(addr: SocketAddr, now: Instant) -> Self {
        let mut rtc = Rtc::builder().clear_codecs().enable_vp8(true).build(now);
        let active = Candidate::builder()
            .tcp()
            .host(addr)
            .tcptype(TcpType::Active);
        rtc.add_local_candidate(active.build().unwrap());
        Self::of(rtc, addr, true, now)
    }

    fn of(rtc: Rtc, addr: SocketAddr, tcp: bool, now: Instant) -> Self {
        Self {
            tcp,
            rtc,
            microphone: None,
            addr,
            pending: None,
            cameras: Vec::new(),
            got: BTreeMap::new(),
            lines: BTreeMap::new(),
            connected_at: None,
            deadline: now,
            said: Vec::new(),
            offers_heard: 0,
            declines: false,
            nonsense: 0,
            loses: 0,
            is_plain: false,
        }
    }

    /// Offers cameras, and lines to receive on; the cameras' mids, in order.
    pub(crate) fn offer(&mut self, now: Instant, cameras: &[TrackId], receives: usize) {
        self.offer_of(now, cameras, receives, false);
    }

    /// The same, of cameras that send [`LAYERS`].
    pub(crate) fn offer_of(
        &mut self,
        now: Instant,
        cameras: &[TrackId],
        receives: usize,
        simulcast: bool,
    ) {
        let mut changes = self.rtc.sdp_api();
        let mut named = Vec::new();
        for track in cameras {
            let layers = simulcast.then(|| {
                let mut layers = Simulcast::new();
                for (rid, _) in LAYERS {
                    layers.add_send_layer(SimulcastLayer::new(rid));
                }
                layers
            });
            let mid = changes.add_media(MediaKind::Video, Direction::SendOnly, None, None, layers);
            named.push(Line {
                mid: mid.to_string(),
                track: *track,
            });
            self.cameras.push(Camera {
                mid,
                next: 0,
                due: now,
                started: now,
                wants_key: vec![0, 1, 2],
                simulcast,
                bytes: 2_500,
                stopped: false,
                keyframes: 0,
            });
        }
        for _ in 0..receives {
            changes.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        }
        let (offer, pending) = changes.apply().unwrap();
        self.pending = Some(pending);
        let mut sdp = offer.to_sdp_string();
        if self.is_plain {
            let lines = sdp.split_inclusive("\r\n");
            sdp = lines.filter(|line| !line.contains("transport-")).collect();
        }
        self.said.push(Signal::Offer { sdp, lines: named });
        self.deadline = now;
    }

    /// Offers a microphone, which hears nothing yet.
    pub(crate) fn offer_microphone(&mut self, now: Instant, track: TrackId) {
        let mut changes = self.rtc.sdp_api();
        let mid = changes.add_media(MediaKind::Audio, Direction::SendOnly, None, None, None);
        let (offer, pending) = changes.apply().unwrap();
        self.pending = Some(pending);
        let lines = vec![Line {
            mid: mid.to_string(),
            track,
        }];
        let sdp = offer.to_sdp_string();
        self.said.push(Signal::Offer { sdp, lines });
        self.microphone = Some(Microphone {
            mid,
            due: now,
            sent: 0,
            level: -127,
        });
        self.deadline = now;
    }

    /// Offers a restart of ICE; its cameras are these tracks.
    pub(crate) fn restart(&mut self, now: Instant, cameras: &[TrackId]) {
        let mut changes = self.rtc.sdp_api();
        changes.ice_restart(true);
        let (offer, pending) = changes.apply().unwrap();
        self.pending = Some(pending);
        let named = self
            .cameras
            .iter()
            .zip(cameras)
            .map(|(camera, track)| Line {
                mid: camera.mid.to_string(),
                track: *track,
            });
        let lines = named.collect();
        let sdp = offer.to_sdp_string();
        self.said.push(Signal::Offer { sdp, lines });
        self.deadline = now;
    }

    /// Offers a data channel.
    /// Offers that what comes on its lines goes another way, as `transceiver.direction` does.
    pub(crate) fn turn(&mut self, now: Instant, direction: Direction) {
        let mids: Vec<Mid> = self.got.keys().copied().collect();
        let mut changes = self.rtc.sdp_api();
        for mid in mids {
            changes.set_direction(mid, direction);
        }
        let (offer, pending) = changes.apply().unwrap();
        self.pending = Some(pending);
        let (sdp, lines) = (offer.to_sdp_string(), Vec::new());
        self.said.push(Signal::Offer { sdp, lines });
        self.deadline = now;
    }

    pub(crate) fn open_channel(&mut self, now: Instant) -> ChannelId {
        let mut changes = self.rtc.sdp_api();
        let channel = changes.add_channel("flood".to_owned());
        let (offer, pending) = changes.apply().unwrap();
        self.pending = Some(pending);
        let (sdp, lines) = (offer.to_sdp_string(), Vec::new());
        self.said.push(Signal::Offer { sdp, lines });
        self.deadline = now;
        channel
    }

    /// What the server says.
    pub(crate) fn hear(&mut self, now: Instant, signal: Signal) {
        match signal {
            Signal::Offer { sdp, lines } => {
                self.offers_heard += 1;
                self.pending = None;
                self.name(lines);
                let offer = SdpOffer::from_sdp_string(&sdp).unwrap();
                let answer = self.rtc.sdp_api().accept_offer(offer).unwrap();
                let mut sdp = answer.to_sdp_string();
                if self.declines {
                    sdp = sdp.replace("a=recvonly", "a=inactive");
                }
                if self.nonsense > 0 {
                    self.nonsense -= 1;
                    // Lines that nobody offered.
                    let last = sdp.rfind("m=").unwrap();
                    sdp = format!("{sdp}{}", &sdp[last..].replace("a=mid:", "a=mid:x"));
                }
                let lines = Vec::new();
                match self.loses.checked_sub(1) {
                    Some(left) => self.loses = left,
                    None => self.said.push(Signal::Answer { sdp, lines }),
                }
            }
            Signal::Answer { sdp, lines } => {
                self.name(lines);
                let answer = SdpAnswer::from_sdp_string(&sdp).unwrap();
                let pending = self.pending.take().expect("an answer to an offer");
                self.rtc.sdp_api().accept_answer(pending, answer).unwrap();
            }
            Signal::Lines { lines } => self.name(lines),
            Signal::Candidate { .. } => {}
        }
        self.deadline = now;
    }

    fn name(&mut self, lines: Vec<Line>) {
        self.lines = lines
            .into_iter()
            .map(|line| (line.mid, line.track))
            .collect();
    }

    /// What came of a track.
    pub(crate) fn frames(&self, track: TrackId) -> &[Got] {
        let mid = self.lines.iter().find(|(_, of)| **of == track);
        let got = mid.and_then(|(mid, _)| self.got.get(&Mid::from(mid.as_str())));
        got.map_or(&[], Vec::as_slice)
    }

    pub(crate) fn receive(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        let Ok(contents) = bytes.try_into() else {
            return;
        };
        let received = Receive {
            proto: if self.tcp {
                Protocol::Tcp
            } else {
                Protocol::Udp
            },
            source: from,
            destination: self.addr,
            contents,
        };
        let input = Input::Receive(now, received);
        if self.rtc.accepts(&input) {
            self.rtc.handle_input(input).unwrap();
        }
        self.deadline = now;
    }

    /// Sends what is due and takes everything out; what it sends.
    pub(crate) fn drive(&mut self, now: Instant) -> Vec<(SocketAddr, Vec<u8>)> {
        if self.rtc.is_alive() {
            self.rtc.handle_input(Input::Timeout(now)).unwrap();
        }
        let mut sent = Vec::new();
        self.drain(now, &mut sent);
        for nth in 0..self.cameras.len() {
            while self.cameras[nth].due <= now {
                self.shoot(nth, now);
                self.drain(now, &mut sent);
            }
        }
        while self.microphone.as_ref().is_some_and(|mic| mic.due <= now) {
            self.talk(now);
            self.drain(now, &mut sent);
        }
        sent
    }

    /// One packet of sound.
    fn talk(&mut self, now: Instant) {
        let mic = self.microphone.as_mut().unwrap();
        mic.due += Duration::from_millis(20);
        mic.sent += 1;
        let (mid, level) = (mic.mid, mic.level);
        let time = MediaTime::new(mic.sent * 960, Frequency::FORTY_EIGHT_KHZ);
        if self.connected_at.is_none() {
            return;
        }
        let Some(writer) = self.rtc.writer(mid) else {
            return;
        };
        let Some(pt) = writer.payload_params().next().map(|p| p.pt()) else {
            return;
        };
        let writer = writer.audio_level(level, true);
        writer.write(pt, now, time, vec![7; 80]).unwrap();
    }

    pub(crate) fn wakes_at(&self) -> Instant {
        let cameras = self.cameras.iter().map(|camera| camera.due);
        let microphone = self.microphone.iter().map(|mic| mic.due);
        let cameras = cameras.chain(microphone);
        cameras.fold(self.deadline, Instant::min)
    }

    fn shoot(&mut self, nth: usize, now: Instant) {
        let camera = &mut self.cameras[nth];
        let due = camera.due;
        camera.due += FRAME;
        if camera.stopped || self.connected_at.is_none() {
            return;
        }
        let number = camera.next;
        camera.next += 1;
        let time = MediaTime::new(
            u64::try_from((due - camera.started).as_millis()).unwrap() * 90,
            Frequency::NINETY_KHZ,
        );
        let layers: Vec<(Option<Rid>, usize)> = if camera.simulcast {
            let layers = LAYERS.into_iter();
            layers
                .map(|(rid, bytes)| (Some(rid.into()), bytes))
                .collect()
        } else {
            vec![(None, camera.bytes)]
        };
        let mid = camera.mid;
        let wanted = std::mem::take(&mut camera.wants_key);
        for (layer, (rid, bytes)) in layers.into_iter().enumerate() {
            let layer = u8::try_from(layer).unwrap();
            let is_key = wanted.contains(&layer);
            self.cameras[nth].keyframes += u32::from(is_key);
            // A frame tag (RFC 6386 §9.1), the number, the layer, then ballast for several packets.
            let mut frame = vec![u8::from(!is_key), 0, 0];
            frame.extend(number.to_be_bytes());
            frame.push(layer);
            frame.resize(if is_key { bytes + 3_500 } else { bytes }, 7);
            self.write(mid, rid, now, time, frame);
        }
    }

    fn write(&mut self, mid: Mid, rid: Option<Rid>, now: Instant, time: MediaTime, frame: Vec<u8>) {
        let Some(writer) = self.rtc.writer(mid) else {
            return;
        };
        let vp8 = |p: &&str0m::format::PayloadParams| p.spec().codec == Codec::Vp8;
        let Some(pt) = writer.payload_params().find(vp8).map(|p| p.pt()) else {
            return;
        };
        let writer = match rid {
            Some(rid) => writer.rid(rid),
            None => writer,
        };
        writer.write(pt, now, time, frame).unwrap();
    }

    fn drain(&mut self, now: Instant, sent: &mut Vec<(SocketAddr, Vec<u8>)>) {
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(at) => {
                    self.deadline = at;
                    return;
                }
                Output::Transmit(transmit) => {
                    sent.push((transmit.destination, transmit.contents.to_vec()));
                }
                Output::Event(event) => self.event(now, event),
            }
        }
    }

    fn event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Connected => self.connected_at = Some(now),
            Event::KeyframeRequest(request) => {
                let mut rids = LAYERS.iter().map(|(rid, _)| Rid::from(*rid));
                let layer = request.rid.and_then(|rid| rids.position(|of| of == rid));
                let layer = u8::try_from(layer.unwrap_or(0)).unwrap();
                let mut cameras = self.cameras.iter_mut();
                if let Some(camera) = cameras.find(|camera| camera.mid == request.mid) {
                    camera.wants_key.push(layer);
                }
            }
            Event::MediaData(data) => {
                let is_key = matches!(data.codec_extra, CodecExtra::Vp8(vp8) if vp8.is_keyframe);
                let got = Got {
                    at: now,
                    number: u32::from_be_bytes(data.data[3..7].try_into().unwrap()),
                    is_key,
                    layer: data.data[7],
                    contiguous: data.contiguous,
                };
                self.got.entry(data.mid).or_default().push(got);
            }
            _ => {}
        }
    }
}
