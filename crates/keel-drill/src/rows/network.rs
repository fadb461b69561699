//! N: the network between a client and the server.

use std::time::Duration;

use anyhow::{Result, bail};
use evenkeel::{Client, Event};

use super::Spec;
use crate::{
    heart::unix_ms,
    ledger::Seen,
    proxy::{Cut, Link},
    raw::Raw,
    rig::{Rig, Via, Who, span, wait},
};

const S: fn(u64) -> Duration = Duration::from_secs;
const HTML: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 13\r\n\r\n<html></html>";
const FORBIDDEN: &str = "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n";
const BAD_GATEWAY: &str = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n";
const LATER: &str =
    "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";

pub(super) fn rows() -> Vec<Spec> {
    let mut rows = Vec::new();
    for (id, fault, what, code, told, back) in [
        (
            "N01",
            "both sides are reset",
            Cut::Reset,
            "transport_error",
            250.,
            1_250.,
        ),
        (
            "N02",
            "FIN without a close frame",
            Cut::Fin,
            "transport_error",
            250.,
            1_250.,
        ),
        (
            "N04",
            "nothing passes either way",
            Cut::BlackHole,
            "heartbeat_timeout",
            3_000.,
            4_000.,
        ),
        (
            "N05",
            "nothing passes to the server",
            Cut::DeafServer,
            "heartbeat_timeout",
            3_000.,
            4_000.,
        ),
        (
            "N06",
            "nothing passes to the client",
            Cut::DeafClient,
            "heartbeat_timeout",
            3_000.,
            4_000.,
        ),
    ] {
        for who in [Who::Owner, Who::Viewer] {
            let mid = format!("{id}/mid-turn/{}", who.name());
            rows.push(
                network(&mid, fault, move |rig| {
                    Box::pin(cut_mid_turn(rig, who, what))
                })
                .cause(code)
                .told_within(told)
                .back_within(back),
            );
            let idle = format!("{id}/idle/{}", who.name());
            // Silence is noticed later where nothing is at stake.
            let later = if told > 1_000. { 4_500. } else { 0. };
            rows.push(
                network(&idle, fault, move |rig| Box::pin(cut_idle(rig, who, what)))
                    .cause(code)
                    .told_within(told + later)
                    .back_within(back + later),
            );
        }
    }
    for (code, cause) in [(1001, "1001"), (1011, "1011"), (1012, "1012")] {
        rows.push(
            network(
                &format!("N03/mid-turn/owner/{cause}"),
                "a close frame",
                move |rig| Box::pin(cut_mid_turn(rig, Who::Owner, Cut::Close(code))),
            )
            .cause("connection_closed")
            .told_within(250.)
            .back_within(1_250.),
        );
    }
    rows.push(
        network(
            "N03/mid-turn/owner/1013",
            "a close frame: try again later",
            |rig| Box::pin(cut_mid_turn(rig, Who::Owner, Cut::Close(1013))),
        )
        .cause("connection_closed")
        .told_within(250.)
        .back_within(2_500.),
    );
    for code in [1008, 1000] {
        rows.push(
            network(
                &format!("N03/mid-turn/owner/{code}"),
                "a close frame for good",
                move |rig| Box::pin(closed_for_good(rig, code)),
            )
            .fails()
            .cause("connection_closed")
            .told_within(250.),
        );
    }
    rows.push(
        network("N21/mid-turn/owner", "a frame is cut in half", |rig| {
            Box::pin(cut_mid_turn(rig, Who::Owner, Cut::HalfFrame))
        })
        .cause("transport_error")
        .told_within(500.)
        .back_within(1_500.),
    );
    for (id, link) in [("N01/upgrade", Link::Deaf), ("N01/hello", Link::Mute)] {
        rows.push(
            network(
                &format!("{id}/owner"),
                "reset before the welcome",
                move |rig| Box::pin(cut_while_connecting(rig, link)),
            )
            .fails()
            .cause("transport_error")
            .told_within(250.),
        );
    }
    rows.push(
        network("N21/welcome/owner", "the welcome is cut in half", |rig| {
            Box::pin(first_connect(rig, Link::HalfWelcome))
        })
        .fails()
        .cause("transport_error")
        .told_within(2_000.),
    );
    for (id, fault, link, down) in [
        (
            "N01/resuming/owner",
            "reset again while it comes back",
            Link::Mute,
            1_500,
        ),
        (
            "N21/resuming/owner",
            "the welcome is cut in half",
            Link::HalfWelcome,
            1_000,
        ),
        (
            "N12/resuming/owner/refused",
            "no connection for 3 s",
            Link::Refusing,
            3_000,
        ),
        (
            "N12/resuming/owner/silent",
            "dialling is not answered for 6 s",
            Link::Silent,
            6_000,
        ),
        (
            "N15/resuming/owner/200",
            "an HTML page instead of an upgrade",
            Link::Answers(HTML),
            2_000,
        ),
        (
            "N15/resuming/owner/502",
            "502 instead of an upgrade",
            Link::Answers(BAD_GATEWAY),
            2_000,
        ),
        (
            "N15/resuming/owner/503",
            "503 with Retry-After",
            Link::Answers(LATER),
            2_000,
        ),
    ] {
        rows.push(
            network(id, fault, move |rig| Box::pin(cut_again(rig, link, down)))
                .cause("transport_error")
                .told_within(250.)
                .back_within(6_000.),
        );
    }
    for (id, fault, link, code, told) in [
        (
            "N12/upgrade/owner/refused",
            "connections are reset",
            Link::Refusing,
            "transport_error",
            2_000.,
        ),
        (
            "N12/upgrade/owner/silent",
            "dialling is not answered",
            Link::Silent,
            "handshake_timeout",
            6_500.,
        ),
        (
            "N15/upgrade/owner/200",
            "an HTML page instead of an upgrade",
            Link::Answers(HTML),
            "transport_error",
            2_000.,
        ),
        (
            "N15/upgrade/owner/403",
            "403 instead of an upgrade",
            Link::Answers(FORBIDDEN),
            "origin_not_allowed",
            2_000.,
        ),
        (
            "N15/upgrade/owner/502",
            "502 instead of an upgrade",
            Link::Answers(BAD_GATEWAY),
            "transport_error",
            2_000.,
        ),
        (
            "N15/upgrade/owner/503",
            "503 with Retry-After",
            Link::Answers(LATER),
            "transport_error",
            2_000.,
        ),
    ] {
        rows.push(
            network(id, fault, move |rig| Box::pin(first_connect(rig, link)))
                .fails()
                .cause(code)
                .told_within(told),
        );
    }
    rows.push(
        network(
            "N01/closing/owner",
            "reset while the session is being ended",
            |rig| Box::pin(cut_while_closing(rig)),
        )
        .cause("transport_error")
        .told_within(250.),
    );
    rows.push(network(
        "N08/mid-turn/owner/2s",
        "everything is held for 2 s",
        |rig| Box::pin(short_spike(rig)),
    ));
    rows.push(
        network(
            "N08/mid-turn/owner/5s",
            "everything is held for 5 s",
            |rig| Box::pin(long_spike(rig)),
        )
        .cause("heartbeat_timeout")
        .told_within(3_000.)
        .back_within(4_000.),
    );
    rows.push(
        network(
            "N20/mid-turn/owner",
            "a command of the old connection arrives after the new one",
            |rig| Box::pin(old_bytes(rig)),
        )
        .cause("heartbeat_timeout")
        .told_within(3_000.)
        .back_within(4_000.),
    );
    rows.push(network("N09/mid-turn/owner", "8 kbit/s", |rig| {
        Box::pin(narrow(rig))
    }));
    rows.push(
        network("N10/mid-turn/viewer", "a byte a second", |rig| {
            Box::pin(cut_mid_turn(rig, Who::Viewer, Cut::Trickle(1)))
        })
        .cause("heartbeat_timeout")
        .told_within(10_000.)
        .back_within(11_000.),
    );
    rows.push(network(
        "N14/idle/owner",
        "a proxy cuts what is idle for 10 s",
        |rig| Box::pin(impatient(rig)),
    ));
    rows.push(network(
        "N19/mid-turn/owner",
        "a command is sent again on a new connection",
        |rig| Box::pin(again_on_a_new_connection(rig)),
    ));
    let crowd = if cfg!(debug_assertions) { 100 } else { 200 };
    rows.push(
        network(
            "N23/idle/owner",
            "many clients are cut at once",
            move |rig| Box::pin(all_at_once(rig, crowd)),
        )
        .cause("transport_error")
        .back_within(3_000.),
    );
    rows
}

