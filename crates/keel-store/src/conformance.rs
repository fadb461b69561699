//! The contract of a store in executable form: every store runs it.
//!
//! A store's tests implement [`Factory`] and call [`run`]. Each check gets a place of its own, states
//! one promise of [`Store`], and panics with that promise where it is not kept. A check
//! knows nothing about how a store keeps what it keeps.

mod commits;
mod finding;
mod handovers;
mod listings;
mod logs;
mod script;
mod sundry;

use std::sync::Arc;

use crate::{BoxFuture, Store};

pub use script::Scribe;

/// Makes the stores that are judged.
pub trait Factory: Sync {
    /// Where a store keeps what it keeps: a directory, a database, a map.
    type Place: Send + Sync;

    /// A new place with nothing in it.
    fn place(&self) -> Self::Place;

    /// Opens the store of that place. Called again after a close, it finds what was there.
    fn open(&self, place: &Self::Place) -> Arc<dyn Store>;
}

type Check = fn(Arc<dyn Store>) -> BoxFuture<()>;

/// Checks every promise of [`Store`].
///
/// # Panics
/// At the first promise that is not kept.
pub async fn run<F: Factory>(factory: &F) {
    let checks: [Check; 31] = [
        |store| Box::pin(commits::what_is_committed_is_loaded(store)),
        |store| Box::pin(commits::a_row_is_kept_whatever_alone_changes_in_it(store)),
        |store| Box::pin(commits::expected_must_be_the_head(store)),
        |store| Box::pin(commits::refused_batches_leave_nothing(store)),
        |store| Box::pin(commits::another_fence_is_refused(store)),
        |store| Box::pin(commits::a_dropped_future_does_not_cancel(store)),
        |store| Box::pin(commits::one_of_many_rivals_wins(store)),
        |store| Box::pin(commits::receipts_go_when_acked_or_dropped(store)),
        |store| Box::pin(logs::events_come_from_the_one_that_covers_the_cursor(store)),
        |store| Box::pin(logs::compaction_keeps_positions_and_fold(store)),
        |store| Box::pin(logs::compaction_stops_at_the_snapshot(store)),
        |store| Box::pin(logs::trim_stops_at_the_snapshot(store)),
        |store| Box::pin(listings::pages_follow_one_another(store)),
        |store| Box::pin(listings::paging_under_updates_sees_nothing_twice(store)),
        |store| Box::pin(listings::unsettled_is_what_start_up_must_settle(store)),
        |store| Box::pin(finding::filters_take_what_they_say(store)),
        |store| Box::pin(finding::each_session_is_counted_once(store)),
        |store| Box::pin(finding::searches_find_titles_prompts_and_answers(store)),
        |store| Box::pin(finding::what_is_searched_for_is_no_syntax_a68(store)),
        |store| Box::pin(finding::pages_and_searches_are_bounded(store)),
        |store| Box::pin(sundry::text_is_kept_as_it_is_a68(store)),
        |store| Box::pin(sundry::a_row_is_read_alone(store)),
        |store| Box::pin(sundry::journals_are_bounded(store)),
        |store| Box::pin(sundry::deleted_means_forgotten(store)),
        |store| Box::pin(handovers::a_session_is_received_whole_and_once(store)),
        |store| Box::pin(handovers::what_is_not_whole_is_declined(store)),
        |store| {
            Box::pin(handovers::an_offer_that_was_settled_is_never_accepted(
                store,
            ))
        },
        |store| {
            Box::pin(
                handovers::an_offer_that_was_accepted_stays_so_when_the_session_is_given_on(store),
            )
        },
        |store| Box::pin(handovers::a_session_that_is_here_is_not_received(store)),
        |store| Box::pin(handovers::a_session_that_has_moved_is_gone_and_may_come_back(store)),
        |store| Box::pin(handovers::streams_come_in_pieces(store)),
    ];
    for check in checks {
        let place = factory.place();
        let store = factory.open(&place);
        check(store.clone()).await;
        store.close().await.expect("a store closes");
    }
    Box::pin(sundry::what_was_acked_is_there_after_reopening(factory)).await;
    Box::pin(sundry::a_closed_store_says_so(factory)).await;
}
