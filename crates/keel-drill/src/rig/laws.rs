//! What must hold of a client's lines, whatever was broken; and of a row's figures.

use crate::{
    ledger::{Line, Seen},
    results::Row,
};

pub(super) fn is_text(line: &Line) -> bool {
    matches!(&line.what, Seen::Event { kind, .. } if kind == "text")
}

/// Holds what was measured against what was promised.
pub(super) fn sum_up(row: &mut Row) {
    let mut wrong = Vec::new();
    let times = [
        ("told", row.told_ms, row.told_bound_ms),
        ("recovered", row.recovered_ms, row.recovered_bound_ms),
    ];
    for (what, ms, bound) in times {
        match (ms, bound) {
            (None, Some(_)) => wrong.push(format!("it was not measured when it {what}")),
            (Some(ms), Some(bound)) if ms > bound => wrong.push(format!("{what} late: {ms} ms")),
            (Some(_) | None, Some(_) | None) => {}
        }
    }
    if row.outcome.as_ref() != Some(&row.expected_outcome) {
        wrong.push(format!("outcome {:?}", row.outcome));
    }
    if row.cause != row.expected_cause {
        wrong.push(format!("told as {:?}", row.cause));
    }
    let (lost, twice, mixed, silent) = (row.lost, row.duplicated, row.reordered, row.silent);
    if lost + twice + mixed + silent > 0 {
        wrong.push(format!(
            "lost {lost}, duplicated {twice}, reordered {mixed}, silent {silent}"
        ));
    }
    row.wrong.extend(wrong);
    row.pass = row.wrong.is_empty();
}

pub(super) fn losses(lines: &[Line], since: u64) -> usize {
    let lost = |line: &&Line| matches!(line.what, Seen::Lost { .. }) && line.t + 2 >= since;
    lines.iter().filter(lost).count()
}

/// A status that cannot be true: all is well, and something is wrong; or the other way round.
pub(super) fn dishonest(lines: &[Line]) -> Option<String> {
    lines.iter().find_map(|line| match &line.what {
        Seen::Status {
            state,
            code: Some(code),
            ..
        } if state == "live" => Some(format!("live with {code}")),
        Seen::Status {
            state, code: None, ..
        } if ["degraded", "recovering", "failed"].contains(&state.as_str()) => {
            Some(format!("{state} without a cause"))
        }
        _ => None,
    })
}

/// Waits of more than 5 s, from a loss to its end, in which nothing was said.
pub(super) fn silences(lines: &[Line]) -> u64 {
    let mut silent = 0;
    let mut waiting_since = None;
    for line in lines {
        if let Some(since) = waiting_since {
            // Half a second for a busy machine to say it.
            silent += u64::from(line.t.saturating_sub(since) > 5_500);
            waiting_since = Some(line.t);
        }
        match line.what {
            Seen::Lost { .. } | Seen::MediaLost { .. } => waiting_since = Some(line.t),
            Seen::Recovered { .. }
            | Seen::MediaRecovered { .. }
            | Seen::Failed { .. }
            | Seen::Ended { .. } => {
                waiting_since = None;
            }
            _ => {}
        }
    }
    silent
}

/// Of the spans between two texts.
pub(super) fn p99(lines: &[Line], from: u64, to: u64) -> u64 {
    let texts = lines
        .iter()
        .filter(|line| (from..to).contains(&line.t) && is_text(line));
    let times: Vec<u64> = texts.map(|line| line.t).collect();
    let mut gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_unstable();
    gaps.get((gaps.len() * 99).div_ceil(100).saturating_sub(1))
        .copied()
        .unwrap_or(0)
}

/// The longest span between two pictures, in milliseconds.
pub(super) fn picture_gap(lines: &[Line], from: u64, to: u64) -> u64 {
    let shown = lines
        .iter()
        .filter(|line| matches!(line.what, Seen::Frame { .. }) && (from..to).contains(&line.t));
    let times: Vec<u64> = shown.map(|line| line.t).collect();
    let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
    gaps.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(t: u64, what: serde_json::Value) -> Line {
        let mut line = what;
        line["t"] = t.into();
        serde_json::from_value(line).unwrap()
    }

    fn lost(t: u64) -> Line {
        line(
            t,
            json!({ "is": "lost", "code": "transport_error", "id": "f-1", "detail": null }),
        )
    }

    fn recovered(t: u64) -> Line {
        line(
            t,
            json!({ "is": "recovered", "strategy": "fast", "attempts": 1, "lost_ms": 1, "replayed": 0 }),
        )
    }

    fn waiting(t: u64) -> Line {
        line(
            t,
            json!({ "is": "still_waiting", "because": "recovering", "for_ms": 5_000 }),
        )
    }

    fn status(state: &str, code: Option<&str>) -> Line {
        line(0, json!({ "is": "status", "state": state, "code": code }))
    }

    #[test]
    fn a_wait_is_silent_when_nothing_is_said_for_too_long() {
        assert_eq!(silences(&[lost(0), waiting(5_000), recovered(9_000)]), 0);
        assert_eq!(silences(&[lost(0), recovered(9_000)]), 1);
        assert_eq!(silences(&[recovered(0), lost(9_000)]), 0, "nobody waits");
    }

    #[test]
    fn a_status_is_honest_when_it_has_a_cause_just_where_something_is_wrong() {
        assert_eq!(
            dishonest(&[status("live", None), status("degraded", Some("internal"))]),
            None
        );
        assert!(dishonest(&[status("live", Some("internal"))]).is_some());
        assert!(dishonest(&[status("recovering", None)]).is_some());
    }

    #[test]
    fn a_figure_that_is_missing_is_as_wrong_as_one_that_is_late() {
        let row = |told_ms| Row {
            expected_outcome: "recovered".to_owned(),
            outcome: Some("recovered".to_owned()),
            told_bound_ms: Some(250.),
            told_ms,
            ..Row::default()
        };
        for (told_ms, pass) in [(Some(250.), true), (Some(251.), false), (None, false)] {
            let mut row = row(told_ms);
            sum_up(&mut row);
            assert_eq!(row.pass, pass, "{told_ms:?}: {:?}", row.wrong);
        }
    }
}
