//! C, H and K: what is behind a session, and everything that it does wrong.

mod kinds;
mod lives;
mod programs;
mod storm;

use super::{S, Spec};

pub(super) fn rows() -> Vec<Spec> {
    let groups = [programs::rows(), lives::rows(), storm::rows()];
    groups.into_iter().flatten().collect()
}
