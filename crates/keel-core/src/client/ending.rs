//! The end: told once, with nothing left open and nothing after it.

use keel_wire::{Code, FaultCode, Origin, Retry, Seq, StreamId};

use super::{
    Client, CommandOutcome, Cx, Event, Input, Life, Output, TokenSource, apply::Fold,
    outbox::Outbox,
};

impl Client {
    /// Ends the session for this client. Every connection is dropped and every command answered
    /// first; the event is the last thing that is said.
    pub(super) fn finish(&mut self, cx: &mut Cx<'_>, over: Life) {
        self.close_media(cx);
        self.drop_attempt(cx);
        if let Some(path) = self.current.take() {
            let code = path.stands().then_some(keel_wire::CloseCode::NORMAL);
            cx.out.push(Output::Hangup {
                conn: path.conn,
                code,
            });
        }
        let (fault, event) = match &over {
            Life::Failed { fault } => (fault.clone(), Event::Failed(fault.clone())),
            Life::Ended { reason } => {
                let fault = self
                    .mint
                    .fault(cx.now, Code::ConnectionClosed, Origin::Client)
                    .message("the session is over for this client")
                    .retry(Retry::Never);
                (Box::new(fault), Event::Ended { reason: *reason })
            }
            Life::Idle
            | Life::Connecting { .. }
            | Life::Standing
            | Life::Recovering(_)
            | Life::Detaching { .. } => return,
        };
        while let Some(entry) = self.outbox.give_up() {
            let outcome = if entry.was_sent() {
                CommandOutcome::Unknown(fault.clone())
            } else {
                CommandOutcome::Refused(fault.clone())
            };
            cx.out.push(Output::Receipt {
                local: entry.local,
                outcome,
            });
        }
        self.life = over;
        self.wait = None;
        self.show(cx);
        cx.tell(event);
    }

    /// After the end, a command is still answered, and a failed session can be connected again.
    pub(super) fn handle_when_over(&mut self, cx: &mut Cx<'_>, input: Input) {
        match input {
            Input::Command { local, .. } => {
                let fault = match &self.life {
                    Life::Failed { fault } => fault.clone(),
                    Life::Idle
                    | Life::Connecting { .. }
                    | Life::Standing
                    | Life::Recovering(_)
                    | Life::Detaching { .. }
                    | Life::Ended { .. } => Box::new(
                        self.mint
                            .fault(cx.now, Code::ConnectionClosed, Origin::Client)
                            .message("the session is over for this client")
                            .retry(Retry::Never),
                    ),
                };
                let outcome = CommandOutcome::Refused(fault);
                cx.out.push(Output::Receipt { local, outcome });
            }
            Input::Connect => self.connect_again(cx),
            Input::Token(Ok(token)) => self.token = Some(token),
            Input::Network { online } => self.online = online,
            Input::Media(input) => self.media_when_over(&input),
            Input::Opened { .. }
            | Input::Frame { .. }
            | Input::Closed { .. }
            | Input::Token(Err(_))
            | Input::Probe
            | Input::Detach
            | Input::Close
            | Input::Simulate(_)
            | Input::Tick => {}
        }
    }

    fn connect_again(&mut self, cx: &mut Cx<'_>) {
        let Life::Failed { fault } = &self.life else {
            return;
        };
        let for_good = fault.retry == Retry::Never;
        if for_good {
            // The seat is gone. The session may still be there, for a new participant.
            let session = self.seat.take().map(|seat| seat.session);
            if fault.code != FaultCode::Known(Code::SessionNotFound) {
                self.config.session = session.or_else(|| self.config.session.take());
            }
            self.fold = Fold::default();
        }
        self.outbox = Outbox::new(StreamId::from_bits(self.mint.bits()), Seq::ZERO.next());
        self.ledger = self.ledger.restarted();
        (self.told_joined, self.was_live) = (false, false);
        self.server = None;
        self.target = None;
        if self.config.token == TokenSource::Fetched {
            self.token = None;
        }
        self.life = Life::Idle;
        self.connect(cx);
    }
}
