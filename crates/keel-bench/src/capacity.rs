//! No room: how soon does the caller know, and at what price?

use std::time::Instant;

use anyhow::{Result, bail};
use keel_drill::proxy::Proxy;
use keel_wire::Code;

use crate::{
    bench::{Bench, within},
    results::Measured,
    samples::{Samples, ms},
};

const TOLD_MS: f64 = 20.;
const ONE_ROOM: &str = r#"
[backends.one]
kind = "echo"
capacity = { kind = "session", slots = 1 }
"#;

pub(crate) async fn run(bench: &Bench<'_>) -> Result<Vec<Measured>> {
    let served = bench.serve("capacity", ONE_ROOM).await?;
    let direct = served.server.addr();
    let holder = within("a session", served.client(direct).backend("one").connect()).await??;
    let mut told = Samples::default();
    for _ in 0..bench.samples(1_000) {
        told.push(
            refused(within(
                "an answer",
                served.client(direct).backend("one").connect(),
            ))
            .await?,
        );
    }
    // What it costs is looked at apart from how long it takes: nothing is between the two above.
    let proxy = Proxy::start(direct).await?;
    let calls = bench.samples(100);
    for _ in 0..calls {
        refused(within(
            "an answer",
            served.client(proxy.addr()).backend("one").connect(),
        ))
        .await?;
    }
    #[expect(clippy::cast_precision_loss, reason = "a hundred")]
    let sockets = proxy.accepted() as f64 / calls as f64;
    holder.close().await;
    let method = format!(
        "from `connect()` of an SDK client, with a token in hand, to its ConnectError, at a backend whose \
         one slot is held; sockets counted in a proxy over {calls} more calls; {}",
        bench.build()
    );
    let result = Measured::of("at_capacity_told", "ms", &told)
        .target("p99 <= 20 ms", told.p99() <= TOLD_MS)
        .target(
            format!("one fault, at_capacity, over one socket ({sockets:.2} seen)"),
            (sockets - 1.).abs() < f64::EPSILON,
        )
        .method(method);
    Ok(vec![result])
}

/// How long the call took, in milliseconds. Anything but the one fault is an error.
async fn refused(
    call: impl Future<Output = Result<Result<evenkeel::Session, evenkeel::ConnectError>>>,
) -> Result<f64> {
    let begun = Instant::now();
    let answer = call.await?;
    let took = ms(begun.elapsed());
    match answer {
        Ok(_) => bail!("there was room for two"),
        Err(error) if error.fault.code == Code::AtCapacity => {
            if let Some(other) = error.fault.cause.first() {
                bail!("a second fault: {other}");
            }
            Ok(took)
        }
        Err(error) => bail!("refused as {}", error.fault),
    }
}
