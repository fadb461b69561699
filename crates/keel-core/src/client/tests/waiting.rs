//! Waits between tries: as the server paces them, and as long as it is away.

use super::*;
use crate::limits;

fn paced(pace_ms: u64) -> Beat {
    Beat {
        n: seq(1),
        seq: Seq::ZERO,
        suspect_ms: None,
        pace_ms: Some(pace_ms),
    }
}

#[test]
pub(super) fn a_crowd_that_is_lost_again_is_spread_again_n23() {
    let mut rig = Rig::live();
    rig.frame(ConnId(1), paced(1_500));
    rig.closed(ConnId(1), ConnEnd::Reset);
    rig.pass(Duration::from_millis(1_510));
    let conn = rig.answer(Joined::Resumed, 0, 0);
    rig.frame(conn, paced(1_500));
    let before = rig.dials().len();
    rig.closed(conn, ConnEnd::Reset);
    rig.pass(Duration::from_millis(1_490));
    assert_eq!(
        rig.dials().len(),
        before,
        "it brought no progress, and waits all the same"
    );
    rig.pass(Duration::from_millis(20));
    assert_eq!(rig.dials().len(), before + 1);
}

#[test]
fn few_clients_ask_often_for_a_server_that_is_away_and_a_crowd_does_not_m28() {
    let tries_in_a_minute = |pace_ms| {
        let mut rig = Rig::live();
        rig.frame(ConnId(1), paced(pace_ms));
        rig.closed(ConnId(1), ConnEnd::Reset);
        let lost_at = rig.now.mono;
        let (mut last, mut longest) = (ConnId(1), Duration::ZERO);
        let mut asked_at = lost_at;
        while rig.now.mono.since(lost_at) < secs(60) {
            rig.pass(Duration::from_millis(10));
            let dialled = rig.dials().last().map(|(conn, _)| *conn);
            let Some(conn) = dialled.filter(|conn| *conn != last) else {
                continue;
            };
            let down = asked_at.since(lost_at);
            let waited = rig.now.mono.since(asked_at);
            if pace_ms == 0 {
                let most = limits::BACKOFF_FEW.max((down + waited) / limits::BACKOFF_FEW_SHARE);
                assert!(waited <= most + Duration::from_millis(10), "{waited:?}");
            }
            (last, asked_at) = (conn, rig.now.mono);
            longest = longest.max(waited);
            rig.closed(conn, refused());
        }
        (rig.dials().len(), longest)
    };
    let (few, longest) = tries_in_a_minute(0);
    assert!((40..200).contains(&few), "{few}");
    assert!(
        longest <= secs(60) / limits::BACKOFF_FEW_SHARE,
        "{longest:?}"
    );
    let (crowd, longest) = tries_in_a_minute(10);
    assert!(crowd < 60, "{crowd}");
    assert!(longest > limits::BACKOFF_FEW * 4, "{longest:?}");
}
