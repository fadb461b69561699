//! Signaling, media and the server are lost under a live picture: told, and got back by themselves.

use std::time::{Duration, Instant};

use evenkeel::{
    Event, Events, Session, Simulate,
    media::Frames,
    wire::{Injection, Role, State, Strategy},
};
use keel_server::config::StoreKind;

use crate::{
    media::{Camera, assert_consecutive, number, numbers, viewer, with_media},
    relay::{Relay, free_port},
    support::{Host, soon, until},
};

fn is_recovered(event: &Event) -> bool {
    matches!(event, Event::Recovered { .. })
}

fn is_lost(event: &Event) -> bool {
    matches!(event, Event::MediaLost { .. })
}

fn is_back(event: &Event) -> bool {
    matches!(event, Event::MediaRecovered { .. })
}

/// A server whose media goes through a relay.
async fn behind(relay: &Relay) -> Host {
    Host::start(|config| {
        with_media(config);
        config.media.listen = Some(relay.target);
        config.media.advertise = vec![relay.addr.into()];
        // What is not relayed would not be lost.
        config.media.tcp = false;
    })
    .await
}

struct Scene {
    session: Session,
    events: Events,
    frames: Frames,
    camera: Camera,
}

impl Scene {
    async fn start(host: &Host) -> Self {
        let session = soon(host.builder().backend("passthrough").connect()).await;
        let session = session.expect("a session");
        let events = session.events();
        let mut frames = session.media().receive().await;
        let camera = Camera::start(&session, "camera").await;
        let first = soon(frames.next()).await.expect("a frame");
        assert!(first.frame.key);
        Self {
            session,
            events,
            frames,
            camera,
        }
    }

    /// Reads frames until one is newer than `after`; the gap before it.
    async fn first_frame_after(&mut self, after: Instant) -> Duration {
        loop {
            let received = soon(self.frames.next()).await.expect("a frame");
            if received.at >= after {
                return received.at - after;
            }
        }
    }

