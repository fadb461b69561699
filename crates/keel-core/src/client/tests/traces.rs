//! Recorded traces: what the machine puts out for what comes in, for clients in other languages.
//!
//! The scenarios are the tests beside this file and some random walks, run under a recorder. Whoever
//! ports the machine feeds it the same inputs, and must get the same outputs and deadlines from the
//! same seed. `spec/traces` is checked here: `EVENKEEL_WRITE_TRACES=1` writes it anew.

mod json;
mod media;
mod scenarios;

use std::{cell::RefCell, fmt::Write, fs, path::PathBuf};

use keel_wire::limits::FRAME_OUT_BYTES_MAX;
use serde_json::{Value, json};

use super::{property::Act, *};

/// What one client was told, and what it did.
#[derive(Debug)]
struct Trace {
    config: Value,
    seed: u64,
    steps: Vec<Value>,
    /// Messages that are the JSON parser's: another one has words of its own.
    own_words: Vec<String>,
    end: Value,
}

thread_local! {
    /// The traces of the scenario that is recorded on this thread, if one is.
    static RECORDED: RefCell<Option<Vec<Trace>>> = const { RefCell::new(None) };
}

/// A new client; its place among those of the scenario.
pub(super) fn begin(config: &Config, seed: u64) -> Option<usize> {
    RECORDED.with_borrow_mut(|recorded| {
        let traces = recorded.as_mut()?;
        traces.push(Trace {
            config: json::config(config),
            seed,
            steps: Vec::new(),
            own_words: Vec::new(),
            end: Value::Null,
        });
        Some(traces.len() - 1)
    })
}

/// One input, and the outputs that it had.
pub(super) fn step(trace: Option<usize>, client: &Client, now: Now, input: &Input, out: &[Output]) {
    RECORDED.with_borrow_mut(|recorded| {
        let trace = trace.and_then(|at| recorded.as_mut()?.get_mut(at));
        let Some(trace) = trace else { return };
        if let Input::Frame { bytes, .. } = input
            && let Err(error) = ServerFrame::decode(bytes, FRAME_OUT_BYTES_MAX)
        {
            trace.own_words.push(error.to_string());
        }
        for output in out {
            if let Output::Event(Event::ProtocolNotice(Notice::MalformedEvent {
                message, ..
            })) = output
            {
                trace.own_words.push(message.clone());
            }
        }
        let next = client
            .deadline()
            .map(|deadline| json!([deadline.at.micros(), deadline.why]));
        trace.steps.push(json!({
            "at": [now.mono.micros(), now.wall],
            "in": json::input(input),
            "out": out.iter().map(json::output).collect::<Vec<_>>(),
            "next": next,
        }));
        trace.end = json!({
            "cursor": client.cursor(),
            "duplicates": client.duplicates(),
            "resume": client.resume_state(),
            "snapshot": client.snapshot(),
            "status": client.status(),
        });
    });
}

fn record(name: &str, scenario: impl FnOnce()) -> String {
    RECORDED.set(Some(Vec::new()));
    scenario();
    let traces = RECORDED.take().unwrap_or_default();
    let mut text = String::new();
    for (n, trace) in traces.iter().enumerate() {
        let head = json!({
            "scenario": name, "client": n, "seed": trace.seed, "config": trace.config,
            "own_words": trace.own_words, "steps": trace.steps.len(), "end": trace.end,
        });
        writeln!(text, "{head}").expect("writing to memory");
        for step in &trace.steps {
            writeln!(text, "{step}").expect("writing to memory");
        }
    }
    text
}

