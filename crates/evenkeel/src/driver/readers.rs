//! Readers of events that are behind: waited for, and told of.

use keel_core::{Client, client::Event};
use keel_wire::{Code, Fault, Leg, LegState, LegStatus, Range, Seq, State};
use tokio::time::Instant;

use super::Driver;
use crate::error::own_fault;

impl Driver {
    /// While a reader is behind, nothing is read.
    pub(super) fn look_at_readers(&mut self) {
        let machine = &self.machine;
        self.feed.catch_up(|| snapshot(machine));
        let is_full = self.feed.is_full();
        match (self.full_since, is_full) {
            (None, true) => self.full_since = Some(Instant::now()),
            (Some(_), false) => {
                self.full_since = None;
                if std::mem::take(&mut self.told_stuck) {
                    self.shown
                        .status
                        .send_replace(self.machine.status().clone());
                }
                // What the server said meanwhile comes first: it says that the server is there.
                if let Ok(report) = self.reports.try_recv() {
                    self.input(report);
                }
            }
            (None, false) | (Some(_), true) => {}
        }
    }

    pub(super) fn tell_stuck(&mut self) {
        tracing::warn!("events are not read; the session waits for its reader");
        self.told_stuck = true;
        let fault = Box::new(stuck());
        let mut status = self.machine.status().clone();
        if status.state == State::Live {
            let state = LegState::Degraded {
                fault: fault.clone(),
            };
            status.state = State::Degraded;
            status.legs.retain(|leg| leg.leg != Leg::Signaling);
            status.legs.push(LegStatus {
                leg: Leg::Signaling,
                state,
            });
            status.fault = Some(fault);
        }
        self.shown.status.send_replace(status);
    }
}

pub(super) fn stuck() -> Fault {
    own_fault(
        Code::SlowConsumer,
        "events of this session are not read; nothing is received until they are",
    )
}

/// What a reader begins with that comes after the beginning.
fn snapshot(machine: &Client) -> Option<Event> {
    let cursor = machine.cursor();
    (cursor.seq > Seq::ZERO).then(|| Event::Gap {
        range: Range {
            from: Seq::ZERO.next(),
            to: cursor.seq,
        },
        fault: None,
        snapshot: Box::new(machine.snapshot().clone()),
    })
}
