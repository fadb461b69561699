//! The server stops: turns may end for a while, then nothing is left that runs.

use std::time::Duration;

use keel_wire::{Code, Goaway, SessionId, UnixMillis};

use super::{Node, Output, Outputs, ms, registry::Entry};
use crate::{Instant, Now};

/// A drain that is under way.
#[derive(Debug)]
pub(super) struct Drain {
    since: UnixMillis,
    /// What still runs is stopped then.
    stop_at: Instant,
    stopped: bool,
    told: bool,
}

impl Node {
    /// Whether it stops.
    pub(super) fn drain_stops_at(&self) -> Option<Instant> {
        let drain = self.drain.as_ref().filter(|drain| !drain.stopped);
        drain.map(|drain| drain.stop_at)
    }

    pub(super) fn begin_drain(
        &mut self,
        now: Now,
        within: Duration,
        target: Option<String>,
        out: &mut Outputs,
    ) {
        let stop_at = now.mono + within;
        let since = now.wall;
        self.drain = Some(Drain {
            since,
            stop_at,
            stopped: false,
            told: false,
        });
        let goaway = Goaway {
            reason: "the server is stopping".to_owned(),
            deadline_ms: ms(within),
            target,
        };
        for conn in self.conns.ids() {
            self.conns.tell(conn, &goaway.clone().into(), out);
        }
    }

    /// Whether what runs was stopped, and nothing more is begun.
    pub(super) fn is_stopping(&self) -> bool {
        self.drain.as_ref().is_some_and(|drain| drain.stopped)
    }

    pub(super) fn go_on_draining(&mut self, now: Now, out: &mut Outputs) {
        let Some(drain) = &mut self.drain else { return };
        if drain.told {
            return;
        }
        let busy = self.sessions.values().any(|entry| match entry {
            Entry::Active { session, .. } => session.is_busy(),
            Entry::Loading { .. } | Entry::Moved(_) => false,
        });
        let quiet = self.runs.len() == 0 && !busy;
        if !drain.stopped && (quiet || drain.stop_at <= now.mono) {
            drain.stopped = true;
            let ids: Vec<SessionId> = self.sessions.keys().cloned().collect();
            for id in ids {
                self.with(now, &id, out, |session, ctx| session.stop_for_shutdown(ctx));
            }
        }
        let Some(drain) = &mut self.drain else { return };
        if !drain.stopped || self.runs.len() > 0 {
            return;
        }
        let settled = self.sessions.values().all(|entry| match entry {
            Entry::Active { session, .. } => session.is_settled(),
            Entry::Loading { .. } | Entry::Moved(_) => true,
        });
        if settled {
            drain.told = true;
            let since = drain.since;
            for conn in self.conns.ids() {
                let code = Code::ServerShutdown;
                self.conns.refuse_as(conn, code, now, &mut self.mint, out);
            }
            out.push(Output::Drained { since });
        }
    }
}
