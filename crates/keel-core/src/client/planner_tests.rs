//! The planner over every combination of what it looks at.

use super::*;

const ASKS: [Ask; 9] = [
    Ask::Fast,
    Ask::FastOnce,
    Ask::Rejoin,
    Ask::Migrate,
    Ask::Later(Duration::from_millis(500)),
    Ask::Later(Duration::from_secs(300)),
    Ask::Token,
    Ask::Never,
    Ask::Unreachable,
];
const RUNGS: [Strategy; 3] = [Strategy::Fast, Strategy::Rejoin, Strategy::Migrate];

fn calm() -> Situation {
    Situation {
        ask: Ask::Fast,
        reached: Strategy::Fast,
        failures: Failures::default(),
        elapsed: Duration::ZERO,
        give_up_after: Some(Duration::from_secs(120)),
        answered: None,
        rejoins: 0,
        other_address: false,
        online: true,
        fresh_token: true,
        delay: Some(Duration::ZERO),
    }
}

/// Every combination of the borders of everything.
fn situations() -> Vec<Situation> {
    let mut all = vec![calm()];
    let vary = |all: Vec<Situation>, with: &[&dyn Fn(&mut Situation)]| {
        let each = |s: Situation| {
            with.iter().map(move |change| {
                let mut s = s;
                change(&mut s);
                s
            })
        };
        all.into_iter().flat_map(each).collect::<Vec<_>>()
    };
    let asks = ASKS.map(|ask| move |s: &mut Situation| s.ask = ask);
    all = vary(all, &asks.each_ref().map(|f| f as &dyn Fn(&mut Situation)));
    let rungs = RUNGS.map(|rung| move |s: &mut Situation| s.reached = rung);
    all = vary(all, &rungs.each_ref().map(|f| f as &dyn Fn(&mut Situation)));
    let failures = [(0, 0), (2, 1), (3, 2), (9, 3)].map(|(fast, rest)| {
        let failures = Failures {
            fast,
            once: rest,
            token: rest,
            unreachable: rest,
        };
        move |s: &mut Situation| s.failures = failures
    });
    all = vary(
        all,
        &failures.each_ref().map(|f| f as &dyn Fn(&mut Situation)),
    );
    let answered = [None, Some(0), Some(5), Some(15), Some(29), Some(30)]
        .map(|at| move |s: &mut Situation| s.answered = at.map(Duration::from_secs));
    all = vary(
        all,
        &answered.each_ref().map(|f| f as &dyn Fn(&mut Situation)),
    );
    let elapsed = [
        (0, Some(120)),
        (119, Some(120)),
        (120, Some(120)),
        (9_999, None),
    ]
    .map(|(elapsed, limit): (u64, Option<u64>)| {
        move |s: &mut Situation| {
            s.elapsed = Duration::from_secs(elapsed);
            s.give_up_after = limit.map(Duration::from_secs);
        }
    });
    all = vary(
        all,
        &elapsed.each_ref().map(|f| f as &dyn Fn(&mut Situation)),
    );
    let rejoins = [0, 9, 10].map(|n| move |s: &mut Situation| s.rejoins = n);
    all = vary(
        all,
        &rejoins.each_ref().map(|f| f as &dyn Fn(&mut Situation)),
    );
    let flags = [false, true];
    let other = flags.map(|flag| move |s: &mut Situation| s.other_address = flag);
    all = vary(all, &other.each_ref().map(|f| f as &dyn Fn(&mut Situation)));
    let online = flags.map(|flag| move |s: &mut Situation| s.online = flag);
    all = vary(
        all,
        &online.each_ref().map(|f| f as &dyn Fn(&mut Situation)),
    );
    let token = flags.map(|flag| move |s: &mut Situation| s.fresh_token = flag);
    all = vary(all, &token.each_ref().map(|f| f as &dyn Fn(&mut Situation)));
    let delays = [None, Some(0), Some(5_000)]
        .map(|ms| move |s: &mut Situation| s.delay = ms.map(Duration::from_millis));
    vary(
        all,
        &delays.each_ref().map(|f| f as &dyn Fn(&mut Situation)),
    )
}

