//! A first connect that comes to nothing: N12, N15, and whatever breaks before the welcome.

use std::time::Duration;

use anyhow::Result;

use super::{S, Spec, Witness};
use crate::{
    mutant::Mutant,
    proxy::{Cut, Link},
    rig::{Rig, Via, Who, wait},
};

pub(super) const HTML: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 13\r\n\r\n<html></html>";
const OLD: &str = "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n";
const FORBIDDEN: &str = "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n";
pub(super) const BAD_GATEWAY: &str = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n";
pub(super) const LATER: &str =
    "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";

const OUT_OF_REACH: Witness = Witness::Unseen("nothing of it reaches the server");
const BEFORE_HELLO: Witness =
    Witness::Unseen("to the server it is a connection that never said hello");
const AFTER_WELCOME: Witness = Witness::Node;

struct Case {
    id: &'static str,
    fault: &'static str,
    link: Link,
    code: &'static str,
    told_ms: f64,
    witness: Witness,
    mutant: Mutant,
}

const CASES: [Case; 11] = [
    Case {
        id: "N12/upgrade/owner/refused",
        fault: "connections are reset",
        link: Link::Refusing,
        code: "transport_error",
        told_ms: 2_000.,
        witness: OUT_OF_REACH,
        mutant: Mutant::LossUntold,
    },
    Case {
        id: "N12/upgrade/owner/silent",
        fault: "dialling is not answered",
        link: Link::Silent,
        code: "handshake_timeout",
        told_ms: 6_500.,
        witness: OUT_OF_REACH,
        mutant: Mutant::ToldLate,
    },
    Case {
        id: "N15/upgrade/owner/200",
        fault: "an HTML page instead of an upgrade",
        link: Link::Answers(HTML),
        code: "transport_error",
        told_ms: 2_000.,
        witness: OUT_OF_REACH,
        mutant: Mutant::CauseChanged,
    },
    Case {
        id: "N15/upgrade/owner/403",
        fault: "403 instead of an upgrade",
        link: Link::Answers(FORBIDDEN),
        code: "origin_not_allowed",
        told_ms: 2_000.,
        witness: OUT_OF_REACH,
        mutant: Mutant::CauseChanged,
    },
    Case {
        id: "N15/upgrade/owner/502",
        fault: "502 instead of an upgrade",
        link: Link::Answers(BAD_GATEWAY),
        code: "transport_error",
        told_ms: 2_000.,
        witness: OUT_OF_REACH,
        mutant: Mutant::ToldLate,
    },
    Case {
        id: "N15/upgrade/owner/503",
        fault: "503 with Retry-After",
        link: Link::Answers(LATER),
        code: "transport_error",
        told_ms: 2_000.,
        witness: OUT_OF_REACH,
        mutant: Mutant::LossUntold,
    },
    Case {
        id: "N15/upgrade/owner/http10",
        fault: "an answer of HTTP/1.0",
        link: Link::Answers(OLD),
        code: "transport_error",
        told_ms: 2_000.,
        witness: OUT_OF_REACH,
        mutant: Mutant::CauseChanged,
    },
    Case {
        id: "N15/upgrade/owner/stripped",
        fault: "a proxy passes the request on without its upgrade",
        link: Link::StripsUpgrade,
        code: "unsupported_version",
        told_ms: 2_000.,
        witness: Witness::Node,
        mutant: Mutant::LogMute,
    },
    Case {
        id: "N04/upgrade/owner",
        fault: "the answer to the upgrade does not come",
        link: Link::Deaf,
        code: "handshake_timeout",
        told_ms: 6_500.,
        witness: BEFORE_HELLO,
        mutant: Mutant::CauseChanged,
    },
    Case {
        id: "N04/hello/owner",
        fault: "the answer to hello does not come",
        link: Link::Mute,
        code: "handshake_timeout",
        told_ms: 6_500.,
        // The welcome went out; what the server sees is a client that hangs up.
        witness: Witness::Instead("connection_closed"),
        mutant: Mutant::LossUntold,
    },
    Case {
        id: "N21/welcome/owner",
        fault: "the welcome is cut in half",
        link: Link::HalfWelcome,
        code: "transport_error",
        told_ms: 2_000.,
        witness: AFTER_WELCOME,
        mutant: Mutant::CauseChanged,
    },
];

pub(super) fn rows() -> Vec<Spec> {
    let mut rows = Vec::new();
    for case in &CASES {
        let link = case.link;
        let spec = Spec::new(case.id, case.fault, case.mutant, move |rig| {
            Box::pin(first_connect(rig, link))
        });
        rows.push(
            spec.fails()
                .cause(case.code)
                .told_within(case.told_ms)
                .witness(case.witness),
        );
    }
    for (id, link, witness, mutant) in [
        (
            "N01/upgrade/owner",
            Link::Deaf,
            BEFORE_HELLO,
            Mutant::LossUntold,
        ),
        (
            "N01/hello/owner",
            Link::Mute,
            AFTER_WELCOME,
            Mutant::ToldLate,
        ),
    ] {
        let spec = Spec::new(id, "reset before the welcome", mutant, move |rig| {
            Box::pin(cut_while_connecting(rig, link))
        });
        rows.push(
            spec.fails()
                .cause("transport_error")
                .told_within(250.)
                .witness(witness),
        );
    }
    rows
}

async fn first_connect(rig: &mut Rig, link: Link) -> Result<()> {
    rig.proxy.set_link(link);
    rig.strike();
    rig.launch(Who::Owner, Via::Proxy, &[])?;
    rig.failed(S(20)).await
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
