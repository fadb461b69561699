//! The planner over every combination of what it looks at.

use super::*;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const RUNGS: [Rung; 4] = [Rung::Told, Rung::Keyframe, Rung::Anew, Rung::Restart];

fn flows() -> Vec<Flow> {
    let all = [0, 999, 1_000, 1_999, 2_000, 60_000].map(|silent| Flow::All { silent: ms(silent) });
    let rest = [
        Flow::Fine,
        Flow::Pending,
        Flow::Source,
        Flow::Line,
        Flow::Lost,
        Flow::Failed,
    ];
    rest.into_iter().chain(all).collect()
}

const SPANS: [u64; 9] = [0, 1, 499, 500, 999, 1_000, 2_000, 4_999, 5_000];

fn theres() -> Vec<There> {
    let nothing = [0, 1, 5_000, 40_000].map(|wait| There::Nothing { wait: ms(wait) });
    let opening = SPANS.map(|since| There::Opening { since: ms(since) });
    let mut all: Vec<There> = nothing.into_iter().chain(opening).collect();
    for flow in flows() {
        for rung in RUNGS {
            for since in SPANS {
                for rejoins in [0, 1, 9] {
                    for refreshable in [false, true] {
                        all.push(There::Open {
                            flow,
                            rung,
                            since: ms(since),
                            rejoins,
                            refreshable,
                        });
                    }
                }
            }
        }
    }
    all
}

/// Every combination of the borders of everything.
fn situations() -> Vec<Situation> {
    let mut all = Vec::new();
    for there in theres() {
        for bits in 0..8_u8 {
            for tried in [0, 1, 25_000, 29_999, 30_000, 90_000] {
                for opens in [0, 9, 10] {
                    all.push(Situation {
                        wanted: bits & 1 != 0,
                        signaled: bits & 2 != 0,
                        is_down: bits & 4 != 0,
                        there,
                        tried: ms(tried),
                        opens,
                    });
                }
            }
        }
    }
    all
}

const fn needs_signaling(step: Step) -> bool {
    match step {
        Step::Open
        | Step::Abandon
        | Step::Keyframe
        | Step::Anew
        | Step::Restart
        | Step::GiveUp(_)
        | Step::Wait(_) => true,
        Step::Rest | Step::AwaitSignaling | Step::Close => false,
    }
}

/// Each law by itself, over all of it: about 375,000 rows.
#[test]
fn every_combination_has_a_lawful_next_step_m15_m34() {
    let all = situations();
    assert_eq!(all.len(), (4 + 9 + 12 * 4 * 9 * 3 * 2) * 8 * 6 * 3);
    for s in &all {
        let step = plan(s);
        let is_open = !matches!(s.there, There::Nothing { .. });
        assert_eq!(step == Step::Close, !s.wanted && is_open, "{s:?}");
        if !s.wanted {
            continue;
        }
        let flow = match s.there {
            There::Open { flow, .. } => Some(flow),
            There::Nothing { .. } | There::Opening { .. } => None,
        };
        let is_well = matches!(flow, Some(Flow::Fine | Flow::Source));
        assert_eq!(step == Step::Rest, s.is_down || is_well, "{s:?}: {step:?}");
        if step == Step::Rest {
            continue;
        }
        assert_eq!(step == Step::AwaitSignaling, !s.signaled, "{s:?}");
        assert!(s.signaled || !needs_signaling(step), "{s:?}: {step:?}");
        if !s.signaled {
            continue;
        }
        let is_spent = s.tried >= limits::VERDICT_WITHIN;
        assert_eq!(step == Step::GiveUp(Why::Deadline), is_spent, "{s:?}");
        if let Step::Wait(span) = step {
            assert!(!span.is_zero(), "spins: {s:?}");
            assert!(s.tried + span <= limits::VERDICT_WITHIN, "{s:?}: {step:?}");
        }
        if s.opens >= limits::REJOIN_LIMIT {
            assert_ne!(step, Step::Open, "{s:?}");
        }
        match s.there {
            There::Nothing { .. } => assert!(
                matches!(step, Step::Open | Step::Wait(_) | Step::GiveUp(_)),
                "{s:?}: {step:?}"
            ),
            There::Opening { since } => {
                let late = !is_spent && since >= limits::MEDIA_CONNECT_WITHIN;
                assert_eq!(step == Step::Abandon, late, "{s:?}");
            }
            There::Open {
                flow,
                rung,
                since,
                rejoins,
                refreshable,
            } => {
                let next = match step {
                    Step::Keyframe => Some(Rung::Keyframe),
                    Step::Anew => Some(Rung::Anew),
                    Step::Restart => Some(Rung::Restart),
                    Step::Rest
                    | Step::AwaitSignaling
                    | Step::Wait(_)
                    | Step::Close
                    | Step::Open
                    | Step::Abandon
                    | Step::GiveUp(_) => None,
                };
                assert!(
                    next.is_none_or(|next| next > rung),
                    "never down: {s:?}: {step:?}"
                );
                assert_ne!(step, Step::Abandon, "{s:?}");
                if flow == Flow::Pending {
                    assert!(
                        next.is_none() && step != Step::Open,
                        "packets came back: {s:?}"
                    );
                }
                if matches!(next, Some(Rung::Keyframe | Rung::Anew)) {
                    assert!(refreshable, "nothing to be had: {s:?}");
                }
                if step == Step::Open {
                    let waited = since >= limits::MEDIA_RESTART_WITHIN;
                    assert!(rung == Rung::Restart && waited, "{s:?}");
                }
                if step == Step::GiveUp(Why::Exhausted) {
                    assert!(flow == Flow::Line && rejoins > 0, "{s:?}");
                }
            }
        }
    }
}

