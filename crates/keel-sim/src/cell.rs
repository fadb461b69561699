//! What was tried where: a fault's kind × the phase of the client that it struck.
//!
//! A counter that stays 0 says that the simulation does not reach what it claims to.

use std::collections::BTreeMap;

/// What breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Reset,
    Eof,
    Close,
    FaultThenClose,
    HalfOpen,
    DeafServer,
    DeafClient,
    DelaySpike,
    CutFrame,
    Duplicate,
    LateBytes,
    Offline,
    Sleep,
    SlowLink,
    TokenExpired,
    Killed,
    Reload,
    Crash,
    Drain,
    Migrate,
    Panic,
    StoreRefuses,
    StoreUnknown,
    StoreSlow,
    ReadError,
    ProviderCrash,
    ProviderHang,
    ProviderLate,
    ProviderStubborn,
    DialRefused,
    DialTimeout,
    NotWebSocket,
}

/// How far the client is that is struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// First connect: no transport yet.
    Dial,
    /// First connect: hello is not answered.
    Hello,
    /// In line for a slot.
    Queued,
    /// First connect: being brought up to the log's end.
    Welcome,
    /// Live, and nothing runs.
    Idle,
    /// Live, and a turn runs.
    MidTurn,
    /// Lost, and waiting before the next try.
    Backoff,
    /// Lost, and dialling.
    Redial,
    /// Lost, and hello is not answered.
    Resuming,
    /// Back, and being brought up to the log's end.
    Replay,
    /// Leaving.
    Closing,
}

use Kind as K;
use Phase as P;

const KINDS: [Kind; 32] = [
    K::Reset,
    K::Eof,
    K::Close,
    K::FaultThenClose,
    K::HalfOpen,
    K::DeafServer,
    K::DeafClient,
    K::DelaySpike,
    K::CutFrame,
    K::Duplicate,
    K::LateBytes,
    K::Offline,
    K::Sleep,
    K::SlowLink,
    K::TokenExpired,
    K::Killed,
    K::Reload,
    K::Crash,
    K::Drain,
    K::Migrate,
    K::Panic,
    K::StoreRefuses,
    K::StoreUnknown,
    K::StoreSlow,
    K::ReadError,
    K::ProviderCrash,
    K::ProviderHang,
    K::ProviderLate,
    K::ProviderStubborn,
    K::DialRefused,
    K::DialTimeout,
    K::NotWebSocket,
];

const PHASES: [Phase; 11] = [
    P::Dial,
    P::Hello,
    P::Queued,
    P::Welcome,
    P::Idle,
    P::MidTurn,
    P::Backoff,
    P::Redial,
    P::Resuming,
    P::Replay,
    P::Closing,
];

/// Whether a fault of this kind can strike a client in this phase.
pub(crate) const fn is_possible(kind: Kind, phase: Phase) -> bool {
    match kind {
        // What strikes a transport needs one that is open.
        K::Reset
        | K::Eof
        | K::Close
        | K::FaultThenClose
        | K::HalfOpen
        | K::DeafServer
        | K::DeafClient
        | K::DelaySpike
        | K::CutFrame
        | K::LateBytes
        | K::SlowLink => !matches!(phase, P::Dial | P::Backoff | P::Redial),
        // A frame of a conversation comes twice; the handshake is not a conversation.
        K::Duplicate => matches!(
            phase,
            P::Welcome | P::Idle | P::MidTurn | P::Replay | P::Closing
        ),
        K::DialRefused | K::DialTimeout | K::NotWebSocket => {
            matches!(phase, P::Dial | P::Redial)
        }
        K::TokenExpired => matches!(phase, P::Hello | P::Resuming | P::Idle | P::MidTurn),
        // Two nodes share no line for slots.
        K::Migrate => !matches!(phase, P::Queued),
        K::Reload => !matches!(phase, P::Dial | P::Hello),
        // A run has a client that is in its session.
        K::ProviderCrash | K::ProviderHang | K::ProviderLate | K::ProviderStubborn => {
            matches!(phase, P::MidTurn | P::Backoff | P::Redial | P::Resuming)
        }
        // Nothing is written for a client of its own.
        K::StoreUnknown => matches!(phase, P::Idle | P::MidTurn | P::Welcome | P::Hello),
        K::ReadError => matches!(phase, P::Welcome | P::Replay | P::Hello | P::Resuming),
        K::Panic => matches!(phase, P::Idle | P::MidTurn | P::Replay | P::Welcome),
        K::Offline
        | K::Sleep
        | K::Killed
        | K::Crash
        | K::Drain
        | K::StoreRefuses
        | K::StoreSlow => true,
    }
}

/// How often each cell was struck.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Cells(BTreeMap<(Kind, Phase), u64>);

impl Cells {
    pub(crate) fn strike(&mut self, kind: Kind, phase: Phase) {
        if is_possible(kind, phase) {
            *self.0.entry((kind, phase)).or_default() += 1;
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (cell, count) in &other.0 {
            *self.0.entry(*cell).or_default() += count;
        }
    }

    pub(crate) fn covered(&self) -> usize {
        self.0.len()
    }

    /// The cells that were never struck.
    pub(crate) fn missing(&self) -> Vec<String> {
        all()
            .filter(|cell| !self.0.contains_key(cell))
            .map(|(kind, phase)| format!("{kind:?}/{phase:?}"))
            .collect()
    }
}

fn all() -> impl Iterator<Item = (Kind, Phase)> {
    let cells = KINDS
        .into_iter()
        .flat_map(|kind| PHASES.into_iter().map(move |phase| (kind, phase)));
    cells.filter(|(kind, phase)| is_possible(*kind, *phase))
}

/// How many cells there are.
pub(crate) fn possible() -> usize {
    all().count()
}
