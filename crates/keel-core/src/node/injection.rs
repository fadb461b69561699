//! Faults on purpose that were asked for over HTTP: which connections they strike.

use keel_wire::{Injection, ParticipantId, SessionId};

use super::{Answer, AskId, ConnId, Ctx, Node, Output, Outputs, Phase, Strike};
use crate::{Now, session::Wanted};

impl Node {
    pub(super) fn inject(&mut self, now: Now, ask: AskId, strike: Strike, out: &mut Outputs) {
        let Strike {
            session,
            participant,
            injection,
            for_ms,
            seed,
        } = strike;
        let conns = self.conns_of(&session, participant.as_ref());
        // A panic says nothing afterwards.
        let panics = matches!(injection, Injection::Panic { .. });
        let mut count = usize::from(panics && self.active(&session).is_some());
        let mut named = None;
        let wanted = Wanted {
            fault: injection,
            for_ms,
            seed,
        };
        self.with(now, &session, out, |session, ctx: &mut Ctx<'_>| {
            let injected = &*named.insert(wanted.named(ctx));
            count = session.inject(participant.as_ref(), &conns, injected, ctx);
        });
        let injected = named.filter(|_| count > 0).map(Box::new);
        out.push(Output::Reply {
            ask,
            answer: Answer::Struck { count, injected },
        });
    }

    fn conns_of(&self, session: &SessionId, participant: Option<&ParticipantId>) -> Vec<ConnId> {
        let attached = self.conns.iter().filter(|(_, conn)| match &conn.phase {
            Phase::Attached {
                session: of,
                participant: who,
                ..
            } => of == session && participant.is_none_or(|participant| participant == who),
            Phase::AwaitHello | Phase::AwaitVerdict { .. } | Phase::AwaitSession { .. } => false,
        });
        attached.map(|(id, _)| id).collect()
    }
}
