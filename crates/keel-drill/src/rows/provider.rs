//! C, H and K: what is behind a session, and everything that it does wrong.

mod agents;
mod case;
mod kinds;
mod lives;
mod models;
mod poison;
mod programs;
mod sealed;
mod storm;

use super::{S, Spec};

pub(super) fn rows() -> Vec<Spec> {
    let groups = [
        programs::rows(),
        lives::rows(),
        models::rows(),
        poison::rows(),
        agents::rows(),
        sealed::rows(),
        storm::rows(),
    ];
    groups.into_iter().flatten().collect()
}