fn network(
    id: &str,
    fault: &str,
    work: impl for<'a> Fn(&'a mut Rig) -> super::Work<'a> + 'static,
) -> Spec {
    Spec::new(id, "network", fault, work)
}

async fn witness(rig: &mut Rig) -> Result<()> {
    let code = rig.row.expected_cause.clone().unwrap_or_default();
    rig.journal_names(&code).await
}

async fn cut_mid_turn(rig: &mut Rig, who: Who, what: Cut) -> Result<()> {
    rig.enter(who).await?;
    rig.flow("k1", "lines=250 pace_ms=20").await?;
    rig.cut(what)?;
    rig.losses = Some(1);
    rig.told(S(20)).await?;
    rig.back(rig.struck_at, S(20)).await?;
    rig.over("k1").await?;
    witness(rig).await
}

async fn cut_idle(rig: &mut Rig, who: Who, what: Cut) -> Result<()> {
    rig.enter(who).await?;
    rig.flow("k1", "lines=5 pace_ms=20").await?;
    rig.over("k1").await?;
    rig.cut(what)?;
    rig.losses = Some(1);
    rig.told(S(20)).await?;
    rig.back(rig.struck_at, S(20)).await?;
    rig.flow("k2", "lines=20 pace_ms=20").await?;
    rig.over("k2").await?;
    witness(rig).await
}

