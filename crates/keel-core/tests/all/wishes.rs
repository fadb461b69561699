//! What participants want of others' tracks, and whose voice is heard.

use keel_core::node::{
    ConnId, MediaFact, MediaOrder, MediaRule,
    media::{GroupId, PeerId, StreamId},
};
use keel_wire::{
    Code, LayerSize, ReceiptBody, ServerFrame, SubscribeTrack, TrackKind, UnpublishTrack, Welcome,
};
use serde_json::{Value, json};

use crate::{
    media::{count, offer, opened, publisher, sends, told, viewer, world},
    world::{Tab, World},
};

/// A room with somebody who publishes and somebody who looks.
struct Room {
    world: World,
    owner: ConnId,
    welcome: Welcome,
    stream: StreamId,
    conn: ConnId,
    peer: PeerId,
}

fn room() -> Room {
    let mut world = world(Some(MediaRule::Room));
    let (owner, welcome, _, stream) = publisher(&mut world);
    let (conn, peer) = viewer(&mut world, 2, &welcome);
    Room {
        world,
        owner,
        welcome,
        stream,
        conn,
        peer,
    }
}

impl Room {
    fn wish(&self, wanted: bool, max: Option<LayerSize>) -> SubscribeTrack {
        SubscribeTrack {
            participant: self.welcome.participant.clone(),
            track: "camera".parse().unwrap(),
            wanted,
            max,
        }
    }

    fn say(&mut self, n: u64, wanted: bool, max: Option<LayerSize>) {
        let wish = self.wish(wanted, max);
        self.world.command(self.conn, n, wish);
    }

    /// The viewer's transport is another one.
    fn move_on(&mut self, number: u32) {
        offer(&mut self.world, self.conn, number, &[]);
        self.peer = opened(&self.world).0;
    }
}

/// What was told of a kind that has no sequence.
fn ephemerals(world: &World, conn: ConnId, kind: &str) -> Vec<Value> {
    let frames = world.lines[&conn].frames.iter();
    let told = frames.filter_map(|frame| match frame {
        ServerFrame::Ephemeral(told) if told.kind == kind => Some(told.data.get()),
        _ => None,
    });
    told.map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

#[test]
fn who_wants_nothing_is_sent_nothing_on_any_transport() {
    let mut room = room();
    let (peer, stream) = (room.peer, room.stream);
    assert_eq!(count(&room.world, &sends(peer, stream)), 1, "unasked");
    room.say(1, false, None);
    let ceases = MediaOrder::Unsubscribe { peer, stream };
    assert_eq!(count(&room.world, &ceases), 1);
    room.move_on(2);
    assert_eq!(count(&room.world, &sends(room.peer, stream)), 0);
    // The track comes anew, and is still not wanted.
    told(&mut room.world, MediaFact::Unpublished { stream });
    let kind = TrackKind::Video;
    told(&mut room.world, MediaFact::Published { stream, kind });
    assert_eq!(count(&room.world, &sends(room.peer, stream)), 0);
    room.say(2, true, None);
    assert_eq!(count(&room.world, &sends(room.peer, stream)), 1);
    let receipts = room.world.receipts(room.conn);
    assert!(
        receipts
            .iter()
            .all(|receipt| receipt.body == ReceiptBody::ok())
    );
}

#[test]
fn a_size_that_is_wanted_goes_to_the_plane_and_stays_v16() {
    let mut room = room();
    let max = Some(LayerSize::Low);
    room.say(1, true, max);
    let small = |peer, stream| MediaOrder::Subscribe { peer, stream, max };
    assert_eq!(count(&room.world, &small(room.peer, room.stream)), 1);
    room.move_on(2);
    assert_eq!(count(&room.world, &small(room.peer, room.stream)), 1);
}

#[test]
fn wishes_that_are_kept_are_told_to_who_comes_back_and_those_that_are_not_are_missing_m19_e8() {
    let mut room = room();
    let tab = Tab::new(2).of(&room.welcome.session);
    let mine = room.world.welcome(room.conn);
    assert_eq!(
        ephemerals(&room.world, room.conn, "subscriptions"),
        Vec::<Value>::new()
    );
    room.say(1, false, None);
    let wish = room.wish(false, None);
    room.world.reset(room.conn);
    let again = tab.again(&mine, mine.cursor.seq.get());
    let conn = room.world.connect(&again);
    let kept = ephemerals(&room.world, conn, "subscriptions");
    assert_eq!(kept, [json!({ "kept": [wish] })]);
    // A server that begins anew knows the track, and not what was wanted of it: that is said.
    room.world.crash();
    let conn = room.world.connect(&tab.again(&mine, mine.cursor.seq.get()));
    let kept = ephemerals(&room.world, conn, "subscriptions");
    assert_eq!(kept, [json!({ "kept": [] })]);
}

#[test]
fn a_wish_is_for_a_track_that_is_there_and_ends_with_it() {
    let mut room = room();
    let mut nothing = room.wish(false, None);
    nothing.track = "screen".parse().unwrap();
    room.world.command(room.conn, 1, nothing);
    let ReceiptBody::Fault(fault) = &room.world.receipts(room.conn)[0].body else {
        panic!("there is no such track")
    };
    assert_eq!(fault.code, Code::InvalidRequest);
    room.say(2, false, None);
    let track = "camera".parse().unwrap();
    room.world.command(room.owner, 2, UnpublishTrack { track });
    // Another of that name is another track.
    crate::media::publish(&mut room.world, room.owner, 3);
    offer(&mut room.world, room.owner, 2, &["camera"]);
    let stream = opened(&room.world).1.unwrap();
    let kind = TrackKind::Video;
    told(&mut room.world, MediaFact::Published { stream, kind });
    assert_eq!(count(&room.world, &sends(room.peer, stream)), 1);
}

#[test]
fn a_track_whose_line_carries_it_no_longer_may_come_again_on_another() {
    let mut room = room();
    let (peer, stream) = (room.peer, room.stream);
    let kind = TrackKind::Video;
    offer(&mut room.world, room.owner, 1, &[]);
    told(&mut room.world, MediaFact::Unpublished { stream });
    // Said before the plane has told of the one before.
    offer(&mut room.world, room.owner, 1, &["camera"]);
    told(&mut room.world, MediaFact::Published { stream, kind });
    assert_eq!(
        count(&room.world, &sends(peer, stream)),
        2,
        "once each time"
    );
}

#[test]
fn whose_voice_is_heard_is_told_to_everybody_in_a_room_once() {
    let mut room = room();
    let group = room.world.orders.iter().find_map(|order| match order {
        MediaOrder::Open { group, .. } => Some(*group),
        _ => None,
    });
    let group = group.unwrap();
    let stream = Some(room.stream);
    for _ in 0..2 {
        told(&mut room.world, MediaFact::Speaking { group, stream });
    }
    let stream = None;
    told(&mut room.world, MediaFact::Speaking { group, stream });
    let speaker = json!({ "participant": room.welcome.participant, "track": "camera" });
    for conn in [room.owner, room.conn] {
        let speaks = ephemerals(&room.world, conn, "speaking");
        assert_eq!(speaks, [speaker.clone(), json!({})]);
    }
    // What is said of a room that is not there is nobody's.
    let group = GroupId(99_999);
    told(&mut room.world, MediaFact::Speaking { group, stream });
}
