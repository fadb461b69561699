//! The task of the plane, with real sockets.

use str0m::{
    Candidate, Event, Rtc,
    change::SdpAnswer,
    media::{Direction, MediaKind},
    net::{Protocol as RtcProtocol, Receive, TcpType},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use keel_core::node::media::GroupId;

use super::*;
use crate::media::{Facts, Media, Planes};

#[tokio::test]
async fn a_plane_that_panics_begins_anew_and_every_transport_is_told_m39() {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let certificate = keel_media::Certificate::generate();
    let bound = Bound::bind(&config::Media::default(), 0, listen, certificate).await;
    let (told, mut facts) = Teller::new();
    let mut task = bound.expect("an address").task(told, Meter::new());
    for peer in [PeerId(1), PeerId(2), PeerId(3)] {
        let group = GroupId(1);
        task.order(MediaOrder::Open { peer, group });
    }
    task.order(MediaOrder::Close { peer: PeerId(2) });
    let mut tries = 0;
    task.keep_at(async |task| {
        tries += 1;
        if tries == 1 {
            task.step(|_, _, _| panic!("on purpose"));
        }
    })
    .await;
    assert_eq!(tries, 2, "it goes on");
    for lost in [PeerId(1), PeerId(3)] {
        let told = facts.try_recv();
        assert!(
            matches!(told, Ok(MediaFact::Failed { peer, full: false, .. }) if peer == lost),
            "{told:?}"
        );
    }
    let (peer, group) = (PeerId(4), GroupId(1));
    task.order(MediaOrder::Open { peer, group });
    assert!(facts.try_recv().is_err(), "and it takes others");
}

/// A server that listens there, and an offer of a client that has only TCP.
async fn offered(
    listen: SocketAddr,
    more: &str,
) -> (Orders, Facts, Rtc, TcpStream, CancellationToken) {
    let config: config::Media = toml::from_str(more).expect("it is a configuration");
    let certificate = keel_media::Certificate::generate();
    let bound = Bound::bind(&config, 0, listen, certificate).await;
    let bound = bound.expect("an address");
    let at = *bound.advertised.first().expect("it is told");
    let (closing, tracker) = (CancellationToken::new(), TaskTracker::new());
    let (told, mut facts) = Teller::new();
    let started = bound.start(told, Meter::new(), closing.clone(), &tracker);
    let (mut orders, _) = started.expect("a thread");

    let stream = TcpStream::connect(at).await.expect("it listens");
    let local = stream.local_addr().expect("it is connected");
    let mut rtc = Rtc::new(std::time::Instant::now());
    let active = Candidate::builder().tcp().host(local);
    let active = active
        .tcptype(TcpType::Active)
        .build()
        .expect("a candidate");
    rtc.add_local_candidate(active);
    let mut changes = rtc.sdp_api();
    changes.add_media(MediaKind::Audio, Direction::RecvOnly, None, None, None);
    let (offer, pending) = changes.apply().expect("an offer");
    let (peer, group) = (PeerId(1), GroupId(1));
    orders.give(MediaOrder::Open { peer, group });
    let (sdp, lines) = (offer.to_sdp_string(), Vec::new());
    let signal = keel_core::node::media::Signal::Offer { sdp, lines };
    orders.give(MediaOrder::Signal { peer, signal });
    let told = facts.recv().await;
    let Some(MediaFact::Signal { signal, .. }) = told else {
        panic!("{told:?}")
    };
    let keel_core::node::media::Signal::Answer { sdp, .. } = signal else {
        panic!("{signal:?}")
    };
    assert_eq!(sdp.contains("a=ice-lite"), config.ice_lite, "{sdp}");
    let candidate = format!(
        "tcp 1671430143 {} {} typ host tcptype passive",
        at.ip(),
        at.port()
    );
    let is_told = sdp
        .lines()
        .any(|line| line.starts_with("a=candidate:") && line.contains("tcptype passive"));
    assert!(is_told, "want {candidate}: {sdp}");
    let answer = SdpAnswer::from_sdp_string(&sdp).expect("an answer");
    let accepted = rtc.sdp_api().accept_answer(pending, answer);
    accepted.expect("it is one to the offer");
    (orders, facts, rtc, stream, closing)
}

/// The next whole datagram of what came on a stream (RFC 4571).
fn next_framed(came: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = usize::from(u16::from_be_bytes([*came.first()?, *came.get(1)?]));
    (came.len() >= length + 2).then(|| came.drain(..length + 2).skip(2).collect())
}

/// Tells a client what time it is, and what came to it on a stream between two addresses.
fn hear(rtc: &mut Rtc, came: &mut Vec<u8>, (destination, source): (SocketAddr, SocketAddr)) {
    let now = std::time::Instant::now();
    rtc.handle_input(str0m::Input::Timeout(now))
        .expect("it works");
    while let Some(framed) = next_framed(came) {
        let received = Receive {
            proto: RtcProtocol::Tcp,
            source,
            destination,
            contents: framed.as_slice().try_into().expect("a datagram"),
        };
        let input = str0m::Input::Receive(now, received);
        rtc.handle_input(input).expect("it works");
    }
}

/// Drives a client over its stream until it is connected.
async fn connect(rtc: &mut Rtc, stream: &mut TcpStream) {
    let (local, remote) = (stream.local_addr(), stream.peer_addr());
    let (local, remote) = (local.expect("connected"), remote.expect("connected"));
    let mut came = Vec::new();
    loop {
        let wake = loop {
            match rtc.poll_output().expect("it works") {
                str0m::Output::Timeout(at) => break at,
                str0m::Output::Transmit(sent) => {
                    assert_eq!(sent.proto, RtcProtocol::Tcp);
                    let length = u16::try_from(sent.contents.len()).expect("it is short");
                    let framed = [&length.to_be_bytes(), &sent.contents[..]].concat();
                    stream.write_all(&framed).await.expect("it is open");
                }
                str0m::Output::Event(Event::Connected) => return,
                str0m::Output::Event(_) => {}
            }
        };
        tokio::select! {
            read = stream.read_buf(&mut came) => assert_ne!(read.expect("it is open"), 0, "closed"),
            () = sleep_until(wake.into()) => {}
        }
        hear(rtc, &mut came, (local, remote));
    }
}

async fn connects(more: &str) {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    Box::pin(connects_at(listen, more)).await;
}

async fn connects_at(listen: SocketAddr, more: &str) {
    let (_orders, mut facts, mut rtc, mut stream, closing) = offered(listen, more).await;
    let within = Duration::from_secs(20);
    let connected = connect(&mut rtc, &mut stream);
    tokio::time::timeout(within, connected)
        .await
        .expect("it connects");
    let told = tokio::time::timeout(within, facts.recv()).await;
    let told = told.expect("it is told");
    assert!(
        matches!(told, Some(MediaFact::Connected { .. })),
        "{told:?}"
    );
    // A connection that ends is a way that is gone.
    drop(stream);
    let told = tokio::time::timeout(within, facts.recv()).await;
    let told = told.expect("it is told");
    let is_gone = matches!(
        told,
        Some(MediaFact::Reachable {
            reachable: false,
            ..
        })
    );
    assert!(is_gone, "{told:?}");
    closing.cancel();
}

/// Drives a client over UDP, on this thread and without letting anything else run on it.
fn connect_held_up(rtc: &mut Rtc, socket: &std::net::UdpSocket) {
    let local = socket.local_addr().expect("it is bound");
    let until = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        match rtc.poll_output().expect("it works") {
            str0m::Output::Transmit(sent) if sent.proto == RtcProtocol::Udp => {
                let sent = socket.send_to(&sent.contents, sent.destination);
                sent.expect("it is sent");
                continue;
            }
            str0m::Output::Event(Event::Connected) => return,
            str0m::Output::Transmit(_) | str0m::Output::Event(_) => continue,
            str0m::Output::Timeout(at) => {
                let wait = at.saturating_duration_since(std::time::Instant::now());
                let wait = wait.clamp(Duration::from_millis(1), Duration::from_millis(50));
                socket.set_read_timeout(Some(wait)).expect("it is a span");
            }
        }
        let mut bytes = [0; 2_048];
        let came = socket.recv_from(&mut bytes);
        let now = std::time::Instant::now();
        assert!(now < until, "nobody answers");
        let input = match came {
            Ok((length, source)) => str0m::Input::Receive(
                now,
                Receive {
                    proto: RtcProtocol::Udp,
                    source,
                    destination: local,
                    contents: bytes[..length].try_into().expect("a datagram"),
                },
            ),
            Err(_) => str0m::Input::Timeout(now),
        };
        rtc.handle_input(input).expect("it works");
    }
}