    async fn end(self, host: Host) {
        self.camera.stop().await;
        soon(self.session.close()).await;
        host.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signaling_dies_under_a_live_picture_and_no_frame_is_lost_m37_n01() {
    let host = Host::start(with_media).await;
    let mut scene = Scene::start(&host).await;
    let mut seen = numbers(&mut scene.frames, 10).await;
    for _ in 0..2 {
        let (receipt, _) = tokio::join!(
            scene.session.inject(Injection::DropConnection, None),
            until(&mut scene.events, is_recovered),
        );
        receipt.expect("dropped");
        seen.extend(numbers(&mut scene.frames, 20).await);
    }
    scene.session.simulate(Simulate::DropTransport).await;
    until(&mut scene.events, is_recovered).await;
    seen.extend(numbers(&mut scene.frames, 20).await);
    assert_consecutive(&seen);
    let stats = soon(scene.session.media().stats()).await.expect("stats");
    assert_eq!(stats.opened, 1, "the same transport");
    assert_eq!(stats.transports[0].lines[0].packets_lost, 0, "{stats:?}");
    scene.end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_black_hole_is_told_within_its_bound_and_the_picture_flows_after_it_v02_v04_m36() {
    let relay = Relay::start().await;
    let host = behind(&relay).await;
    let mut scene = Scene::start(&host).await;
    for lasting in [Duration::from_secs(3), Duration::from_secs(6)] {
        numbers(&mut scene.frames, 30).await;
        relay.block(true);
        let blocked = Instant::now();
        until(&mut scene.events, is_lost).await;
        let told = blocked.elapsed();
        assert!(told < Duration::from_millis(1_500), "told after {told:?}");
        let mut status = scene.session.status();
        let shown = status.wait_for(|status| status.state != State::Live);
        soon(shown).await.expect("it is in the status, too");
        tokio::time::sleep(lasting.saturating_sub(blocked.elapsed())).await;
        relay.block(false);
        let healed = Instant::now();
        let flowing = scene.first_frame_after(healed).await;
        assert!(
            flowing < Duration::from_millis(1_500),
            "after {lasting:?} it flowed {flowing:?} after the network was back"
        );
        until(&mut scene.events, is_back).await;
    }
    let status = scene.session.status();
    soon(
        status
            .clone()
            .wait_for(|status| status.state == State::Live),
    )
    .await
    .expect("live again");
    scene.end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_watches_is_told_of_a_loss_and_gets_the_picture_back_whatever_the_role_m4() {
    let relay = Relay::start().await;
    let host = behind(&relay).await;
    let scene = Scene::start(&host).await;
    let mut watching = Vec::new();
    for role in [Role::Viewer, Role::Publisher, Role::Owner] {
        let (session, frames) = viewer(&host, &scene.session, role).await;
        let events = session.events();
        watching.push((role, session, events, frames));
    }
    for (_, _, _, frames) in &mut watching {
        numbers(frames, 20).await;
    }
    relay.block(true);
    let blocked = Instant::now();
    for (role, _, events, _) in &mut watching {
        until(events, is_lost).await;
        let told = blocked.elapsed();
        assert!(
            told < Duration::from_secs(2),
            "{role:?} told after {told:?}"
        );
    }
    relay.block(false);
    let healed = Instant::now();
    for (role, session, events, frames) in &mut watching {
        until(events, is_back).await;
        let mut status = session.status();
        let live = status.wait_for(|status| status.state == State::Live);
        soon(live).await.expect("live again");
        // What was under way when the way came back may lack a frame that was sent into the hole.
        let settled = healed + Duration::from_secs(1);
        let mut newest = soon(frames.next()).await.expect("a frame");
        while newest.at < settled {
            newest = soon(frames.next()).await.expect("a frame");
        }
        let seen = numbers(frames, 20).await;
        assert_consecutive(&seen);
        let opened = soon(session.media().stats()).await.expect("stats").opened;
        assert_eq!(opened, 1, "{role:?}: the same transport");
    }
    for (_, session, ..) in watching {
        soon(session.close()).await;
    }
    scene.end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_started_again_has_the_picture_of_the_same_publisher_back_m36() {
    let host = Host::start(|config| {
        with_media(config);
        config.store.kind = StoreKind::Sqlite;
        config.media.listen = Some(free_port());
    })
    .await;
    let mut scene = Scene::start(&host).await;
    numbers(&mut scene.frames, 20).await;
    let stopped = host.stop().await;
    let host = stopped.start().await;
    let listens = Instant::now();
    let seen = until(&mut scene.events, is_recovered).await;
    assert!(
        matches!(
            seen.last(),
            Some(Event::Recovered {
                strategy: Strategy::Fast | Strategy::Rejoin,
                ..
            })
        ),
        "{seen:#?}"
    );
    let back = scene.first_frame_after(listens).await;
    assert!(back < Duration::from_secs(3), "back after {back:?}");
    let first = numbers(&mut scene.frames, 1).await;
    let more = numbers(&mut scene.frames, 30).await;
    assert_consecutive(&[first, more].concat());
    let stats = soon(scene.session.media().stats()).await.expect("stats");
    assert_eq!(stats.opened, 2, "another transport: {stats:?}");
    assert_eq!(stats.transports.len(), 1, "and only that: {stats:?}");
    scene.end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_loss_during_a_recovery_is_not_lost_m36_e13() {
    let relay = Relay::start().await;
    let host = behind(&relay).await;
    let mut scene = Scene::start(&host).await;
    numbers(&mut scene.frames, 20).await;
    relay.block(true);
    until(&mut scene.events, is_lost).await;
    // Signaling goes, too, while media is being got back.
    scene.session.simulate(Simulate::DropTransport).await;
    until(&mut scene.events, is_recovered).await;
    relay.block(false);
    let healed = Instant::now();
    until(&mut scene.events, is_back).await;
    let flowing = scene.first_frame_after(healed).await;
    assert!(flowing < Duration::from_secs(3), "{flowing:?}");
    let first = soon(scene.frames.next()).await.expect("a frame");
    let more = numbers(&mut scene.frames, 20).await;
    assert_eq!(more[0], number(&first) + 1);
    assert_consecutive(&more);
    scene.end(host).await;
}
