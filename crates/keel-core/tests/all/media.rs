//! Who publishes, who is sent what, and what is done about silence.

use std::time::Duration;

use keel_core::{
    limits,
    node::{
        Backend, ConnId, HandOut, IceClient, IceServers, Input, MediaFact, MediaOrder, MediaRule,
        media::{Line, PeerId, Signal, StreamId},
    },
};
use keel_wire::{
    Ack, Code, Detach, FaultCode, IceServer, Leg, LegState, MediaLine, MuteTrack, OfferFrame,
    PublishTrack, ReceiptBody, RefreshFrame, Role, ServerFrame, State, TrackKind, UnixMillis,
    Welcome, journal::Fact,
};

use crate::world::{Tab, World, seq};

pub(crate) fn world(rule: Option<MediaRule>) -> World {
    World::with(|config| {
        let backend = Backend {
            media: rule,
            ..Backend::default()
        };
        config.backends.insert("echo".into(), backend);
    })
}

pub(crate) fn publish(world: &mut World, conn: ConnId, n: u64) {
    let track = "camera".parse().unwrap();
    let kind = TrackKind::Video;
    world.command(conn, n, PublishTrack { track, kind });
}

pub(crate) fn offer(world: &mut World, conn: ConnId, peer: u32, tracks: &[&str]) {
    let lines = tracks.iter().zip(0..).map(|(track, mid)| MediaLine {
        mid: i32::to_string(&mid),
        participant: None,
        track: track.parse().unwrap(),
    });
    let lines = lines.collect();
    let sdp = "v=0".to_owned();
    let settled = false;
    let frame = OfferFrame {
        peer,
        sdp,
        lines,
        settled,
    };
    world.send(conn, frame);
}

pub(crate) fn told(world: &mut World, fact: MediaFact) {
    world.input(Input::Media(fact));
}

/// The last transport that was opened, and the stream that was offered on it.
pub(crate) fn opened(world: &World) -> (PeerId, Option<StreamId>) {
    let mut orders = world.orders.iter().rev();
    let opened = orders.find_map(|order| match order {
        MediaOrder::Open { peer, .. } => Some(*peer),
        _ => None,
    });
    let mut orders = world.orders.iter().rev();
    let stream = orders.find_map(|order| match order {
        MediaOrder::Signal {
            peer,
            signal: Signal::Offer { lines, .. },
        } if Some(*peer) == opened => lines.first().map(|line| line.stream),
        _ => None,
    });
    (opened.unwrap(), stream)
}

/// Says something, as whoever is watched closely does.
fn acknowledge(world: &mut World, conn: ConnId) {
    world.send(conn, Ack { seq: seq(1) });
}

pub(crate) fn sends(peer: PeerId, stream: StreamId) -> MediaOrder {
    let max = None;
    MediaOrder::Subscribe { peer, stream, max }
}

pub(crate) fn count(world: &World, wanted: &MediaOrder) -> usize {
    world.orders.iter().filter(|order| *order == wanted).count()
}

/// An owner whose camera flows.
pub(crate) fn publisher(world: &mut World) -> (ConnId, Welcome, PeerId, StreamId) {
    let conn = world.connect(&Tab::new(1));
    let welcome = world.welcome(conn);
    publish(world, conn, 1);
    offer(world, conn, 1, &["camera"]);
    let (peer, stream) = opened(world);
    let stream = stream.unwrap();
    told(world, MediaFact::Connected { peer, after_ms: 80 });
    let kind = TrackKind::Video;
    told(world, MediaFact::Published { stream, kind });
    (conn, welcome, peer, stream)
}

pub(crate) fn viewer(world: &mut World, n: u128, welcome: &Welcome) -> (ConnId, PeerId) {
    let tab = Tab::new(n).of(&welcome.session).role(Role::Viewer);
    let conn = world.connect(&tab);
    world.welcome(conn);
    offer(world, conn, 1, &[]);
    (conn, opened(world).0)
}

/// Time passes for a client that answers beats.
fn live(world: &mut World, conn: ConnId, s: u64) {
    for _ in 0..s {
        world.pass(Duration::from_secs(1));
        let ack = Ack { seq: seq(0) };
        world.send(conn, ack);
    }
}

fn stalls(stream: StreamId, flows: bool) -> MediaFact {
    MediaFact::Flow {
        stream,
        flows,
        gap_ms: 0,
    }
}

