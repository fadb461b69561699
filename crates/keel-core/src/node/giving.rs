//! A session on its way to another server, as the shell is told and tells it.

use keel_wire::handover::{Offer, SessionKey};

/// What another server says of a session that it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivered {
    /// It has it.
    Accepted,
    /// It does not, and this offer never changes that.
    Declined {
        /// Why, for people.
        why: String,
    },
    /// Nobody knows: ask again.
    Unknown {
        /// Why not.
        error: String,
    },
}

/// A session that is to be given to another server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Giving {
    /// As this offer.
    pub offer: Offer,
    /// To this server, by the shell's name for it.
    pub peer: String,
    /// What its resume keys are made with.
    pub key: SessionKey,
    /// Only ask whether it was taken, and have it never taken if it was not.
    pub settle: bool,
}