/// Compares with the file, or writes it.
fn check(file: &str, text: &str) {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/traces"));
    let path = folder.join(format!("{file}.jsonl"));
    if std::env::var_os("EVENKEEL_WRITE_TRACES").is_some_and(|value| value == "1") {
        fs::create_dir_all(&folder).expect("spec can be written");
        fs::write(&path, text).expect("spec can be written");
        return;
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    let same = there
        .lines()
        .zip(text.lines())
        .take_while(|(there, fresh)| there == fresh)
        .count();
    assert!(
        there == text,
        "{} is stale from line {}: EVENKEEL_WRITE_TRACES=1 cargo test -p keel-core traces",
        path.display(),
        same + 1
    );
}

macro_rules! traces {
    ($( $test:ident: $module:ident { $($scenario:ident)+ } )+) => { $(
        #[test]
        fn $test() {
            let mut text = String::new();
            $( text += &record(stringify!($scenario), $module::$scenario); )+
            check(stringify!($module), &text);
        }
    )+ };
}

traces! {
    commands_are_as_recorded: commands {
        commands_wait_in_the_outbox_and_go_in_order_m27
        only_what_the_server_did_not_take_is_sent_again_m5_e12
        a_time_to_live_ends_what_was_never_sent_and_travels_with_the_rest_m27
        giving_up_answers_every_command_with_the_cause_m5
        no_more_are_under_way_than_the_server_takes
        commands_of_a_participation_that_is_gone_are_unknown_and_the_rest_goes_on
        what_the_server_no_longer_knows_is_unknown_and_not_refused_e12
    }
    connecting_is_as_recorded: connecting {
        a_first_connect_says_hello_joins_replays_and_is_live_m13
        a_close_at_each_phase_fails_connect_at_once_with_code_and_phase_m2_e2
        refusal_and_close_before_anything_is_sent_are_one_fault_e1_m1_m8
        a_refusal_whose_close_is_eaten_is_told_within_50_ms_m1_m38
        a_write_error_does_not_hide_the_refusal_behind_it_m1_m43
        no_phase_of_connect_is_without_a_deadline_m3
        an_unreachable_server_is_tried_again_only_where_that_is_wanted_m8
        a_failed_client_can_be_connected_again_e4_m15
        a_stored_resume_state_goes_on_where_the_other_was
        a_token_that_expires_is_refreshed_on_the_connection_in_line_too_p11
    }
    ending_is_as_recorded: ending {
        deliberate_ends_are_quiet_and_not_recovered_m18_e9
        a_session_whose_log_has_ended_is_not_recovered_m18
        detaching_waits_a_second_for_the_servers_word_m12
        closing_is_the_last_word_wherever_it_comes_e7_m12
        every_transport_asked_for_is_dropped_or_gone_at_the_end_m35
    }
    the_log_is_as_recorded: log {
        events_are_applied_in_order_and_once_e12
        a_hole_is_never_passed_over_m26
        text_that_was_put_together_meanwhile_is_cut_to_what_is_new_e12
        a_gap_is_told_and_its_snapshot_stands_in_m26
        events_of_another_epoch_wait_for_its_snapshot
        who_is_told_something_is_heard_at_least_once_a_second_n09
        applied_events_are_acknowledged_now_and_then
        what_is_not_known_is_told_raw_and_what_is_broken_is_broken_off_m44
        a_replay_is_waited_for_longer_than_an_event_is
    }
    losing_is_as_recorded: losing {
        a_loss_is_told_once_and_recovered_at_once_m10
        the_servers_word_beats_the_close_after_it_m1
        a_fault_that_ends_nothing_is_news_and_no_cause_later_m7
        a_first_fast_that_fails_is_not_the_end_e4
        a_transport_that_dies_before_recovery_is_done_is_not_forgotten_m14_e5
        without_a_server_no_rung_is_spent_until_the_window_closes_m15
        a_server_that_hangs_gets_a_verdict_within_30_s_m15_m16
        terminal_refusals_are_not_retried_whatever_the_digits_in_their_text_m6_e15
        the_servers_hint_is_waited_for_and_spends_no_rung_e14
        an_expired_token_is_fetched_anew_twice_without_progress_m42_e15
        a_token_that_expires_in_front_of_a_fixed_one_is_the_callers_matter_m42
        retries_pause_while_offline_and_go_on_at_once_after
        broken_frames_end_a_session_only_the_second_time_without_progress
        an_unannounced_normal_close_is_told_and_not_repeated
        a_flapping_connection_ends_with_the_limiter_which_success_does_not_reset_m28_m33
        back_off_is_reset_by_progress_or_by_a_connection_that_lasted_m28
        the_last_beats_pace_spreads_the_first_retry
        preset_tables_give_up_with_their_own_total_m28
        known_addresses_take_turns_while_nobody_answers
        a_wait_of_five_seconds_is_told
        connections_that_die_in_their_replay_are_not_come_back_to_at_once_n21
        what_is_said_of_media_is_not_why_a_connection_ends
    }
    migrating_is_as_recorded: migrating {
        a_move_keeps_the_old_path_until_the_new_welcome_m17
        an_old_path_superseded_by_the_move_is_no_loss_m17_m20
        a_loss_during_a_move_is_a_loss_m14
        a_token_that_expires_during_a_move_is_fetched_before_the_next_hello_m42
        a_target_that_does_not_answer_costs_nothing_while_the_old_place_stands_m17
        a_goaway_during_recovery_is_honoured_e9_m14
        a_goaway_without_a_target_names_the_cause_of_the_close
        who_comes_back_to_a_server_that_has_handed_the_session_over_follows_it_m17
        a_first_connect_is_directed_to_where_the_session_is_m17
        servers_that_send_a_client_to_one_another_are_not_followed_for_ever_m17_m33
    }
    statuses_are_as_recorded: statuses {
        legs_of_the_server_make_the_state_m31_m37
        the_status_is_told_when_it_changes_and_not_when_time_passes_m31_m40
        leaving_while_lost_is_not_shown_as_live
    }
    corners_are_as_recorded: scenarios {
        a_whole_log
        text_of_many_bytes_is_cut
        a_loss_by_a_dropped_attempt_is_no_takeover
        many_witnesses_of_one_end
        a_pace_has_a_bound
        a_place_in_line
        an_outage_of_a_server_with_few_clients
        what_is_injected_is_shown
    }
    suspecting_is_as_recorded: suspecting {
        silence_starts_a_second_connection_beside_the_first_m11_m29_e3
        a_connection_that_speaks_again_is_kept_and_the_attempt_dropped_m34_e6
        speaking_again_after_the_other_said_hello_waits_for_its_answer_e6
        a_connection_that_the_server_gave_up_meanwhile_is_lost_once_p02_n04_m10
        a_takeover_by_another_tab_is_for_good
        beats_are_answered_with_the_cursor_and_change_what_silence_means
        a_loss_on_a_living_link_shows_at_the_next_beats
        a_half_open_connection_is_found_by_its_silence_m29
        a_dropped_transport_goes_the_way_of_a_real_one_m39
        a_machine_that_slept_looks_first_and_gives_up_nothing_for_it_p02_p03
        sleeping_during_a_recovery_costs_no_attempt_and_no_verdict_p02
        a_frame_that_comes_after_a_pause_is_life_p05
        a_probe_suspects_what_is_overdue_and_nothing_else
        a_probe_goes_by_what_the_last_beat_said
    }
    waiting_is_as_recorded: waiting {
        a_crowd_that_is_lost_again_is_spread_again_n23
    }
}

/// Walks, and the steps of one.
const WALKS: u64 = 24;
const WALK_STEPS: u64 = 48;

#[test]
fn random_walks_are_as_recorded() {
    let mut text = String::new();
    for seed in 0..WALKS {
        let mut mint = Mint::new(seed);
        let mut acts = vec![
            Act::Connect,
            Act::Opened(0),
            Act::Frame(0, 0, 0),
            Act::Frame(0, 5, 0),
        ];
        acts.extend((0..WALK_STEPS).map(|_| act(&mut mint)));
        let mut config = config();
        match seed % 6 {
            0 => config.token = TokenSource::Fetched,
            1 => config.retry_first_connect = true,
            2 => config.addresses.push("wss://c".into()),
            3 => config.backoff = Backoff::seed_d(),
            4 => config.give_up_after = Some(Duration::ZERO),
            _ => {}
        }
        text += &record(&format!("walk {seed}"), || property::run(acts, config));
    }
    check("walks", &text);
}

fn act(mint: &mut Mint) -> Act {
    let byte = |mint: &mut Mint| u8::try_from(mint.below(256)).expect("below 256");
    let conn = |mint: &mut Mint| u8::try_from(mint.below(5) / 2).expect("below 3");
    match mint.below(72) {
        0..3 => Act::Connect,
        3..11 => Act::Opened(conn(mint)),
        11..35 => Act::Frame(conn(mint), byte(mint), mint.below(12)),
        35..37 => Act::Garbage(conn(mint), br#"{"type":"beat","n":"#.to_vec()),
        37..45 => Act::Closed(conn(mint), byte(mint)),
        45..51 => Act::Command(byte(mint)),
        51..54 => Act::Token(mint.below(2) == 0),
        54..56 => Act::Network(mint.below(2) == 0),
        56..58 => Act::Probe,
        58 if mint.below(4) == 0 => Act::Detach,
        58 | 59 => Act::Simulate(byte(mint)),
        60..69 => Act::Tick(byte(mint)),
        _ => Act::Jump(
            u32::try_from(mint.below(20_000_000)).expect("below"),
            u32::try_from(mint.below(90_000)).expect("below"),
        ),
    }
}
