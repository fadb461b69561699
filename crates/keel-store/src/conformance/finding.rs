//! Sessions are found by what people say about them and by what was said in them, and counted.

use std::{collections::BTreeSet, sync::Arc};

use keel_wire::{
    SessionId,
    record::{About, SearchText},
};

use super::script::{Scribe, created, turn};
use crate::{
    Counts, Filter, Found, Listing, Page, SEARCH_WORDS_MAX, Scope, Search, Standing, Store,
    StoreErrorKind,
};

fn search(text: &str) -> Search {
    Search {
        text: text.to_owned(),
        scope: Scope::All,
        subject: None,
        filter: Filter::default(),
        limit: 50,
    }
}

async fn find(store: &Arc<dyn Store>, text: &str) -> Vec<SessionId> {
    let found = store.search(search(text)).await.expect("readable");
    found.hits.into_iter().map(|hit| hit.row.session).collect()
}

/// Commits the end of a turn in which that was said.
async fn said(scribe: &mut Scribe, number: u128, prompt: &str, answer: &str) {
    let mut batch = scribe.batch(&[created()]);
    batch.search = vec![SearchText {
        turn: turn(number),
        prompt: prompt.to_owned(),
        answer: answer.to_owned(),
    }];
    scribe.commit(batch).await.expect("a commit");
}

pub(super) async fn filters_take_what_they_say(store: Arc<dyn Store>) {
    let tag = |number: u128| {
        if number.is_multiple_of(2) {
            "even"
        } else {
            "odd"
        }
    };
    let mut all = Vec::new();
    for number in 0..40_u128 {
        let mut scribe = Scribe::new(&store, number);
        scribe.row.project = Some(format!("p{}", number % 3));
        scribe.row.backend = format!("b{}", number % 2);
        scribe.row.last_activity = 1_000 + u64::try_from(number).expect("small");
        scribe.row.ended = number % 5 == 0;
        scribe.row.open_turn = number % 5 == 1 || number % 5 == 2;
        scribe.row.waiting = number % 5 == 2;
        scribe.row.about = About {
            title: Some(format!("title {number}")),
            cwd: Some("/work".to_owned()),
            starred: number % 7 == 0,
            archived: number % 4 == 0,
            tags: vec!["every".to_owned(), tag(number).to_owned()],
        };
        scribe.write(&[created()]).await;
        all.push(scribe.row);
    }
    all.reverse();
    let filters = [
        Filter::default(),
        Filter {
            archived: Some(false),
            ..Filter::default()
        },
        Filter {
            archived: Some(true),
            standing: Some(Standing::Ended),
            ..Filter::default()
        },
        Filter {
            starred: Some(true),
            tag: Some("odd".to_owned()),
            ..Filter::default()
        },
        Filter {
            standing: Some(Standing::Waiting),
            ..Filter::default()
        },
        Filter {
            standing: Some(Standing::Running),
            archived: Some(false),
            ..Filter::default()
        },
        Filter {
            tag: Some("nobody's".to_owned()),
            ..Filter::default()
        },
        Filter {
            backends: Some(vec!["b1".to_owned(), "b9".to_owned()]),
            ..Filter::default()
        },
        Filter {
            backends: Some(Vec::new()),
            ..Filter::default()
        },
    ];
    for filter in filters {
        for (scope, limit) in [
            (Scope::All, 7),
            (Scope::Projects(vec!["p1".into(), "p2".into()]), 3),
        ] {
            let want: Vec<_> = all
                .iter()
                .filter(|row| scope.takes(row) && filter.takes(row))
                .cloned()
                .collect();
            let mut listing = Listing {
                scope,
                subject: None,
                filter: filter.clone(),
                before: None,
                limit,
            };
            let mut got = Vec::new();
            loop {
                let Page { rows, next } = store.list(listing.clone()).await.expect("readable");
                assert!(rows.len() <= limit);
                got.extend(rows);
                let Some(key) = next else { break };
                listing.before = Some(key);
            }
            assert_eq!(got, want, "{listing:?}");
        }
    }
}

