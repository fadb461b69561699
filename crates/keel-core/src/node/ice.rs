//! STUN and TURN servers that clients are handed.
//!
//! Credentials are made with a secret that is no business of the Node's: the shell gives it a function
//! that makes them. It is pure, so a Node with the same inputs says the same.

use std::{fmt, time::Duration};

use keel_wire::{IceServer, IceServersFrame, ParticipantId, UnixMillis};

use super::{ConnId, Ctx};
use crate::limits;

/// Who may use a server's relays, and until when.
#[derive(Debug, Clone, Copy)]
pub struct IceClient<'a> {
    /// The participant that they are for.
    pub participant: &'a ParticipantId,
    /// When its token expires: nothing that is handed out lasts longer.
    pub expires: UnixMillis,
}

/// Servers for one participant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IceServers {
    /// All of them.
    pub servers: Vec<IceServer>,
    /// When their credentials expire; `None` where they do not.
    pub until: Option<UnixMillis>,
}

/// Says which servers a participant is handed. Pure: the same answer to the same question.
pub trait HandOut: fmt::Debug + Send + Sync {
    /// The servers, with fresh credentials.
    fn servers(&self, client: IceClient<'_>, now: UnixMillis) -> IceServers;
}

impl Ctx<'_> {
    /// The servers for a participant on this connection; it is told of fresh ones before they expire.
    pub(crate) fn ice_servers(
        &mut self,
        id: ConnId,
        participant: &ParticipantId,
    ) -> Vec<IceServer> {
        let Some(hand_out) = self.config.ice.as_ref() else {
            return Vec::new();
        };
        let Some(conn) = self.conns.get_mut(id) else {
            return Vec::new();
        };
        let expires = conn.grant.as_ref().map_or(0, |grant| grant.expires);
        let client = IceClient {
            participant,
            expires,
        };
        let handed = hand_out.servers(client, self.now.wall);
        conn.ice_fresh_at = handed.until.map(|until| {
            let left = Duration::from_millis(until.saturating_sub(self.now.wall));
            self.now.mono + (left - left / 4).max(limits::ICE_SERVERS_EVERY_MIN)
        });
        handed.servers
    }

    /// Tells a connection of servers with fresh credentials.
    pub(crate) fn tell_ice_servers(&mut self, id: ConnId, participant: &ParticipantId) {
        let ice_servers = self.ice_servers(id, participant);
        let frame = IceServersFrame { ice_servers };
        self.conns.tell(id, &frame.into(), self.out);
    }
}