fn is_spent(s: &Situation) -> bool {
    s.give_up_after.is_some_and(|limit| s.elapsed >= limit)
        || s.answered
            .is_some_and(|spent| spent >= limits::VERDICT_WITHIN)
}

/// Each law by itself, over all of it: about 370,000 rows.
#[test]
fn every_combination_has_a_lawful_next_step_m15_m16() {
    let all = situations();
    assert_eq!(all.len(), 9 * 3 * 4 * 6 * 4 * 3 * 2 * 2 * 2 * 3);
    for s in &all {
        let step = plan(s);
        let refuses = match s.ask {
            Ask::Never => true,
            Ask::FastOnce => s.failures.once >= 2,
            Ask::Token => !s.fresh_token || s.failures.token > 2,
            Ask::Fast | Ask::Rejoin | Ask::Migrate | Ask::Later(_) | Ask::Unreachable => false,
        };
        assert_eq!(refuses, step == Step::GiveUp(Why::Cause), "{s:?}");
        if !refuses {
            assert!(!is_spent(s) || step == Step::GiveUp(Why::Deadline), "{s:?}");
            let paused = !is_spent(s) && !s.online;
            assert_eq!(paused, step == Step::AwaitNetwork, "{s:?}");
        }
        let Step::Try {
            strategy,
            after,
            waiting_for,
            within,
        } = step
        else {
            continue;
        };
        let given = s.give_up_after.map(|limit| limit - s.elapsed);
        let answer = s.answered.map(|spent| limits::VERDICT_WITHIN - spent);
        let rest = given
            .into_iter()
            .chain(answer)
            .min()
            .unwrap_or(Duration::MAX);
        assert!(after + within <= rest, "{s:?}: {step:?}");
        assert!(
            within <= bound(strategy) && within >= limits::ATTEMPT_MIN,
            "{s:?}: {step:?}"
        );
        assert!(
            strategy != Strategy::Migrate || s.other_address,
            "{s:?}: {step:?}"
        );
        assert!(
            strategy == Strategy::Fast || s.rejoins < limits::REJOIN_LIMIT,
            "{s:?}: {step:?}"
        );
        if s.ask != Ask::Unreachable && s.other_address {
            assert_eq!(
                higher(strategy, s.reached),
                strategy,
                "never down: {s:?}: {step:?}"
            );
        }
        let waits = match s.ask {
            Ask::Unreachable => Some(WaitingFor::Network),
            Ask::Later(_) => Some(WaitingFor::Server),
            Ask::Token => Some(WaitingFor::Token),
            Ask::Fast | Ask::FastOnce | Ask::Rejoin | Ask::Migrate | Ask::Never => None,
        };
        assert_eq!(waiting_for, waits, "{s:?}");
        if let Ask::Later(hint) = s.ask {
            assert!(after >= hint, "the server's hint is obeyed: {s:?}");
        }
    }
}

#[test]
fn the_ladder_goes_fast_rejoin_migrate_m15() {
    let strategy = |change: &dyn Fn(&mut Situation)| {
        let mut s = calm();
        s.other_address = true;
        change(&mut s);
        match plan(&s) {
            Step::Try { strategy, .. } => strategy,
            step @ (Step::AwaitNetwork | Step::GiveUp(_)) => panic!("{step:?}"),
        }
    };
    let at = |secs| strategy(&|s| s.answered = Some(Duration::from_secs(secs)));
    assert_eq!(
        [at(0), at(4), at(5), at(14), at(15), at(29)],
        [
            Strategy::Fast,
            Strategy::Fast,
            Strategy::Rejoin,
            Strategy::Rejoin,
            Strategy::Migrate,
            Strategy::Migrate,
        ]
    );
    let failed = |fast| strategy(&|s| s.failures.fast = fast);
    assert_eq!(
        [failed(0), failed(2), failed(3)],
        [Strategy::Fast, Strategy::Fast, Strategy::Rejoin]
    );
    assert_eq!(strategy(&|s| s.ask = Ask::Rejoin), Strategy::Rejoin);
    assert_eq!(strategy(&|s| s.ask = Ask::Migrate), Strategy::Migrate);
    assert_eq!(
        strategy(&|s| s.reached = Strategy::Rejoin),
        Strategy::Rejoin
    );
}
