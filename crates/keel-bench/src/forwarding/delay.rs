//! How long packets are under way while the server takes most of a processor.
//!
//! One publisher's packet goes to all of its viewers one after the other, and the last of them waits for
//! what all others cost: the delay follows from how many there are, as well as from the load. So it is
//! measured twice: the same load by a large picture to some, and by a smaller one to twice as many.

use anyhow::Result;

use super::{Calls, PER_S, ROUND, Round, SETTLED, VIEWERS, order, place, round};
use crate::{
    bench::{Bench, Served},
    calls::Order,
    results::Measured,
    samples::Samples,
};

/// Of a processor, what the delay is measured at.
const LOAD: f64 = 0.8;
const LOAD_SLACK: f64 = 0.02;
const LOAD_STEPS_MAX: usize = 5;
const VIEWERS_MAX: usize = 600;
const P99_MAX_MS: f64 = 5.;

/// What some rounds at that load have shown.
#[derive(Debug, Default)]
pub(super) struct Delays {
    all: Samples,
    /// Of each round.
    p99s: Samples,
    loads: Samples,
    rates: Samples,
}

impl Delays {
    /// Measures `rounds` of them, after one that only finds the pace, which begins with `per_s` packets of the
    /// publisher a second. The load is held by it: what a packet costs changes with what else the host does.
    pub(super) async fn measure(
        served: &Served,
        calls: &mut Calls,
        viewers: usize,
        per_s: u32,
        rounds: usize,
    ) -> Result<Self> {
        let mut delays = Self::default();
        let mut pace = f64::from(per_s);
        for n in 0..=rounds {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "hundreds"
            )]
            let per_s = pace as u32;
            order(&mut calls.own, Order::Pace { per_s }).await?;
            let round = round(served, calls, viewers).await?;
            pace *= (LOAD / round.load).clamp(0.8, 1.2);
            if n > 0 {
                delays.add(round);
            }
        }
        Ok(delays)
    }

    fn add(&mut self, round: Round) {
        self.p99s.push(round.delays.p99());
        self.all.extend(round.delays);
        self.loads.push(round.load * 100.);
        self.rates.push(round.per_s);
    }

    pub(super) fn measured(
        &self,
        bench: &Bench<'_>,
        name: &str,
        viewers: usize,
        idle: &Samples,
    ) -> Measured {
        let over = self.p99s.median() - idle.median();
        Measured::of(name, "ms", &self.all)
            .beside(idle.median())
            .target(
                format!(
                    "p99 of the median round less than {P99_MAX_MS} ms more than the median of an idle \
                     plane: {over:.2}"
                ),
                over < P99_MAX_MS,
            )
            .method(format!(
                "from a packet's writing by the publisher to its coming at whole viewers, the first and those \
                 after each crowd, of {viewers}, the others lean and in a process of their own; {}, while it took \
                 {:.0} % of a processor for {:.0} packets a second (rounds of {} s at {:.0} to {:.0} %, p99 of each \
                 {:.1} to {:.1} ms); beside the same of {VIEWERS} viewers at {} packets a second to each; {}",
                place(),
                self.loads.median(),
                self.rates.median(),
                ROUND.as_secs(),
                self.loads.min(),
                self.loads.max(),
                self.p99s.min(),
                self.p99s.max(),
                PER_S / 10,
                bench.build()
            ))
    }
}

/// Adds viewers until the server takes as much of a processor as is wanted; how many there are then.
///
/// A packet costs less the more of them go out at once, so that the cost of one does not foretell it.
pub(super) async fn crowd(
    served: &Served,
    calls: &mut Calls,
    session: &str,
    mut viewers: usize,
) -> Result<usize> {
    let wanted = |viewers: usize, load: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "some hundreds"
        )]
        let wanted = (viewers as f64 * LOAD / load) as usize;
        wanted.clamp(viewers, VIEWERS_MAX)
    };
    for _ in 0..LOAD_STEPS_MAX {
        tokio::time::sleep(SETTLED).await;
        let load = round(served, calls, viewers).await?.load;
        let more = wanted(viewers, load) - viewers;
        if load >= LOAD - LOAD_SLACK || more == 0 {
            break;
        }
        calls.more(session, more).await?;
        viewers += more;
    }
    Ok(viewers)
}