async fn closed_for_good(rig: &mut Rig, code: u16) -> Result<()> {
    rig.enter(Who::Owner).await?;
    rig.flow("k1", "lines=100 pace_ms=20").await?;
    rig.cut(Cut::Close(code))?;
    rig.told(S(10)).await?;
    rig.failed(S(10)).await?;
    // What it was told of a turn that goes on without it is a prefix.
    rig.dismiss(Who::Owner);
    rig.over("k1").await.map(drop)
}

async fn cut_while_connecting(rig: &mut Rig, link: Link) -> Result<()> {
    rig.proxy.set_link(link);
    rig.launch(Who::Owner, Via::Proxy, &[])?;
    let proxy = &rig.proxy;
    wait("a connection", S(10), || proxy.open() > 0).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    rig.cut(Cut::Reset)?;
    rig.failed(S(20)).await
}

async fn first_connect(rig: &mut Rig, link: Link) -> Result<()> {
    rig.proxy.set_link(link);
    rig.strike();
    rig.launch(Who::Owner, Via::Proxy, &[])?;
    rig.failed(S(20)).await
}

/// Cut, and for `down_ms` nobody gets through.
async fn cut_again(rig: &mut Rig, link: Link, down_ms: u64) -> Result<()> {
    rig.enter(Who::Owner).await?;
    rig.flow("k1", "lines=400 pace_ms=20").await?;
    rig.proxy.set_link(link);
    rig.cut(Cut::Reset)?;
    rig.losses = Some(1);
    rig.told(S(10)).await?;
    tokio::time::sleep(Duration::from_millis(down_ms)).await;
    if rig.proxy.accepted() > 40 {
        bail!("{} connections: a storm", rig.proxy.accepted());
    }
    rig.proxy.set_link(Link::Up);
    if link == Link::Mute {
        rig.proxy.cut(Cut::Reset);
    }
    rig.back(unix_ms(), S(20)).await?;
    rig.over("k1").await?;
    witness(rig).await
}

async fn cut_while_closing(rig: &mut Rig) -> Result<()> {
    rig.enter(Who::Owner).await?;
    rig.flow("k1", "lines=10 pace_ms=20").await?;
    rig.over("k1").await?;
    rig.proxy.cut(Cut::DeafServer);
    tokio::time::sleep(Duration::from_millis(50)).await;
    rig.tell("end").await?;
    rig.cut(Cut::Reset)?;
    rig.told(S(10)).await?;
    let ended = rig.client(Who::Owner)?.until(S(10), "ended", |line| {
        matches!(line.what, Seen::Ended { .. }).then_some(line.t)
    });
    let at = ended.await?;
    rig.row.recovered_ms = Some(span(rig.struck_at, at));
    rig.row.outcome = Some("recovered".to_owned());
    witness(rig).await
}

async fn short_spike(rig: &mut Rig) -> Result<()> {
    rig.enter(Who::Owner).await?;
    rig.flow("k1", "lines=200 pace_ms=20").await?;
    rig.cut(Cut::Hold(Duration::from_millis(2_000)))?;
    rig.losses = Some(0);
    rig.over("k1").await?;
    rig.row.outcome = Some("recovered".to_owned());
    no_storm(rig, 1);
    Ok(())
}

async fn long_spike(rig: &mut Rig) -> Result<()> {
    rig.enter(Who::Owner).await?;
    rig.flow("k1", "lines=400 pace_ms=20").await?;
    rig.cut(Cut::Hold(S(5)))?;
    rig.losses = Some(1);
    rig.told(S(10)).await?;
    rig.back(rig.struck_at, S(10)).await?;
    rig.over("k1").await?;
    no_storm(rig, 2);
    witness(rig).await
}

fn no_storm(rig: &mut Rig, most: u64) {
    let conns = rig.proxy.accepted();
    if conns > most {
        rig.wrong(format!("{conns} connections, where {most} are enough"));
    }
}

async fn old_bytes(rig: &mut Rig) -> Result<()> {
    rig.enter(Who::Owner).await?;
    rig.flow("k1", "lines=300 pace_ms=20").await?;
    rig.cut(Cut::Hold(S(4)))?;
    rig.losses = Some(1);
    rig.tell("say k2 lines=10 pace_ms=20").await?;
    rig.told(S(10)).await?;
    rig.back(rig.struck_at, S(10)).await?;
    rig.over("k1").await?;
    rig.over("k2").await?;
    witness(rig).await
}