/// Drives a client over TCP likewise.
fn connect_held_up_by_tcp(rtc: &mut Rtc, stream: TcpStream) {
    use std::io::{Read as _, Write as _};
    let mut stream = stream.into_std().expect("it is open");
    stream.set_nonblocking(false).expect("it is a stream");
    let (local, remote) = (stream.local_addr(), stream.peer_addr());
    let (local, remote) = (local.expect("connected"), remote.expect("connected"));
    let until = std::time::Instant::now() + Duration::from_secs(20);
    let mut came = Vec::new();
    loop {
        match rtc.poll_output().expect("it works") {
            str0m::Output::Transmit(sent) => {
                let length = u16::try_from(sent.contents.len()).expect("it is short");
                let framed = [&length.to_be_bytes(), &sent.contents[..]].concat();
                stream.write_all(&framed).expect("it is open");
                continue;
            }
            str0m::Output::Event(Event::Connected) => return,
            str0m::Output::Event(_) => continue,
            str0m::Output::Timeout(at) => {
                let wait = at.saturating_duration_since(std::time::Instant::now());
                let wait = wait.clamp(Duration::from_millis(1), Duration::from_millis(50));
                stream.set_read_timeout(Some(wait)).expect("it is a span");
            }
        }
        let mut bytes = [0; 2_048];
        let read = stream.read(&mut bytes).unwrap_or(0);
        came.extend_from_slice(&bytes[..read]);
        assert!(std::time::Instant::now() < until, "nobody answers");
        hear(rtc, &mut came, (local, remote));
    }
}

