//! How a session's media is doing, over HTTP, from real transports.

use serde_json::Value;

use crate::{
    support::PATIENCE,
    whip::{Camera, host, opened},
};

#[tokio::test]
async fn each_transport_says_what_passes_on_it_to_whoever_may_read_the_session() {
    let host = host().await;
    let token = host.token();
    let mut publisher = opened(&host, "/whip", &token).await;
    assert!(publisher.peer.until(PATIENCE, |peer| peer.sent > 5).await);
    let session = publisher.session().to_owned();
    let camera = Camera::run(publisher.peer);
    let mut player = opened(&host, &format!("/whep/{session}"), &token).await;
    let plays = player
        .peer
        .until(PATIENCE, |peer| peer.got.len() >= 30)
        .await;
    assert!(plays);

    let path = format!("/v1/sessions/{session}/media");
    let answer = host.get(&path, &token).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let told = answer.json();
    let transports = told["transports"].as_array().expect("a list");
    assert_eq!(transports.len(), 2, "{told:#}");
    let with = |member: &str| {
        let has = |one: &&Value| one[member].as_array().is_some_and(|all| !all.is_empty());
        let found = transports.iter().find(has);
        found.unwrap_or_else(|| panic!("nobody {member}: {told:#}"))
    };
    let (sends, watches) = (with("publishes"), with("receives"));
    for transport in transports {
        assert_eq!(
            (&transport["reachable"], &transport["protocol"]),
            (&true.into(), &"udp".into())
        );
    }
    let of = |transport: &Value, list: &str, is: &dyn Fn(&Value) -> bool| {
        let all = transport[list].as_array().into_iter().flatten();
        let mut found = all.filter(|one| is(one)).cloned();
        found
            .next()
            .unwrap_or_else(|| panic!("no such {list}: {told:#}"))
    };
    let published = of(sends, "publishes", &|one| one["kind"] == "video");
    let received = of(watches, "receives", &|one| {
        one["track"] == published["track"]
    });
    assert_eq!(received["participant"], sends["participant"]);
    let count = |of: &Value| of["packets"].as_u64().unwrap_or_default();
    let layer = &published["layers"][0];
    assert!(
        count(layer) > count(&received) && count(&received) >= 30,
        "{told:#}"
    );
    assert!(layer["keyframes"].as_u64() >= Some(1), "{told:#}");

    // To others the session is not there.
    let stranger = host.token_with(|claims| claims.sub = "eve".to_owned());
    assert_eq!(host.get(&path, &stranger).await.status, 404);
    camera.stop().await;
    host.close().await;
}