pub(super) async fn each_session_is_counted_once(store: Arc<dyn Store>) {
    // Ended, open turn, waiting, archived.
    let kinds = [
        (false, true, false, false),
        (false, true, true, false),
        (false, false, true, false),
        (false, false, false, false),
        (true, false, false, false),
        (true, false, false, true),
        (false, true, false, true),
    ];
    for number in 0..21_usize {
        let mut scribe = Scribe::new(&store, number as u128);
        let (ended, open_turn, waiting, archived) = kinds[number % kinds.len()];
        let row = &mut scribe.row;
        (row.ended, row.open_turn, row.waiting) = (ended, open_turn, waiting);
        row.about.archived = archived;
        row.subject = if number < 7 { "ada" } else { "bob" }.to_owned();
        row.project = (number < 14).then(|| format!("p{}", number / 7));
        scribe.write(&[created()]).await;
    }
    let of = |times: usize| Counts {
        running: times,
        waiting: 2 * times,
        idle: times,
        ended: times,
        archived: 2 * times,
        more: false,
    };
    let both = Scope::Projects(vec!["p0".into(), "p1".into(), "p0".into()]);
    let bob = Some("bob".to_owned());
    let rows = [
        (Scope::All, None, of(3)),
        (Scope::All, bob.clone(), of(2)),
        (Scope::Project("p1".into()), None, of(1)),
        (Scope::Project("p0".into()), bob.clone(), of(0)),
        (both.clone(), None, of(2)),
        (both, bob, of(1)),
        (Scope::Projects(Vec::new()), None, of(0)),
    ];
    for (scope, subject, want) in rows {
        let got = store.counts(scope.clone(), subject.clone()).await;
        assert_eq!(got, Ok(want), "{scope:?} {subject:?}");
    }
}

pub(super) async fn searches_find_titles_prompts_and_answers(store: Arc<dyn Store>) {
    let mut titled = Scribe::new(&store, 1);
    titled.row.about.title = Some("Fixing the Harbour crane".to_owned());
    titled.write(&[created()]).await;
    let mut asked = Scribe::new(&store, 2);
    asked.row.last_activity = 2_000;
    asked.row.subject = "bob".to_owned();
    asked.row.project = Some("docks".to_owned());
    asked.write(&[created()]).await;
    said(
        &mut asked,
        1,
        "why does the crane stop?",
        "A fuse; Größe 5.",
    )
    .await;
    said(
        &mut asked,
        2,
        "and the lift?",
        "It is another crane's lift.",
    )
    .await;
    let (one, two) = (titled.id().clone(), asked.id().clone());

    assert_eq!(find(&store, "crane").await, [two.clone(), one.clone()]);
    assert_eq!(
        find(&store, "HARBOUR Crane").await,
        std::slice::from_ref(&one)
    );
    assert_eq!(find(&store, "crane stop").await, std::slice::from_ref(&two));
    assert_eq!(
        find(&store, "stop fus").await,
        std::slice::from_ref(&two),
        "the last may go on"
    );
    assert_eq!(find(&store, "fus stop").await, [], "the others may not");
    assert_eq!(find(&store, "größe").await, std::slice::from_ref(&two));
    assert_eq!(
        find(&store, "stop another").await,
        [],
        "in one turn, or in the title"
    );
    assert_eq!(find(&store, "anchor").await, []);

    let found = store.search(search("crane")).await.expect("readable");
    assert!(!found.more);
    assert_eq!(found.hits[0].turn, Some(turn(2)), "the newest turn");
    assert!(found.hits[0].excerpt.contains("crane"), "{found:?}");
    assert_eq!(found.hits[1].turn, None);
    assert_eq!(found.hits[1].excerpt, "Fixing the Harbour crane");
    assert_eq!(found.hits[0].row, asked.row);

    let within = |change: fn(&mut Search)| {
        let mut search = search("crane");
        change(&mut search);
        let store = store.clone();
        async move {
            let found = store.search(search).await.expect("readable");
            let Found { hits, more } = found;
            (
                hits.into_iter()
                    .map(|hit| hit.row.session)
                    .collect::<Vec<_>>(),
                more,
            )
        }
    };
    let only = |id: &SessionId| (vec![id.clone()], false);
    assert_eq!(within(|s| s.subject = Some("ada".into())).await, only(&one));
    assert_eq!(
        within(|s| s.scope = Scope::Project("docks".into())).await,
        only(&two)
    );
    assert_eq!(
        within(|s| s.scope = Scope::Projects(vec!["docks".into(), "x".into()])).await,
        only(&two)
    );
    assert_eq!(
        within(|s| s.scope = Scope::Projects(Vec::new())).await,
        (Vec::new(), false)
    );
    assert_eq!(
        within(|s| s.filter.archived = Some(true)).await,
        (Vec::new(), false)
    );
    assert_eq!(
        within(|s| s.limit = 0).await,
        (vec![two.clone()], true),
        "and there is more"
    );

    // Another title takes the place of the one before; none is none.
    titled.row.about.title = Some("Painting".to_owned());
    titled.write(&[]).await;
    assert_eq!(find(&store, "harbour").await, []);
    assert_eq!(find(&store, "painting").await, [one]);
    titled.row.about.title = None;
    titled.write(&[]).await;
    assert_eq!(find(&store, "painting").await, []);

    store.delete(&two).await.expect("deleted");
    assert_eq!(find(&store, "crane").await, [], "deleted means forgotten");
}

