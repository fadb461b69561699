//! What counts as lost, and what does not.

use super::*;

#[test]
pub(crate) fn silence_is_told_a_second_after_it_was_seen_and_status_never_says_up_v02() {
    let mut screen = Screen::showing();
    screen.comes.insert("0".into(), SILENT);
    screen.pass(millis(900));
    assert!(screen.told().is_empty());
    screen.pass(millis(350));
    assert_eq!(screen.told(), ["lost media_stalled"]);
    let fault = screen.fault_told();
    assert_eq!(fault.detail["participant"], other().as_str());
    assert_eq!(fault.detail["track"], "camera");
    assert_eq!(fault.detail["side"], "client");
    assert_eq!(screen.rig.state(), &State::Recovering);
    screen.pass(secs(10));
    assert_eq!(screen.told().len(), 1, "once");
    assert_eq!(screen.rig.state(), &State::Recovering);
}

#[test]
pub(crate) fn a_line_that_never_comes_is_told_from_the_join_on() {
    let mut screen = Screen::opening();
    screen.publish(&other(), "camera");
    screen.connected(1);
    screen.lines(1, &[("0", other(), "camera")]);
    screen.comes.insert("0".into(), SILENT);
    screen.pass(millis(1_900));
    assert!(screen.told().is_empty(), "a camera takes its time");
    screen.pass(millis(400));
    assert_eq!(screen.told(), ["lost media_stalled"]);
}

#[test]
pub(crate) fn packets_without_pictures_are_told_as_frozen_v11_m36() {
    let mut screen = Screen::showing();
    screen.comes.insert("0".into(), FROZEN);
    screen.pass(millis(1_300));
    assert_eq!(screen.told(), ["lost media_stalled"]);
    assert_eq!(screen.fault_told().detail["frozen"], true);
}

#[test]
pub(crate) fn sound_needs_no_pictures() {
    let mut screen = Screen::showing();
    screen.publish(&other(), "microphone");
    screen.lines(1, &[("0", other(), "camera"), ("1", other(), "microphone")]);
    screen.comes.insert("1".into(), SOUND);
    screen.pass(secs(10));
    assert!(screen.told().is_empty());
}

#[test]
pub(crate) fn what_is_muted_or_gone_is_not_expected_v11() {
    let mut screen = Screen::showing();
    screen.mute(&other(), "camera", true);
    screen.comes.insert("0".into(), SILENT);
    screen.pass(secs(10));
    assert!(screen.told().is_empty(), "its silence is meant");
    screen.mute(&other(), "camera", false);
    screen.pass(millis(900));
    assert!(screen.told().is_empty(), "silence counts from then");
    screen.pass(millis(600));
    assert_eq!(screen.told(), ["lost media_stalled"]);
    screen.log(
        "track.unpublished",
        &json!({"participant": other(), "track": "camera"}),
    );
    assert_eq!(screen.told().len(), 2, "{:?}", screen.told());
    assert_eq!(screen.rig.state(), &State::Live);
}

/// A picture a second, as a screen that stands still is sent.
#[test]
pub(crate) fn a_line_that_is_slow_by_nature_is_not_silent() {
    let mut screen = Screen::showing();
    for ms in [400, 600, 800] {
        screen.comes.insert("0".into(), SILENT);
        screen.pass(millis(ms));
        screen.comes.insert("0".into(), FLOWS);
        screen.pass(millis(250));
    }
    for _ in 0..20 {
        screen.comes.insert("0".into(), SILENT);
        screen.pass(millis(750));
        screen.comes.insert("0".into(), FLOWS);
        screen.pass(millis(250));
    }
    assert!(screen.told().is_empty());
    screen.comes.insert("0".into(), SILENT);
    screen.pass(millis(1_300));
    assert!(screen.told().is_empty(), "that is its way");
    screen.pass(secs(4));
    assert_eq!(screen.told(), ["lost media_stalled"]);
}

/// A tab in the background looks once a second, or hardly at all.
#[test]
pub(crate) fn who_does_not_look_has_seen_no_silence_p05() {
    let mut screen = Screen::showing();
    screen.blind = true;
    screen.pass(secs(20));
    assert!(screen.told().is_empty());
    screen.look(1);
    screen.collect();
    screen.pass(secs(20));
    screen.comes.insert("0".into(), SILENT);
    screen.look(1);
    screen.collect();
    assert!(screen.told().is_empty(), "one look is no silence");
    screen.blind = false;
    screen.pass(secs(1));
    assert_eq!(screen.told(), ["lost media_stalled"]);
}