fn media_leg(world: &World, conn: ConnId) -> Option<(State, LegState)> {
    let frames = world.lines[&conn].frames.iter().rev();
    let mut statuses = frames.filter_map(|frame| match frame {
        ServerFrame::Status(told) => Some(&told.status),
        _ => None,
    });
    let status = statuses.next()?;
    let mut legs = status.legs.iter();
    let leg = legs.find(|leg| leg.leg == Leg::Media)?;
    Some((status.state.clone(), leg.state.clone()))
}

#[test]
fn a_camera_is_sent_back_and_to_viewers_where_that_is_the_rule() {
    let mut world = world(Some(MediaRule::Passthrough));
    let (_, welcome, peer, stream) = publisher(&mut world);
    assert_eq!(count(&world, &sends(peer, stream)), 1);
    // Who comes later is sent what is there.
    let (_, peer) = viewer(&mut world, 2, &welcome);
    assert_eq!(count(&world, &sends(peer, stream)), 1);
}

#[test]
fn in_a_room_everybody_is_sent_everybody_elses() {
    let mut world = world(Some(MediaRule::Room));
    let (_, welcome, peer, stream) = publisher(&mut world);
    assert_eq!(count(&world, &sends(peer, stream)), 0);
    let (_, other) = viewer(&mut world, 2, &welcome);
    assert_eq!(count(&world, &sends(other, stream)), 1);
}

#[test]
fn who_may_not_publish_does_not() {
    let mut media = world(Some(MediaRule::Room));
    let (_, welcome, ..) = publisher(&mut media);
    let (conn, _) = viewer(&mut media, 2, &welcome);
    publish(&mut media, conn, 1);
    let ReceiptBody::Fault(fault) = &media.receipts(conn)[0].body else {
        panic!("a viewer looks")
    };
    assert_eq!(fault.code, Code::PermissionDenied);
    offer(&mut media, conn, 1, &["camera"]);
    assert_eq!(media.faults(conn)[0].code, Code::MediaRefused);

    let mut text = world(None);
    let conn = text.connect(&Tab::new(1));
    publish(&mut text, conn, 1);
    offer(&mut text, conn, 1, &[]);
    assert_eq!(text.faults(conn)[0].code, Code::MediaRefused);
    assert!(text.orders.is_empty());
}

#[test]
fn answers_go_to_whom_they_are_meant_for_and_name_tracks() {
    let mut world = world(Some(MediaRule::Passthrough));
    let (conn, welcome, peer, stream) = publisher(&mut world);
    let mid = "1".to_owned();
    let lines = vec![Line { mid, stream }];
    let sdp = "v=1".to_owned();
    let signal = Signal::Answer { sdp, lines };
    told(&mut world, MediaFact::Signal { peer, signal });
    let Some(ServerFrame::Answer(answer)) = world.lines[&conn].frames.last() else {
        panic!("no answer")
    };
    assert_eq!((answer.peer, answer.sdp.as_str()), (1, "v=1"));
    assert_eq!(answer.lines[0].participant, Some(welcome.participant));
    assert_eq!(answer.lines[0].track.as_str(), "camera");
}

#[test]
fn media_outlives_a_connection_and_ends_with_its_participant_m37() {
    let mut world = world(Some(MediaRule::Passthrough));
    let (conn, welcome, peer, _) = publisher(&mut world);
    world.reset(conn);
    assert_eq!(count(&world, &MediaOrder::Close { peer }), 0);
    let conn = world.connect(&Tab::new(1).again(&welcome, welcome.cursor.seq.get()));
    assert_eq!(world.welcome(conn).peer, Some(1));
    assert_eq!(count(&world, &MediaOrder::Resume { peer }), 1);
    world.reset(conn);
    world.pass(Duration::from_secs(200));
    assert_eq!(count(&world, &MediaOrder::Close { peer }), 1);
}

#[test]
fn a_new_transport_takes_the_place_of_the_one_before_m20_m35() {
    let mut world = world(Some(MediaRule::Passthrough));
    let (conn, _, old, stream) = publisher(&mut world);
    offer(&mut world, conn, 2, &["camera"]);
    assert_eq!(count(&world, &MediaOrder::Close { peer: old }), 1);
    let (peer, again) = opened(&world);
    assert_ne!((peer, again), (old, Some(stream)));
    // What the old one still says is nobody's.
    let orders = world.orders.len();
    offer(&mut world, conn, 1, &["camera"]);
    told(&mut world, stalls(stream, false));
    assert_eq!(world.orders.len(), orders);
    assert_eq!(media_leg(&world, conn).unwrap().1, LegState::Up);
}

