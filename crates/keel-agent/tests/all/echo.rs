//! The echo provider says what its script says.

use std::sync::Arc;

use keel_agent::{
    Budgets,
    echo::{Echo, said, script},
};
use serde_json::Value;

use super::harness::Driven;

#[tokio::test(start_paused = true)]
async fn what_is_said_can_be_computed_beforehand() {
    for prompt in [
        "plain  words\n",
        "!count=500 bytes=33 seed=9 pace_ms=40",
        "!fail=crash\na b c d",
    ] {
        let heard = Driven::start(Arc::new(Echo), prompt, Budgets::default())
            .finish()
            .await;
        assert_eq!(
            heard.text(),
            said(&script(prompt, &Value::Null), &Value::Null),
            "{prompt}"
        );
    }
}

#[tokio::test]
async fn a_panic_in_a_script_is_a_failure_m21() {
    let heard = Driven::start(Arc::new(Echo), "!fail=panic", Budgets::default())
        .finish()
        .await;
    assert_eq!(heard.failure().cause(), "panicked");
}