pub(super) async fn what_is_searched_for_is_no_syntax_a68(store: Arc<dyn Store>) {
    let mut scribe = Scribe::new(&store, 1);
    scribe.row.about.title = Some("x'); DROP TABLE session; -- %_*? \0 \"near\" OR".to_owned());
    scribe.write(&[created()]).await;
    said(
        &mut scribe,
        1,
        "a nul\0within NEAR(a b) said:crane",
        "🛟 keys : u0 ^first",
    )
    .await;
    let id = [scribe.id().clone()];
    for text in [
        "'; DROP TABLE session; --",
        "\"near\" or",
        "DROP*",
        "near(drop or)",
        "-- %_ table",
    ] {
        assert_eq!(find(&store, text).await, id, "{text}");
    }
    for text in [
        "within",
        "nul\0within",
        "said : crane",
        "{keys} : (u0)",
        "^first",
    ] {
        assert_eq!(find(&store, text).await, id, "{text}");
    }
    for text in [
        "crane OR nobody",
        "crane NOT said",
        "nobody*",
        "%",
        "u0 OR *",
        "said:nobody",
        "🛟 🏳️‍🌈zz",
    ] {
        let found = store.search(search(text)).await;
        let none = found.as_ref().is_ok_and(|found| found.hits.is_empty());
        let refused = found.is_err_and(|error| error.kind == StoreErrorKind::Other);
        assert!(none || refused, "{text}");
    }
    for text in ["", " \0 ", "\"\"", "*", "(((", "🛟"] {
        let refused = store.search(search(text)).await.expect_err("no word");
        assert_eq!(refused.kind, StoreErrorKind::Other, "{text}");
    }
    // What is above the bounds is ignored, and costs nothing.
    let long = "drop ".repeat(SEARCH_WORDS_MAX) + &"y".repeat(1 << 20);
    assert_eq!(find(&store, &long).await, id);
    let endless = "z".repeat(1 << 20);
    assert_eq!(find(&store, &endless).await, []);
    assert_eq!(store.row(scribe.id()).await, Ok(Some(scribe.row)));
}

pub(super) async fn pages_and_searches_are_bounded(store: Arc<dyn Store>) {
    for number in 0..30_u128 {
        let mut scribe = Scribe::new(&store, number);
        scribe.row.about.title = Some("same".to_owned());
        scribe.write(&[created()]).await;
    }
    let asked = Search {
        limit: 10,
        ..search("same")
    };
    let found = store.search(asked).await.expect("readable");
    assert_eq!((found.hits.len(), found.more), (10, true));
    let distinct: BTreeSet<_> = found.hits.iter().map(|hit| &hit.row.session).collect();
    assert_eq!(distinct.len(), 10);
}