#[test]
fn silence_is_told_at_once_and_restarts_ice_once_v02_v11_m36() {
    let mut world = world(Some(MediaRule::Passthrough));
    let (conn, _, peer, stream) = publisher(&mut world);
    told(&mut world, stalls(stream, false));
    let (state, leg) = media_leg(&world, conn).unwrap();
    assert_eq!(state, State::Degraded);
    let LegState::Degraded { fault } = leg else {
        panic!("{leg:?}")
    };
    assert_eq!(fault.code, Code::MediaStalled);
    assert_eq!(fault.detail["track"], "camera");
    let restart = MediaOrder::Restart { peer };
    assert_eq!(count(&world, &restart), 0, "it may come back by itself");
    world.pass(Duration::from_secs(2));
    assert_eq!(count(&world, &restart), 1);
    acknowledge(&mut world, conn);
    world.pass(Duration::from_secs(1));
    assert_eq!(count(&world, &restart), 1);
    acknowledge(&mut world, conn);
    told(&mut world, stalls(stream, true));
    assert_eq!(
        media_leg(&world, conn).unwrap(),
        (State::Live, LegState::Up)
    );
    told(&mut world, stalls(stream, false));
    world.pass(Duration::from_secs(2));
    assert_eq!(
        count(&world, &restart),
        2,
        "another silence, another restart"
    );
}

/// What the journal says of media: a code for each loss, nothing for each end of one.
fn losses(world: &World) -> Vec<Option<FaultCode>> {
    let facts = world.facts.iter();
    let losses = facts.filter_map(|fact| match fact {
        Fact::MediaLost { fault } => Some(Some(fault.code.clone())),
        Fact::MediaRecovered { .. } => Some(None),
        _ => None,
    });
    losses.collect()
}

#[test]
fn the_journal_is_told_of_each_loss_of_media_once_and_of_its_end_v02_m37() {
    let mut world = world(Some(MediaRule::Passthrough));
    let (conn, _, peer, stream) = publisher(&mut world);
    assert!(losses(&world).is_empty(), "what flows is no news");
    told(&mut world, stalls(stream, false));
    let why = "no datagram came through".to_owned();
    let full = false;
    told(&mut world, MediaFact::Failed { peer, full, why });
    assert_eq!(
        losses(&world),
        [Some(Code::MediaStalled.known())],
        "one loss, however it goes on"
    );
    offer(&mut world, conn, 2, &["camera"]);
    let stream = opened(&world).1.unwrap();
    let kind = TrackKind::Video;
    told(&mut world, MediaFact::Published { stream, kind });
    assert_eq!(losses(&world)[1..], [None]);
    let track = "camera".parse().unwrap();
    world.command(conn, 2, MuteTrack { track, muted: true });
    told(&mut world, stalls(stream, false));
    assert_eq!(losses(&world).len(), 2, "its silence is meant");
}

#[test]
fn packets_that_come_back_keep_ice_as_it_is_m34() {
    let mut world = world(Some(MediaRule::Passthrough));
    let (_, _, peer, stream) = publisher(&mut world);
    told(&mut world, stalls(stream, false));
    world.pass(Duration::from_secs(1));
    told(&mut world, stalls(stream, true));
    world.pass(Duration::from_secs(5));
    assert_eq!(count(&world, &MediaOrder::Restart { peer }), 0);
}

#[test]
fn a_muted_track_is_silent_on_purpose() {
    let mut world = world(Some(MediaRule::Passthrough));
    let (conn, _, peer, stream) = publisher(&mut world);
    let track = "camera".parse().unwrap();
    world.command(conn, 2, MuteTrack { track, muted: true });
    let mute = MediaOrder::Mute {
        peer,
        stream,
        muted: true,
    };
    assert_eq!(count(&world, &mute), 1);
}

#[test]
fn a_transport_that_failed_is_told_and_can_be_made_anew() {
    let mut world = world(Some(MediaRule::Passthrough));
    let (conn, _, peer, _) = publisher(&mut world);
    let why = "no datagram came through".to_owned();
    let full = false;
    told(&mut world, MediaFact::Failed { peer, full, why });
    assert_eq!(world.faults(conn)[0].code, Code::MediaFailed);
    offer(&mut world, conn, 2, &["camera"]);
    assert_ne!(opened(&world).0, peer);
}