async fn narrow(rig: &mut Rig) -> Result<()> {
    rig.enter(Who::Owner).await?;
    rig.flow("k1", "lines=20 pace_ms=500").await?;
    rig.cut(Cut::Trickle(1_000))?;
    rig.losses = Some(0);
    rig.over("k1").await?;
    rig.row.outcome = Some("recovered".to_owned());
    no_storm(rig, 1);
    Ok(())
}

async fn impatient(rig: &mut Rig) -> Result<()> {
    rig.proxy.set_link(Link::Impatient(S(10)));
    rig.enter(Who::Owner).await?;
    rig.strike();
    rig.losses = Some(0);
    tokio::time::sleep(S(25)).await;
    rig.flow("k1", "lines=10 pace_ms=20").await?;
    rig.over("k1").await?;
    rig.row.outcome = Some("recovered".to_owned());
    no_storm(rig, 1);
    Ok(())
}

async fn again_on_a_new_connection(rig: &mut Rig) -> Result<()> {
    let addr = rig.server.addr();
    let hello = serde_json::json!({ "backend": "drill" });
    let (mut raw, welcome) = Raw::join(addr, &rig.token, &hello).await?;
    rig.session = welcome["session"].as_str().unwrap_or_default().to_owned();
    let say = serde_json::json!({
        "type": "command", "n": 1, "name": "say", "data": { "text": "k1 lines=100 pace_ms=20" }
    });
    raw.send(&say).await?;
    let text = raw.find("text", |frame| frame["kind"] == "text").await?;
    rig.strike();
    drop(raw);
    let resume = serde_json::json!({
        "session": rig.session, "attempt": 2,
        "stream": { "id": "c-drill", "next": 2, "receipts_ack": 0 },
        "resume": {
            "participant": welcome["participant"], "key": welcome["resume_key"],
            "cursor": { "epoch": welcome["cursor"]["epoch"], "seq": text["to"] },
            "strategy": "fast"
        }
    });
    let (mut raw, _) = Raw::join(addr, &rig.token, &resume).await?;
    raw.send(&say).await?;
    let receipt = raw
        .find("a receipt", |f| f["type"] == "receipt" && f["n"] == 1)
        .await?;
    if receipt.get("ok").is_none() && receipt["outcome"] != "ok" {
        rig.wrong(format!("the receipt: {receipt}"));
    }
    raw.find("the end", |frame| frame["kind"] == "turn.ended")
        .await?;
    drop(raw);
    rig.join(Who::Viewer, Via::Direct, &[]).await?;
    rig.over("k1").await?;
    rig.row.outcome = Some("recovered".to_owned());
    Ok(())
}

async fn all_at_once(rig: &mut Rig, crowd: usize) -> Result<()> {
    let url = rig.url(Via::Proxy);
    let mut sessions = Vec::new();
    let mut streams = Vec::new();
    for _ in 0..crowd {
        let builder = Client::builder()
            .url(&url)
            .token(&rig.token)
            .backend("echo");
        let session = builder
            .connect()
            .await
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        streams.push(session.events());
        sessions.push(session);
    }
    // The pace that they are told to come back at is in the beats.
    tokio::time::sleep(S(4)).await;
    rig.cut(Cut::Reset)?;
    let struck_at = rig.struck_at;
    let mut waits = tokio::task::JoinSet::new();
    for mut events in streams {
        waits.spawn(async move {
            let mut told = None;
            while let Some(event) = events.next().await {
                match event {
                    Event::ConnectionLost { fault, .. } => {
                        told = Some((fault.code.to_string(), unix_ms()));
                    }
                    Event::Recovered { .. } => return Some((told?, unix_ms())),
                    Event::Failed(_) => return None,
                    _ => {}
                }
            }
            None
        });
    }
    let mut back = 0;
    let (mut last, mut slowest) = (struck_at, struck_at);
    while let Ok(Some(joined)) = tokio::time::timeout(S(20), waits.join_next()).await {
        if let Some(((code, told_at), at)) = joined? {
            back += 1;
            last = last.max(at);
            slowest = slowest.max(told_at);
            rig.row.cause = Some(code);
        }
    }
    rig.row.told_ms = Some(span(struck_at, slowest));
    rig.row.recovered_ms = Some(span(struck_at, last));
    if back == crowd {
        rig.row.outcome = Some("recovered".to_owned());
    } else {
        rig.wrong(format!("{back} of {crowd} came back"));
    }
    for session in sessions {
        session.close().await;
    }
    Ok(())
}