#[tokio::test]
async fn media_over_tcp_waits_for_nothing_that_sessions_do() {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let (_orders, _facts, mut rtc, stream, closing) = offered(listen, "").await;
    connect_held_up_by_tcp(&mut rtc, stream);
    closing.cancel();
}

#[tokio::test]
async fn packets_wait_for_nothing_that_sessions_do() {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let (_orders, _facts, mut rtc, _stream, closing) = offered(listen, "").await;
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("an address");
    let local = socket.local_addr().expect("it is bound");
    let own = Candidate::host(local, "udp").expect("a candidate");
    rtc.add_local_candidate(own);
    connect_held_up(&mut rtc, &socket);
    closing.cancel();
}

/// What a plane answers to an offer of sound on a transport of a session of its own, and who made it.
async fn answered(planes: &mut Planes, facts: &mut Facts, nth: u64) -> (Rtc, String) {
    let mut rtc = Rtc::new(std::time::Instant::now());
    let mut changes = rtc.sdp_api();
    changes.add_media(MediaKind::Audio, Direction::RecvOnly, None, None, None);
    let (offer, pending) = changes.apply().expect("an offer");
    let (peer, group) = (PeerId(nth), GroupId(nth));
    planes.give(MediaOrder::Open { peer, group });
    let (sdp, lines) = (offer.to_sdp_string(), Vec::new());
    let signal = keel_core::node::media::Signal::Offer { sdp, lines };
    planes.give(MediaOrder::Signal { peer, signal });
    let told = facts.recv().await;
    let Some(MediaFact::Signal {
        signal: keel_core::node::media::Signal::Answer { sdp, .. },
        ..
    }) = told
    else {
        panic!("{told:?}")
    };
    let answer = SdpAnswer::from_sdp_string(&sdp).expect("an answer");
    let accepted = rtc.sdp_api().accept_answer(pending, answer);
    accepted.expect("it is one to the offer");
    (rtc, sdp)
}

#[tokio::test]
async fn sessions_are_on_planes_beside_each_other_with_a_port_each() {
    let config: config::Media = toml::from_str("threads = 2").expect("it is one");
    let certificate = keel_media::Certificate::generate();
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let media = Media::bind(&config, listen, certificate).await;
    let (closing, tracker) = (CancellationToken::new(), TaskTracker::new());
    let media = media.expect("two addresses");
    let started = media.start(&Meter::new(), &closing, &tracker);
    let (mut planes, mut facts, _) = started.expect("two threads");
    let mut ports = BTreeSet::new();
    for nth in [1, 2] {
        let (mut rtc, sdp) = answered(&mut planes, &mut facts, nth).await;
        let candidates = sdp.lines().filter(|line| line.contains(" udp "));
        let port = candidates.filter_map(|line| line.split(' ').nth(5)).next();
        ports.insert(port.expect("it is told").to_owned());
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("an address");
        let local = socket.local_addr().expect("it is bound");
        let own = Candidate::host(local, "udp").expect("a candidate");
        rtc.add_local_candidate(own);
        connect_held_up(&mut rtc, &socket);
        let told = facts.recv().await;
        assert!(
            matches!(told, Some(MediaFact::Connected { peer, .. }) if peer == PeerId(nth)),
            "{told:?}"
        );
    }
    assert_eq!(ports.len(), 2, "{ports:?}");
    closing.cancel();
    tracker.close();
    tracker.wait().await;
}

#[tokio::test]
async fn a_client_without_udp_connects_by_tcp_at_the_same_port_v01() {
    connects("").await;
}

#[tokio::test]
async fn an_ice_lite_server_is_connected_to_by_its_client() {
    connects("ice_lite = true").await;
}

/// The system names a client of IPv4 by an address of IPv6 where it is listened for both.
#[tokio::test]
async fn who_listens_for_both_families_is_reached_by_ipv4() {
    let both = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 0));
    Box::pin(connects_at(both, "advertise = ['127.0.0.1', '::1']")).await;
}

/// "Every address" is none that a client could be told.
#[tokio::test]
async fn who_listens_on_every_address_and_names_none_is_reached_by_its_own() {
    for every in [
        SocketAddr::from(([0, 0, 0, 0], 0)),
        SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 0)),
    ] {
        Box::pin(connects_at(every, "")).await;
    }
}

#[tokio::test]
async fn without_tcp_nothing_listens_there() {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let config: config::Media = toml::from_str("tcp = false").expect("it is one");
    let certificate = keel_media::Certificate::generate();
    let media = Bound::bind(&config, 0, listen, certificate).await;
    let media = media.expect("an address");
    assert!(media.listener.is_none());
    assert!(
        media
            .config
            .addresses
            .iter()
            .all(|a| a.protocol == Protocol::Udp)
    );
}