#[test]
fn a_full_plane_is_told_as_such() {
    let mut world = world(Some(MediaRule::Passthrough));
    let (conn, _, peer, _) = publisher(&mut world);
    let (full, why) = (true, "there are too many transports".to_owned());
    told(&mut world, MediaFact::Failed { peer, full, why });
    let fault = &world.faults(conn)[0];
    assert_eq!(fault.code, Code::AtCapacity);
    assert_eq!(fault.leg, Some(Leg::Media));
    assert!(matches!(fault.retry, keel_wire::Retry::After { .. }));
}

#[test]
fn silence_ends_with_the_stream_that_was_silent_and_is_none_while_muted_v11() {
    let mut world = world(Some(MediaRule::Passthrough));
    let (conn, _, _, stream) = publisher(&mut world);
    told(&mut world, stalls(stream, false));
    assert_eq!(media_leg(&world, conn).unwrap().0, State::Degraded);
    let kind = TrackKind::Video;
    told(&mut world, MediaFact::Published { stream, kind });
    assert_eq!(media_leg(&world, conn).unwrap().0, State::Live);
    let track = "camera".parse().unwrap();
    world.command(conn, 2, MuteTrack { track, muted: true });
    told(&mut world, stalls(stream, false));
    assert_eq!(media_leg(&world, conn).unwrap().0, State::Live);
}

#[test]
fn a_session_that_is_over_opens_no_transport() {
    let mut world = world(Some(MediaRule::Passthrough));
    let conn = world.connect(&Tab::new(1));
    world.mood = crate::world::StoreMood::Holds;
    world.command(conn, 1, keel_wire::EndSession {});
    offer(&mut world, conn, 1, &[]);
    world.release();
    assert_eq!(world.orders, []);
}

#[test]
fn tracks_are_facts_of_the_log_and_survive_a_restart_s01() {
    let mut world = world(Some(MediaRule::Passthrough));
    let (_, welcome, ..) = publisher(&mut world);
    world.crash();
    let conn = world.connect(&Tab::new(1).again(&welcome, 0));
    assert_eq!(world.welcome(conn).peer, None, "transports are gone");
    let again = world.events(conn);
    let published = again
        .iter()
        .filter(|(_, event)| event.name() == "track.published");
    assert_eq!(published.count(), 1);
    // It is known, so it may be sent without being published again.
    offer(&mut world, conn, 2, &["camera"]);
    assert!(opened(&world).1.is_some());
    assert_eq!(world.welcome(conn).consumed, seq(1));
}

/// A token that narrows takes the right to send along; one that is revoked or expires takes the media.
#[test]
fn a_token_that_is_gone_takes_its_media_along_a09_p12() {
    let mut world = world(Some(MediaRule::Room));
    world.grant.token_id = Some("owners".to_owned());
    let (_, welcome, peer, _) = publisher(&mut world);
    world.grant.token_id = Some("viewers".to_owned());
    let (_, viewer_peer) = viewer(&mut world, 2, &welcome);
    let token_id = "viewers".to_owned();
    world.input(Input::Revoked { token_id });
    let closed = MediaOrder::Close { peer: viewer_peer };
    assert_eq!(count(&world, &closed), 1, "what it is sent ends with it");
    assert_eq!(
        count(&world, &MediaOrder::Close { peer }),
        0,
        "and nobody else's"
    );
    let token_id = "owners".to_owned();
    world.input(Input::Revoked { token_id });
    assert_eq!(count(&world, &MediaOrder::Close { peer }), 1);
}

#[derive(Debug)]
struct Relays;

impl HandOut for Relays {
    fn servers(&self, client: IceClient<'_>, now: UnixMillis) -> IceServers {
        let until = (now + 60_000).min(client.expires);
        let server = IceServer {
            urls: vec!["turn:127.0.0.1:3478".to_owned()],
            username: Some(format!("{until}:{}", client.participant)),
            credential: Some("proof".to_owned()),
        };
        IceServers {
            servers: vec![server],
            until: Some(until),
        }
    }
}

