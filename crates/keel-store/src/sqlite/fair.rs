//! What waits for the writer, taken fairly: deficit round robin by bytes, one lane a session.
//!
//! Within a lane the order of calls stands. A lane that sends much gets its quantum a round like every
//! other, so a heavy session delays itself.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

use crate::bounds::QUANTUM_BYTES;

#[derive(Debug)]
pub(super) struct Fair<L, J> {
    lanes: HashMap<L, Lane<J>>,
    /// Each lane that holds something, once.
    ring: VecDeque<L>,
}

#[derive(Debug)]
struct Lane<J> {
    jobs: VecDeque<(usize, J)>,
    credit: usize,
}

impl<L: Clone + Eq + Hash, J> Fair<L, J> {
    pub(super) fn new() -> Self {
        Self {
            lanes: HashMap::new(),
            ring: VecDeque::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    pub(super) fn push(&mut self, lane: L, cost: usize, job: J) {
        let entry = self.lanes.entry(lane.clone()).or_insert_with(|| {
            self.ring.push_back(lane);
            Lane {
                jobs: VecDeque::new(),
                credit: 0,
            }
        });
        entry.jobs.push_back((cost, job));
    }

    /// The next group: at most so many jobs and bytes, but at least one job if there is any.
    pub(super) fn take(&mut self, bytes_max: usize, jobs_max: usize) -> Vec<J> {
        let mut group = Vec::new();
        let mut bytes = 0;
        while let Some(name) = self.ring.pop_front() {
            let lane = self
                .lanes
                .get_mut(&name)
                .expect("the ring names lanes that there are");
            lane.credit += QUANTUM_BYTES;
            let mut full = false;
            while let Some((cost, _)) = lane.jobs.front() {
                let cost = *cost;
                full = group.len() >= jobs_max || (bytes + cost > bytes_max && !group.is_empty());
                if full || cost > lane.credit {
                    break;
                }
                lane.credit -= cost;
                bytes += cost;
                group.extend(lane.jobs.pop_front().map(|(_, job)| job));
            }
            if lane.jobs.is_empty() {
                self.lanes.remove(&name);
            } else if full {
                // It is next in the next group too, with the quantum that it was just given.
                lane.credit = lane.credit.saturating_sub(QUANTUM_BYTES);
                self.ring.push_front(name);
                break;
            } else {
                self.ring.push_back(name);
            }
        }
        group
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(fair: &mut Fair<&'static str, u32>, bytes: usize, jobs: usize) -> Vec<Vec<u32>> {
        let mut groups = Vec::new();
        while !fair.is_empty() {
            let group = fair.take(bytes, jobs);
            assert!(!group.is_empty(), "each group moves something");
            groups.push(group);
        }
        groups
    }

    #[test]
    fn a_heavy_lane_does_not_starve_a_light_one() {
        let mut fair = Fair::new();
        for job in 0..10 {
            fair.push("heavy", 60 * 1024, job);
        }
        fair.push("light", 300, 100);
        fair.push("light", 300, 101);
        let group = fair.take(200 * 1024, 100);
        assert_eq!(
            group,
            [0, 100, 101, 1, 2],
            "one quantum, then the other's turn"
        );
    }

    #[test]
    fn each_lane_keeps_its_order_and_nothing_is_lost() {
        let mut fair = Fair::new();
        for job in 0..300_u32 {
            let lane = ["a", "b", "c"][job as usize % 3];
            fair.push(lane, (job as usize * 7_919) % 200_000, job);
        }
        let all = drain(&mut fair, 100_000, 7).concat();
        for rest in 0..3 {
            let lane: Vec<_> = all.iter().copied().filter(|job| job % 3 == rest).collect();
            assert!(lane.is_sorted(), "{lane:?}");
        }
        assert_eq!(all.len(), 300);
    }

    #[test]
    fn a_job_above_every_bound_goes_alone() {
        let mut fair = Fair::new();
        fair.push("a", 50_000_000, 1);
        fair.push("a", 1, 2);
        assert_eq!(drain(&mut fair, 1_000, 10), [vec![1], vec![2]]);
    }
}
