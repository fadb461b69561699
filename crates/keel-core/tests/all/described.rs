//! What people say about sessions: when they are opened, and afterwards.

use keel_core::node::{Answer, Ask, AskId, Input, Opening};
use keel_wire::{
    Code, DescribeSession, EndSession, Event, ReceiptBody, Role, SessionId, record::About,
};

use crate::world::{Tab, World};

fn ask(world: &mut World, number: u64, question: Ask) -> Option<Code> {
    let ask = AskId(number);
    world.input(Input::Ask { ask, question });
    match world.replies.last() {
        Some(Answer::Receipt(ReceiptBody::Ok { .. })) => None,
        Some(Answer::Receipt(ReceiptBody::Fault(fault))) => match fault.code {
            keel_wire::FaultCode::Known(code) => Some(code),
            keel_wire::FaultCode::Unknown(_) => panic!("ours are known"),
        },
        other => panic!("{other:?}"),
    }
}

fn describe(
    world: &mut World,
    session: &SessionId,
    key: &str,
    about: DescribeSession,
) -> Option<Code> {
    let question = Ask::Command {
        session: session.clone(),
        grant: world.grant.clone(),
        key: key.to_owned(),
        command: about.into(),
    };
    ask(world, 7, question)
}

fn about(title: &str, tags: &[&str]) -> About {
    About {
        title: Some(title.to_owned()),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..About::default()
    }
}

#[test]
fn what_is_said_about_a_session_is_in_its_log_its_row_and_its_fold_i16() {
    let mut world = World::new();
    let mut tab = Tab::new(1);
    tab.hello.title = Some("Cranes".to_owned());
    tab.hello.tags = vec!["docks".to_owned()];
    let conn = world.connect(&tab);
    let session = world.welcome(conn).session;
    let other = world.connect(&Tab::new(2).of(&session).role(Role::Viewer));
    assert_eq!(world.row(&session).about, about("Cranes", &["docks"]));

    let change = DescribeSession {
        title: Some("Lifts".to_owned()),
        starred: Some(true),
        archived: None,
        tags: Some(vec!["lifts".to_owned(), "a".to_owned()]),
    };
    world.command(conn, 1, change);
    let want = About {
        starred: true,
        ..about("Lifts", &["lifts", "a"])
    };
    assert_eq!(world.row(&session).about, want);
    let described = |conn| {
        let events = world.events(conn);
        let last = events.into_iter().map(|(_, event)| event);
        last.filter(|event| matches!(event, Event::SessionDescribed(_)))
            .collect::<Vec<_>>()
    };
    assert_eq!(described(conn).len(), 1);
    assert_eq!(
        described(conn),
        described(other),
        "every participant sees it"
    );

    // It outlives the server, and an empty title is none.
    world.crash();
    let nothing = DescribeSession {
        title: Some(String::new()),
        archived: Some(true),
        ..DescribeSession::default()
    };
    assert_eq!(describe(&mut world, &session, "k", nothing), None);
    let row = world.row(&session);
    assert_eq!((row.about.title, row.about.archived), (None, true));
    assert!(row.about.starred, "what is absent keeps");
}

#[test]
fn only_an_owner_says_what_a_session_is_and_within_bounds() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    let session = world.welcome(conn).session;
    let tags = |tags: Vec<String>| DescribeSession {
        tags: Some(tags),
        ..DescribeSession::default()
    };
    let title = DescribeSession {
        title: Some("x".repeat(513)),
        ..DescribeSession::default()
    };
    let bad = [title, tags(vec![String::new()]), tags(vec!["t".into(); 17])];
    for (n, bad) in bad.into_iter().enumerate() {
        let refused = describe(&mut world, &session, &format!("bad-{n}"), bad);
        assert_eq!(refused, Some(Code::InvalidRequest), "{n}");
    }
    world.grant.role = Role::Publisher;
    let refused = describe(&mut world, &session, "k", tags(Vec::new()));
    assert_eq!(refused, Some(Code::PermissionDenied));
    assert_eq!(world.row(&session).about, About::default());
}

#[test]
fn a_session_that_is_over_is_still_put_away_and_its_log_stays_shut() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    let session = world.welcome(conn).session;
    world.command(conn, 1, EndSession {});
    let log = world.log(&session);
    let away = DescribeSession {
        archived: Some(true),
        ..DescribeSession::default()
    };
    assert_eq!(describe(&mut world, &session, "k", away.clone()), None);
    assert!(world.row(&session).about.archived);
    assert_eq!(world.log(&session), log, "nothing follows the end");
    world.crash();
    assert_eq!(
        describe(&mut world, &session, "k", away),
        None,
        "once for each key"
    );
    let back = DescribeSession {
        archived: Some(false),
        ..DescribeSession::default()
    };
    assert_eq!(describe(&mut world, &session, "k-2", back), None);
    assert!(!world.row(&session).about.archived);
}

#[test]
fn a_directory_is_used_as_the_shell_has_found_it_or_refused_a57() {
    let mut world = World::new();
    let mut tab = Tab::new(1);
    tab.hello.cwd = Some("/link/repo".to_owned());
    let conn = world.connect(&tab);
    let welcome = world.welcome(conn);
    assert_eq!(
        world.row(&welcome.session).about.cwd.as_deref(),
        Some("/real/repo")
    );
    world.say(conn, 1, "hello");
    assert_eq!(world.runs[0].1.cwd.as_deref(), Some("/real/repo"));

    // Whoever comes back names a session that is there: the directory is not looked at again.
    let mut back = tab.again(&welcome, 0);
    back.hello.cwd = Some("/elsewhere".to_owned());
    world.reset(conn);
    let conn = world.connect(&back);
    assert_eq!(world.welcome(conn).session, welcome.session);

    let mut outside = Tab::new(2);
    outside.hello.cwd = Some("/etc".to_owned());
    let conn = world.connect(&outside);
    let faults = world.faults(conn).into_iter().map(|fault| fault.code);
    assert_eq!(faults.collect::<Vec<_>>(), [Code::PermissionDenied]);
    assert_eq!(world.sessions(), [welcome.session]);
}

#[test]
fn a_session_is_opened_over_http_and_entered_afterwards() {
    let mut world = World::new();
    let session = SessionId::from_bits(77);
    let opening = Opening {
        title: Some("Later".to_owned()),
        cwd: Some("/real/repo".to_owned()),
        ..Opening::default()
    };
    let open = |world: &World, opening: Opening| Ask::Open {
        session: session.clone(),
        grant: world.grant.clone(),
        opening,
    };
    let question = open(&world, opening.clone());
    assert_eq!(ask(&mut world, 1, question), None);
    assert_eq!(world.row(&session).about.title.as_deref(), Some("Later"));
    let question = open(&world, opening);
    assert_eq!(ask(&mut world, 2, question), Some(Code::Duplicate));
    let conn = world.connect(&Tab::new(1).of(&session));
    assert_eq!(world.welcome(conn).session, session);
    world.say(conn, 1, "hello");
    assert_eq!(world.runs[0].1.cwd.as_deref(), Some("/real/repo"));

    let nowhere = Opening {
        backend: Some("nobody's".to_owned()),
        ..Opening::default()
    };
    let question = Ask::Open {
        session: SessionId::from_bits(78),
        grant: world.grant.clone(),
        opening: nowhere,
    };
    assert_eq!(ask(&mut world, 3, question), Some(Code::BackendNotFound));
}