#[test]
fn turn_credentials_are_handed_out_and_refreshed_before_they_expire_a54() {
    let mut world = World::with(|config| {
        let backend = Backend {
            media: Some(MediaRule::Room),
            ..Backend::default()
        };
        config.backends.insert("echo".into(), backend);
        config.ice = Some(std::sync::Arc::new(Relays));
    });
    let conn = world.connect(&Tab::new(1));
    let welcome = world.welcome(conn);
    let until = |server: &IceServer| -> u64 {
        let name = server.username.as_ref().unwrap();
        let (until, of) = name.split_once(':').unwrap();
        assert_eq!(of, welcome.participant.as_str(), "nobody else's");
        until.parse().unwrap()
    };
    let mut last = until(&welcome.ice_servers[0]);
    let refreshed = |world: &World| -> Vec<IceServer> {
        let frames = world.lines[&conn].frames.iter();
        let fresh = frames.filter_map(|frame| match frame {
            ServerFrame::IceServers(fresh) => Some(fresh.ice_servers[0].clone()),
            _ => None,
        });
        fresh.collect()
    };
    for nth in 1..=3 {
        live(&mut world, conn, 50);
        let all = refreshed(&world);
        assert_eq!(all.len(), nth, "one before each end");
        let next = until(&all[nth - 1]);
        assert!(
            next > last + 40_000 && next < last + 60_000,
            "{last} {next}"
        );
        last = next;
    }
    let mut text = World::with(|config| config.ice = Some(std::sync::Arc::new(Relays)));
    let conn = text.connect(&Tab::new(1));
    assert!(
        text.welcome(conn).ice_servers.is_empty(),
        "no media, no relays"
    );
}

#[test]
fn who_takes_no_offers_is_never_restarted_and_ends_after_the_window() {
    let mut world = world(Some(MediaRule::Room));
    let conn = world.connect(&Tab::new(1));
    world.welcome(conn);
    publish(&mut world, conn, 1);
    let line = MediaLine {
        mid: "0".to_owned(),
        participant: None,
        track: "camera".parse().unwrap(),
    };
    let offer = OfferFrame {
        peer: 1,
        sdp: "v=0".to_owned(),
        lines: vec![line],
        settled: true,
    };
    world.send(conn, offer.clone());
    world.send(conn, offer);
    let (peer, stream) = opened(&world);
    let stream = stream.unwrap();
    assert_eq!(count(&world, &MediaOrder::Settle { peer }), 1, "told once");
    told(&mut world, MediaFact::Connected { peer, after_ms: 80 });
    let kind = TrackKind::Video;
    told(&mut world, MediaFact::Published { stream, kind });
    told(&mut world, stalls(stream, false));
    let reachable = false;
    told(&mut world, MediaFact::Reachable { peer, reachable });
    live(&mut world, conn, 60);
    assert_eq!(
        count(&world, &MediaOrder::Restart { peer }),
        0,
        "it does it itself"
    );
    assert!(world.faults(conn).is_empty());
    live(&mut world, conn, 120);
    assert_eq!(count(&world, &MediaOrder::Close { peer }), 1);
    assert_eq!(world.faults(conn)[0].code, Code::MediaFailed);
}

#[test]
fn what_does_not_arrive_is_asked_anew_within_bounds() {
    let mut world = world(Some(MediaRule::Passthrough));
    let (conn, _, peer, _) = publisher(&mut world);
    let refresh = |peer: u32, lines: usize| RefreshFrame {
        peer,
        mids: vec!["0".to_owned(); lines],
        anew: true,
    };
    world.send(conn, refresh(1, 1));
    let order = MediaOrder::Refresh {
        peer,
        mids: vec!["0".to_owned()],
        anew: true,
    };
    assert_eq!(count(&world, &order), 1);
    let orders = world.orders.len();
    world.send(conn, refresh(2, 1));
    world.send(conn, refresh(1, limits::REFRESH_LINES_MAX + 1));
    assert_eq!(world.orders.len(), orders);
    let faults = world.faults(conn);
    assert_eq!(
        faults.len(),
        1,
        "that of a transport that is gone is passed over"
    );
    assert_eq!(faults[0].code, Code::MediaRefused);
    assert!(!faults[0].detail.contains_key("peer"), "media goes on");
}

#[test]
fn every_track_that_is_silent_is_named_v11() {
    let mut world = world(Some(MediaRule::Room));
    let (conn, welcome, _, first) = publisher(&mut world);
    let tab = Tab::new(2).of(&welcome.session).role(Role::Publisher);
    let other = world.connect(&tab);
    world.welcome(other);
    publish(&mut world, other, 1);
    offer(&mut world, other, 1, &["camera"]);
    let (peer, second) = opened(&world);
    told(&mut world, MediaFact::Connected { peer, after_ms: 80 });
    let named = |world: &World| match media_leg(world, conn).unwrap().1 {
        LegState::Degraded { fault } => fault.detail["stalled"].as_array().unwrap().len(),
        leg => panic!("{leg:?}"),
    };
    told(&mut world, stalls(second.unwrap(), false));
    assert_eq!(named(&world), 1);
    world.pass(Duration::from_millis(100));
    told(&mut world, stalls(first, false));
    assert_eq!(named(&world), 2);
    told(&mut world, stalls(second.unwrap(), true));
    assert_eq!(named(&world), 1);
}

