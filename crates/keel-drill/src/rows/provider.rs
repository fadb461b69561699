//! C, H and K: what is behind a session, and everything that it does wrong.

mod agents;
mod kinds;
mod lives;
mod models;
mod poison;
mod programs;
mod storm;

use super::{S, Spec};

pub(super) fn rows() -> Vec<Spec> {
    let groups = [
        programs::rows(),
        lives::rows(),
        models::rows(),
        poison::rows(),
        agents::rows(),
        storm::rows(),
    ];
    groups.into_iter().flatten().collect()
}
