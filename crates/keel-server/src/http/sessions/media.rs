//! How a session's media is doing: each transport, what it publishes and what it is sent.

use std::{collections::HashMap, sync::Arc};

use axum::{extract::State, http::StatusCode, response::Response};
use keel_core::node::{Answer, Ask, Wired, media::PeerId};
use keel_media::{Counted, Kind, LayerStats, PeerStats, Protocol};
use keel_wire::{Code, ParticipantId, TrackKind, TrackName};
use schemars::JsonSchema;
use serde::Serialize;

use super::super::{
    access::{self, Bearer, Target},
    reply,
};
use crate::shared::Shared;

/// How a session's media is doing.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Media {
    /// Its transports; none when the session is not in memory, or has no media.
    transports: Vec<Transport>,
}

/// One participant's transport.
#[derive(Serialize, JsonSchema)]
struct Transport {
    /// Whose.
    participant: ParticipantId,
    /// Whether what is sent now arrives, as far as is known.
    reachable: bool,
    /// Over what: `udp` or `tcp`. Null before anything was heard.
    protocol: Option<&'static str>,
    /// There and back, as it was measured last. Null before.
    round_trip_ms: Option<f64>,
    /// The share of what was sent that the other side missed of late, 0 to 1, before it was sent again. Null
    /// while it reports nothing.
    missed: Option<f32>,
    /// What its way is believed to carry.
    estimate_bps: u64,
    /// What it publishes.
    publishes: Vec<Published>,
    /// What it is sent.
    receives: Vec<Received>,
}

/// A track, as it comes.
#[derive(Serialize, JsonSchema)]
struct Published {
    /// Which.
    track: TrackName,
    /// Of what.
    kind: TrackKind,
    /// How many transports have a line for it and can show it.
    audience: usize,
    /// Its layers: one without simulcast, none before the first packet.
    layers: Vec<Layer>,
}

/// A layer of a track, as it comes.
#[derive(Serialize, JsonSchema)]
struct Layer {
    /// 0 is the smallest.
    layer: u8,
    /// Payload a second. Null when nothing comes.
    bps: Option<u64>,
    /// Packets that came, once each.
    packets: u64,
    /// Bytes of their payloads.
    bytes: u64,
    /// Keyframes that came.
    keyframes: u64,
}

/// A track, as one transport is sent it.
#[derive(Serialize, JsonSchema)]
struct Received {
    /// Whose.
    participant: ParticipantId,
    /// Which.
    track: TrackName,
    /// The layer that it is sent, or is to be from the next keyframe on; 0 is the smallest.
    layer: Option<u8>,
    /// Packets that were sent, once each.
    packets: u64,
    /// Bytes of their payloads.
    bytes: u64,
}

/// `GET /v1/sessions/{session}/media`.
pub(crate) async fn media(
    State(shared): State<Arc<Shared>>,
    Bearer(grant): Bearer,
    Target(session): Target,
) -> Response {
    if let Err(response) = access::row(&shared, &grant, &session).await {
        return response;
    }
    let Some(answer) = shared.ask(Ask::Media { session }).await else {
        return reply::stopping();
    };
    let wired = match answer {
        Answer::Media(wired) => wired.unwrap_or_default(),
        Answer::Status(_) | Answer::Receipt(_) | Answer::Census(_) | Answer::Struck { .. } => {
            Wired::default()
        }
    };
    let peers: Vec<PeerId> = wired.peers.iter().map(|(_, peer)| *peer).collect();
    if peers.is_empty() {
        let transports = Vec::new();
        return reply::ok(&Media { transports });
    }
    match shared.gauges.ask(&peers).await {
        Ok(stats) => reply::ok(&told(wired, stats)),
        Err(_) => reply::refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            Code::AtCapacity,
            "what passes packets has no time for figures now",
        ),
    }
}

/// The planes' figures, by the names of whoever they are about.
fn told(wired: Wired, stats: Vec<PeerStats>) -> Media {
    let whose: HashMap<u64, ParticipantId> = wired
        .peers
        .into_iter()
        .map(|(participant, peer)| (peer.0, participant))
        .collect();
    let tracks: HashMap<u64, (ParticipantId, TrackName)> = wired
        .tracks
        .into_iter()
        .map(|(participant, track, stream)| (stream.0, (participant, track)))
        .collect();
    let transports = stats.into_iter().filter_map(|stats| {
        let publishes = stats.publishes.iter().filter_map(|of| {
            let (_, track) = tracks.get(&of.track.0)?;
            Some(Published {
                track: track.clone(),
                kind: match of.kind {
                    Kind::Audio => TrackKind::Audio,
                    Kind::Video => TrackKind::Video,
                },
                audience: of.audience,
                layers: of.layers.iter().copied().map(Layer::from).collect(),
            })
        });
        let receives = stats.receives.iter().filter_map(|of| {
            let (participant, track) = tracks.get(&of.track.0)?.clone();
            let Counted { packets, bytes } = of.counted;
            Some(Received {
                participant,
                track,
                layer: of.layer.map(|layer| layer.0),
                packets,
                bytes,
            })
        });
        Some(Transport {
            participant: whose.get(&stats.peer.0)?.clone(),
            reachable: stats.reachable,
            protocol: stats.protocol.map(|protocol| match protocol {
                Protocol::Udp => "udp",
                Protocol::Tcp => "tcp",
            }),
            round_trip_ms: stats.round_trip.map(|span| span.as_secs_f64() * 1_000.),
            missed: stats.missed,
            estimate_bps: stats.estimate_bps,
            publishes: publishes.collect(),
            receives: receives.collect(),
        })
    });
    Media {
        transports: transports.collect(),
    }
}

impl From<LayerStats> for Layer {
    fn from(of: LayerStats) -> Self {
        let Counted { packets, bytes } = of.counted;
        Self {
            layer: of.layer.0,
            bps: of.bps,
            packets,
            bytes,
            keyframes: of.keyframes,
        }
    }
}