#[test]
pub(crate) fn a_machine_that_slept_has_seen_no_silence_p02_p03() {
    let mut screen = Screen::showing();
    screen.comes.insert("0".into(), SILENT);
    screen.pass(millis(800));
    let later = screen.rig.now.mono + secs(3_600);
    screen.rig.set(later);
    screen.rig.input(Input::Tick);
    screen.collect();
    screen.comes_back(Some(1));
    screen.pass(millis(800));
    assert!(screen.told().is_empty(), "{:?}", screen.told());
    screen.pass(millis(500));
    assert_eq!(screen.told(), ["lost media_stalled"]);
}

#[test]
pub(crate) fn silence_at_its_source_is_told_and_not_repaired_here() {
    let mut screen = Screen::showing();
    screen.stalled(&[(other(), "camera")]);
    screen.comes.insert("0".into(), SILENT);
    screen.pass(secs(60));
    assert_eq!(screen.told(), ["lost media_stalled"]);
    assert_eq!(screen.names(), ["open 1"]);
    assert!(screen.refreshes().is_empty());
    assert_eq!(screen.rig.state(), &State::Degraded);
    screen.stalled(&[]);
    screen.comes.insert("0".into(), FLOWS);
    screen.pass(millis(500));
    assert_eq!(screen.told(), ["lost media_stalled", "back Fast 0"]);
    assert_eq!(screen.rig.state(), &State::Live);
}

/// Two cameras: one is silent at its source, then the way to here breaks too.
#[test]
pub(crate) fn another_trouble_behind_one_of_a_source_is_told_and_repaired_m14() {
    let mut screen = Screen::showing();
    screen.publish(&me(), "camera");
    screen.lines(1, &[("0", other(), "camera"), ("1", me(), "camera")]);
    screen.comes.insert("1".into(), FLOWS);
    screen.stalled(&[(other(), "camera")]);
    screen.comes.insert("0".into(), SILENT);
    screen.pass(secs(5));
    screen.comes.insert("1".into(), SILENT);
    screen.pass(secs(2));
    assert_eq!(screen.told(), ["lost media_stalled", "lost media_stalled"]);
    assert_eq!(screen.refreshes()[0], (vec!["1".to_owned()], false));
    assert_eq!(screen.rig.state(), &State::Recovering);
    screen.comes.insert("1".into(), FLOWS);
    screen.pass(secs(1));
    assert_eq!(screen.rig.state(), &State::Degraded, "the source still is");
    screen.comes.insert("0".into(), FLOWS);
    screen.stalled(&[]);
    screen.pass(secs(1));
    assert_eq!(screen.told().len(), 3);
    assert_eq!(screen.rig.state(), &State::Live);
}

#[test]
pub(crate) fn who_only_publishes_is_told_by_the_server_and_by_the_transport() {
    let mut screen = Screen::opening();
    screen.publish(&me(), "camera");
    screen.connected(1);
    screen.stalled(&[(me(), "camera")]);
    assert_eq!(screen.told(), ["lost media_stalled"]);
    assert_eq!(screen.rig.state(), &State::Degraded);
    screen.pass(secs(20));
    assert_eq!(
        screen.names(),
        ["open 1"],
        "a camera may be covered for long"
    );
    screen.is(1, TransportState::Disconnected);
    assert_eq!(screen.names()[1..], ["restart 1"]);
    assert_eq!(screen.rig.state(), &State::Recovering);
    screen.connected(1);
    screen.stalled(&[]);
    assert_eq!(
        screen.told(),
        ["lost media_stalled", "back Fast 1"],
        "one loss, whoever saw it"
    );
}

/// One camera is silent at its source; another falls silent meanwhile, and its owner leaves.
#[test]
pub(crate) fn what_fell_silent_meanwhile_is_not_back_because_its_source_is_m19() {
    let mut screen = Screen::showing();
    screen.publish(&me(), "camera");
    screen.lines(1, &[("0", other(), "camera"), ("1", me(), "camera")]);
    screen.comes.insert("1".into(), SILENT);
    screen.stalled(&[(me(), "camera")]);
    screen.pass(secs(3));
    screen.stalled(&[(me(), "camera"), (other(), "camera")]);
    screen.comes.insert("0".into(), SILENT);
    screen.comes.insert("1".into(), FLOWS);
    screen.pass(secs(3));
    screen.stalled(&[]);
    screen.pass(millis(500));
    let back = |screen: &Screen| screen.told().iter().any(|told| told.starts_with("back"));
    assert!(!back(&screen), "{:?}", screen.told());
    screen.comes.insert("0".into(), FLOWS);
    screen.pass(millis(500));
    assert!(back(&screen), "{:?}", screen.told());
}
