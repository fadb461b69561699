//! The traces of the media leg, in files of their own.

use super::{property, *};
use crate::client::tests::media::{losing, opening, repairing};

macro_rules! traces {
    ($( $test:ident: $file:literal $module:ident { $($scenario:ident)+ } )+) => { $(
        #[test]
        fn $test() {
            let mut text = String::new();
            $( text += &record(stringify!($scenario), $module::$scenario); )+
            check($file, &text);
        }
    )+ };
}

traces! {
    opening_media_is_as_recorded: "media-opening" opening {
        a_transport_is_opened_once_it_stands_and_closed_when_unwanted
        what_is_wanted_and_unwanted_often_does_not_meet_the_limiter_m33
        media_goes_on_while_signaling_is_lost_and_found_m37_e13
        a_server_that_forgot_it_is_given_another_at_once_m19
        a_transport_has_a_number_above_all_that_the_server_knows
        a_move_keeps_the_old_transport_until_the_new_one_stands_m17
        a_move_whose_transport_does_not_come_is_bounded_and_told_m17
        every_end_closes_the_transport_and_nothing_follows_e7_m35
        what_is_wanted_outlasts_a_session_that_failed
        what_is_said_of_other_transports_passes_nobody
    }
    losing_media_is_as_recorded: "media-losing" losing {
        silence_is_told_a_second_after_it_was_seen_and_status_never_says_up_v02
        a_line_that_never_comes_is_told_from_the_join_on
        packets_without_pictures_are_told_as_frozen_v11_m36
        sound_needs_no_pictures
        what_is_muted_or_gone_is_not_expected_v11
        a_line_that_is_slow_by_nature_is_not_silent
        who_does_not_look_has_seen_no_silence_p05
        a_machine_that_slept_has_seen_no_silence_p02_p03
        silence_at_its_source_is_told_and_not_repaired_here
        another_trouble_behind_one_of_a_source_is_told_and_repaired_m14
        who_only_publishes_is_told_by_the_server_and_by_the_transport
        what_fell_silent_meanwhile_is_not_back_because_its_source_is_m19
    }
    repairing_media_is_as_recorded: "media-repairing" repairing {
        a_keyframe_then_anew_then_a_restart_at_two_seconds_v02_v11
        packets_that_come_back_stop_the_climb_m34_e6
        a_transport_that_says_it_is_lost_is_restarted_at_once_v02
        packets_are_believed_more_than_the_transport_m34
        one_silent_line_beside_others_disturbs_them_last_v11
        a_way_that_is_blocked_gets_a_verdict_in_thirty_seconds_v01_m16
        what_was_given_up_is_tried_again_when_something_changes
        what_the_server_says_of_a_transport_is_its_end
        a_server_that_takes_no_media_is_believed_at_once
        a_loss_during_a_recovery_is_not_lost_m14_e5
        without_signaling_it_waits_and_says_so_m37_e13
        what_a_new_transport_does_not_bring_back_is_named_m19_e8
        what_came_over_a_transport_that_broke_is_waited_for_on_the_next_m19
        a_track_that_came_on_two_lines_is_missed_once_m19
        an_own_track_that_does_not_arrive_costs_one_restart
        a_leg_that_flaps_ends_with_the_limiter_which_success_does_not_reset_m33
    }
}

#[test]
fn random_walks_with_media_are_as_recorded() {
    let mut text = String::new();
    for seed in 0..WALKS {
        let mut mint = Mint::new(1_000 + seed);
        let mut acts = property::media::prefix();
        acts.extend((0..WALK_STEPS * 2).map(|_| act(&mut mint)));
        text += &record(&format!("media walk {seed}"), || {
            property::run(acts, config())
        });
    }
    check("media-walks", &text);
}

/// Mostly about media: losses, lines, looks, and time.
fn act(mint: &mut Mint) -> Act {
    let byte = |mint: &mut Mint| u8::try_from(mint.below(256)).expect("below 256");
    let back = |mint: &mut Mint| u8::try_from(mint.below(4) / 3).expect("below 2");
    match mint.below(40) {
        0..16 => Act::Media(byte(mint), back(mint), mint.below(12)),
        16..24 => Act::MediaFrame(0, byte(mint), mint.below(12)),
        24..34 => Act::Tick(byte(mint)),
        34 => Act::Jump(u32::try_from(mint.below(4_000_000)).expect("below"), 0),
        35 => Act::Network(mint.below(2) == 0),
        _ => super::act(mint),
    }
}
