//! Listings are in order, complete, and the same by every route.

use std::{collections::BTreeSet, sync::Arc};

use keel_wire::{
    SessionId,
    record::{SessionRow, SlotRow},
};

use super::script::{Scribe, created};
use crate::{Filter, Listing, PROJECTS_MAX, PageKey, Scope, Store, StoreErrorKind};

/// Sixty sessions: three projects and none, three subjects, ten rows a millisecond.
async fn sixty(store: &Arc<dyn Store>) -> Vec<Scribe> {
    let mut scribes = Vec::new();
    for number in 0..60_u128 {
        // Spread, so that ids are not in order of activity.
        let mut scribe = Scribe::new(store, number * 7_919 % 101);
        scribe.row.subject =
            ["ada", "bob", "cyd"][usize::try_from(number % 3).expect("small")].into();
        scribe.row.project = match number % 4 {
            0 => None,
            n => Some(format!("p{n}")),
        };
        scribe.row.last_activity = 1_000 + u64::try_from(number / 10).expect("small");
        scribe.write(&[created()]).await;
        scribes.push(scribe);
    }
    scribes
}

async fn walk(store: &Arc<dyn Store>, mut listing: Listing) -> Vec<SessionRow> {
    let mut rows = Vec::new();
    loop {
        let page = store.list(listing.clone()).await.expect("readable");
        assert!(page.rows.len() <= listing.limit.max(1));
        rows.extend(page.rows);
        assert!(rows.len() <= 1_000, "a walk ends");
        match page.next {
            Some(key) => listing.before = Some(key),
            None => return rows,
        }
    }
}

pub(super) async fn pages_follow_one_another(store: Arc<dyn Store>) {
    let mut all: Vec<_> = sixty(&store)
        .await
        .into_iter()
        .map(|scribe| scribe.row)
        .collect();
    all.sort_by_key(|row| std::cmp::Reverse(PageKey::of(row)));
    let projects = |names: &[&str]| Scope::Projects(names.iter().map(|n| (*n).into()).collect());
    let scopes = [
        Scope::All,
        Scope::Project("p1".into()),
        Scope::Project("nobody's".into()),
        projects(&["p3", "p1", "nobody's", "p3"]),
        projects(&[]),
    ];
    let within = |scope: &Scope, row: &SessionRow| match scope {
        Scope::All => true,
        Scope::Project(one) => row.project.as_ref() == Some(one),
        Scope::Projects(set) => row.project.as_ref().is_some_and(|p| set.contains(p)),
    };
    for scope in scopes {
        for subject in [None, Some("bob"), Some("zed")] {
            for limit in [0, 1, 7, 20, usize::MAX] {
                let subject = subject.map(str::to_owned);
                let by = |row: &&SessionRow| subject.as_ref().is_none_or(|s| *s == row.subject);
                let want: Vec<_> = all
                    .iter()
                    .filter(|row| within(&scope, row))
                    .filter(by)
                    .cloned()
                    .collect();
                let scope = scope.clone();
                let listing = Listing {
                    scope,
                    subject: subject.clone(),
                    filter: Filter::default(),
                    before: None,
                    limit,
                };
                assert_eq!(walk(&store, listing.clone()).await, want, "{listing:?}");
            }
        }
    }
    let scope = Scope::Projects((0..=PROJECTS_MAX).map(|n| n.to_string()).collect());
    let refused = store
        .list(Listing {
            scope,
            subject: None,
            filter: Filter::default(),
            before: None,
            limit: 1,
        })
        .await;
    assert_eq!(
        refused.expect_err("too many projects").kind,
        StoreErrorKind::Other
    );
}

pub(super) async fn paging_under_updates_sees_nothing_twice(store: Arc<dyn Store>) {
    let mut scribes = sixty(&store).await;
    let mut listing = Listing {
        scope: Scope::All,
        subject: None,
        filter: Filter::default(),
        before: None,
        limit: 7,
    };
    let mut seen = Vec::new();
    let mut moved = BTreeSet::new();
    let mut now = 5_000;
    loop {
        let page = store.list(listing.clone()).await.expect("readable");
        seen.extend(page.rows.into_iter().map(|row| row.session));
        let Some(key) = page.next else { break };
        listing.before = Some(key);
        // One that was seen and one that may not have been become the newest.
        let seen_already = seen.last().expect("a page with a next has rows").clone();
        let any = scribes[seen.len()].id().clone();
        for id in [seen_already, any] {
            now += 1;
            let scribe = scribes.iter_mut().find(|scribe| *scribe.id() == id);
            let scribe = scribe.expect("one of the sixty");
            scribe.row.last_activity = now;
            scribe.write(&[]).await;
            moved.insert(id);
        }
    }
    let distinct: BTreeSet<_> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len(), "something was seen twice");
    for scribe in scribes.iter().filter(|scribe| !moved.contains(scribe.id())) {
        assert!(
            distinct.contains(scribe.id()),
            "{} stood still and was missed",
            scribe.id()
        );
    }
}

pub(super) async fn unsettled_is_what_start_up_must_settle(store: Arc<dyn Store>) {
    let waiting = Some(SlotRow::Waiting {
        order: 1,
        until: 2,
        again: false,
    });
    let states = [
        (false, false, None),
        (true, false, None),
        (true, true, None),
        (false, false, Some(SlotRow::Held)),
        (false, true, Some(SlotRow::Held)),
        (false, false, waiting),
        (true, false, waiting),
    ];
    let mut want: Vec<SessionId> = Vec::new();
    for number in 0..21_u128 {
        let mut scribe = Scribe::new(&store, number);
        let (open_turn, ended, slot) =
            states[usize::try_from(number).expect("small") % states.len()];
        (scribe.row.open_turn, scribe.row.ended, scribe.row.slot) = (open_turn, ended, slot);
        scribe.write(&[created()]).await;
        if !ended && (open_turn || slot.is_some()) {
            want.push(scribe.id().clone());
        }
    }
    let mut got: Vec<SessionId> = Vec::new();
    loop {
        let page = store.unsettled(got.last(), 5).await.expect("readable");
        let last = page.len() < 5;
        got.extend(page.into_iter().map(|row| row.session));
        if last {
            break;
        }
    }
    assert_eq!(got, want);
}