#[test]
fn who_may_be_sent_media_is_watched_closely() {
    let mut world = world(Some(MediaRule::Passthrough));
    let conn = world.connect(&Tab::new(1));
    let welcome = world.welcome(conn);
    assert_eq!(welcome.beat.suspect_ms, 7_000);
    publish(&mut world, conn, 1);
    offer(&mut world, conn, 1, &["camera"]);
    let (peer, _) = opened(&world);
    let suspect = |world: &World| {
        let mut frames = world.lines[&conn].frames.iter().rev();
        frames.find_map(|frame| match frame {
            ServerFrame::Beat(beat) => Some(beat.suspect_ms),
            _ => None,
        })
    };
    told(&mut world, MediaFact::Connected { peer, after_ms: 80 });
    assert_eq!(suspect(&world), Some(Some(2_500)), "told at once");
    let (full, why) = (false, String::new());
    told(&mut world, MediaFact::Failed { peer, full, why });
    world.pass(Duration::from_secs(4));
    assert_eq!(suspect(&world), Some(Some(7_000)));
}

#[test]
fn a_description_that_the_plane_does_not_take_names_its_transport_and_a_candidate_does_not_a52() {
    let mut world = world(Some(MediaRule::Room));
    let (conn, _, peer, _) = publisher(&mut world);
    for description in [true, false] {
        let why = "it cannot be read".to_owned();
        let fact = MediaFact::Refused {
            peer,
            description,
            why,
        };
        told(&mut world, fact);
    }
    let faults = world.faults(conn);
    assert_eq!(faults.len(), 2);
    assert_eq!(faults[0].detail["peer"], 1);
    assert!(!faults[1].detail.contains_key("peer"), "media goes on");
}

#[test]
fn an_offer_that_the_session_does_not_take_names_its_transport() {
    let mut world = world(None);
    let conn = world.connect(&Tab::new(1));
    world.welcome(conn);
    offer(&mut world, conn, 3, &[]);
    let fault = &world.faults(conn)[0];
    assert_eq!(fault.code, Code::MediaRefused);
    assert_eq!(fault.detail["peer"], 3);
    assert_eq!(fault.leg, Some(Leg::Media));
}

/// A transport costs keys and certificates: who opens one after the other is slowed down, and keeps the
/// one that it has.
#[test]
fn who_opens_transports_too_fast_is_told_so_and_keeps_the_last_a50() {
    let mut world = world(Some(MediaRule::Room));
    let conn = world.connect(&Tab::new(1));
    world.welcome(conn);
    for number in 1..=100 {
        offer(&mut world, conn, number, &[]);
    }
    let opens = |world: &World| {
        let mut orders = world.orders.iter();
        let opens = orders
            .by_ref()
            .filter(|o| matches!(o, MediaOrder::Open { .. }));
        opens.count()
    };
    let at_once = opens(&world);
    assert!((5..=20).contains(&at_once), "{at_once} at once");
    let (last, _) = opened(&world);
    assert_eq!(count(&world, &MediaOrder::Close { peer: last }), 0);
    let faults = world.faults(conn);
    assert_eq!(faults.len(), 100 - at_once);
    let told = faults.last().unwrap();
    assert_eq!(told.code, Code::MediaFailed);
    assert_eq!(told.detail["peer"], 100);
    live(&mut world, conn, 2);
    offer(&mut world, conn, 101, &[]);
    assert_eq!(opens(&world), at_once + 1, "after a while");
}

#[test]
fn who_leaves_takes_the_silence_of_its_tracks_along() {
    let mut world = world(Some(MediaRule::Room));
    let (conn, welcome, _, _) = publisher(&mut world);
    let tab = Tab::new(2).of(&welcome.session).role(Role::Publisher);
    let other = world.connect(&tab);
    world.welcome(other);
    publish(&mut world, other, 1);
    offer(&mut world, other, 1, &["camera"]);
    let stream = opened(&world).1.unwrap();
    told(&mut world, stalls(stream, false));
    assert_eq!(media_leg(&world, conn).unwrap().0, State::Degraded);
    world.send(other, Detach {});
    assert_eq!(
        media_leg(&world, conn).unwrap(),
        (State::Live, LegState::Up)
    );
}
