//! What is told of a turn.

use super::*;

#[tokio::test]
async fn a_turn_is_told_with_all_that_the_agent_tells_of_it() {
    let agent = Agent::with(&["--modes"]);
    let heard = agent
        .turn("!thought=hm text=one_ tool plan mode=plan usage commands unknown text=two")
        .await;
    done(&heard, "end_turn");
    assert_eq!(heard.text(), "one two");
    assert!(matches!(heard.outputs[0], Output::Started { pid: Some(_) }));
    let first = |kind: &str| heard.items(kind)[0].clone();
    // Each but the unknown one is of a shape that everybody knows.
    for output in &heard.outputs {
        if let Output::Item(item) = output
            && item["type"] != "acp_update"
        {
            let read = serde_json::from_value::<keel_wire::item::ItemData>(item.clone());
            assert_eq!(read.expect("it is known").into_value(), *item);
        }
    }
    assert_eq!(first("thought")["text"], "hm");
    assert_eq!(first("tool_call")["input"], json!({"command": "ls"}));
    let update =
        json!({"type": "tool_update", "id": "call-1", "status": "done", "output": "a.txt"});
    assert_eq!(first("tool_update"), update);
    assert_eq!(first("plan")["entries"][0]["status"], "done");
    let modes: Vec<&Value> = heard
        .items("mode")
        .iter()
        .map(|item| &item["mode"])
        .collect();
    assert_eq!(modes, ["code", "plan"]);
    assert_eq!(first("usage")["context_used"], 10);
    assert_eq!(first("commands")["names"], json!(["init"]));
    assert_eq!(
        first("acp_update")["update"]["sessionUpdate"],
        "from_the_future"
    );
    agent.close().await;
}

#[tokio::test]
async fn a_stop_reason_is_told_as_it_is() {
    let agent = Agent::with(&[]);
    for reason in [
        "max_tokens",
        "max_turn_requests",
        "refusal",
        "cancelled",
        "from_the_future",
    ] {
        let heard = agent.turn(&format!("!text=one stop={reason}")).await;
        done(&heard, reason);
    }
    agent.close().await;
}

#[tokio::test]
async fn a_flood_of_tiny_pieces_is_told_in_few_c19() {
    let agent = Agent::with(&[]);
    let heard = agent.turn("!count=20000").await;
    heard.assert_done();
    assert_eq!(heard.text().len(), 20_000 * 6);
    // One each would be 20,000; how many fall together is the scheduler's.
    assert!(heard.outputs.len() < 15_000, "{}", heard.outputs.len());
    agent.close().await;
}

#[tokio::test]
async fn text_that_an_agent_says_again_supersedes_itself_c21() {
    let agent = Agent::with(&[]);
    let heard = agent
        .turn("!id=a:one_ id=a:two_ id=b:one_ id=b:two_ id=b:three")
        .await;
    heard.assert_done();
    let anew = |output: &Output| matches!(output, Output::NewAttempt { .. });
    let at = heard.outputs.iter().rposition(anew).expect("it began anew");
    let after = heard.outputs[at..]
        .iter()
        .filter_map(|output| match output {
            Output::Text(text) => Some(text.as_str()),
            _ => None,
        });
    assert_eq!(after.collect::<String>(), "one two three");
    agent.close().await;
}

#[tokio::test]
async fn a_key_that_an_agent_says_is_not_told_a67() {
    let mut config = agent(&[]);
    let key = ("MODEL_API_KEY".to_owned(), "canary-0123456789".to_owned());
    config.process.env.set.push(key);
    let agent = Agent::new(config.clone());
    let heard = agent
        .turn("!text=bad_key:_canary-0123456789 thought=canary-0123456789")
        .await;
    assert_eq!(heard.text(), "bad key: [redacted]");
    assert_eq!(heard.items("thought")[0]["text"], "[redacted]");
    // In pieces, with a thought between them; what only begins like it is told when nothing follows.
    let heard = agent
        .turn("!text=no_can text=ary-01 thought=canary-0 thought=123456789, text=23456789. text=_can thought=can tool text=ary-0")
        .await;
    assert_eq!(heard.text(), "no [redacted]. canary-0");
    let thoughts: Vec<_> = heard
        .items("thought")
        .iter()
        .map(|it| it["text"].clone())
        .collect();
    assert_eq!(thoughts, ["[redacted],", "can"]);
    agent.close().await;
    config.process.owner = super::super::harness::owner();
    let prompt = "!permit=canary-0123456789";
    let (heard, asked) = answered(config, prompt, &[json!("yes")]).await;
    assert_eq!(asked[0].prompt, "[redacted] something");
    assert!(!format!("{heard:?}").contains("canary"), "{heard:?}");
}

#[tokio::test]
async fn of_what_is_too_long_to_be_told_again_the_end_is() {
    let agent = Agent::with(&[]);
    let mut request = request("!echo");
    request.history[0].text = format!("begin {} end", "\u{e9}".repeat(50_000));
    let heard = agent.start(request).finish().await;
    let text = heard.text();
    assert!(text.contains("\n\n[…]\u{e9}") && !text.contains("begin"));
    assert!(text.ends_with("\u{e9} end\n\n!echo"));
    agent.close().await;
}