/// What a leg does about one trouble that nothing helps against: the steps, and when.
fn climbs(flow: impl Fn(Duration) -> Flow, refreshable: bool) -> Vec<(u64, Step)> {
    let mut steps = Vec::new();
    let (mut at, mut stepped, mut rung, mut rejoins) = (ms(0), ms(0), Rung::Told, 0);
    let mut opening: Option<Duration> = None;
    for _ in 0..1_000 {
        let there = match opening {
            Some(from) => There::Opening { since: at - from },
            None => There::Open {
                flow: flow(at),
                rung,
                since: at - stepped,
                rejoins,
                refreshable,
            },
        };
        let step = plan(&Situation {
            wanted: true,
            signaled: true,
            is_down: false,
            there,
            tried: at,
            opens: 0,
        });
        if let Step::Wait(span) = step {
            at += span;
            continue;
        }
        steps.push((u64::try_from(at.as_millis()).expect("short"), step));
        match step {
            Step::Keyframe => (rung, stepped) = (Rung::Keyframe, at),
            Step::Anew => (rung, stepped) = (Rung::Anew, at),
            Step::Restart => (rung, stepped) = (Rung::Restart, at),
            // It is connected at once, and nothing else is better.
            Step::Open => {
                (rung, stepped, opening) = (Rung::Told, at, None);
                rejoins += 1;
            }
            Step::Rest
            | Step::AwaitSignaling
            | Step::Wait(_)
            | Step::Close
            | Step::Abandon
            | Step::GiveUp(_) => return steps,
        }
    }
    panic!("it never ends: {steps:?}");
}

#[test]
fn everything_silent_goes_keyframe_anew_restart_at_two_seconds_then_a_new_transport_v02_v11() {
    // It is told after a second of silence.
    let steps = climbs(
        |at| Flow::All {
            silent: at + ms(1_000),
        },
        true,
    );
    assert_eq!(
        steps[..5],
        [
            (0, Step::Keyframe),
            (500, Step::Anew),
            (1_000, Step::Restart),
            (6_000, Step::Open),
            (6_000, Step::Keyframe),
        ]
    );
    assert_eq!(steps.last(), Some(&(30_000, Step::GiveUp(Why::Deadline))));
}

#[test]
fn a_transport_that_says_it_is_lost_is_restarted_at_once_v02() {
    for flow in [Flow::Lost, Flow::Failed] {
        let steps = climbs(|_| flow, true);
        assert_eq!(steps[..2], [(0, Step::Restart), (5_000, Step::Open)]);
        assert_eq!(steps.last(), Some(&(30_000, Step::GiveUp(Why::Deadline))));
    }
}

#[test]
fn one_line_beside_others_is_refreshed_before_the_rest_is_disturbed_v11() {
    let steps = climbs(|_| Flow::Line, true);
    let once = [
        (0, Step::Keyframe),
        (1_000, Step::Anew),
        (3_000, Step::Restart),
        (8_000, Step::Open),
        (8_000, Step::Keyframe),
        (9_000, Step::Anew),
        (11_000, Step::Restart),
        (16_000, Step::GiveUp(Why::Exhausted)),
    ];
    assert_eq!(steps, once, "and no more than once");
}

#[test]
fn what_the_server_does_not_have_is_not_asked_of_it() {
    let steps = climbs(
        |at| Flow::All {
            silent: at + ms(1_000),
        },
        false,
    );
    assert_eq!(steps[..2], [(1_000, Step::Restart), (6_000, Step::Open)]);
}
