//! What an agent asks for, and what its session chooses.

use super::*;

/// A request of a session with these params.
fn with_params(prompt: &str, params: Value) -> Request {
    Request {
        params,
        ..request(prompt)
    }
}

#[tokio::test]
async fn a_permission_is_asked_for_and_answered_once_a65_c23() {
    let (heard, asked) = answered(agent(&[]), "!permit", &[json!("yes")]).await;
    assert_eq!(heard.text(), r#"{"optionId":"yes","outcome":"selected"}"#);
    assert_eq!(asked[0].options, ["yes", "always", "no"]);
    assert_eq!(asked[0].prompt, "execute something");
    assert_eq!(asked[0].tool_call.as_deref(), Some("call-1"));
    assert_eq!(asked[0].choices[1].label, "Always allow");
    // Nobody answered in time.
    let (heard, _) = answered(agent(&[]), "!permit", &[Value::Null]).await;
    assert_eq!(heard.text(), r#"{"optionId":"no","outcome":"selected"}"#);
}

#[tokio::test]
async fn two_permissions_are_asked_for_one_after_the_other_a65() {
    let answers = [json!("yes"), json!("no")];
    let (heard, asked) = answered(agent(&[]), "!permit2", &answers).await;
    assert_ne!(asked[0].id, asked[1].id);
    let want = r#"{"optionId":"yes","outcome":"selected"}{"optionId":"no","outcome":"selected"}"#;
    assert_eq!(heard.text(), want);
}

#[tokio::test]
async fn a_policy_decides_where_nobody_is_asked() {
    let said = async |policy: Permissions, params: Value, prompt: &str| {
        let mut config = agent(&[]);
        config.permissions = policy;
        let agent = Agent::new(config);
        let mut request = request(prompt);
        request.params = params;
        let heard = agent.start(request).finish().await;
        agent.close().await;
        let asked = |output: &Output| matches!(output, Output::NeedsAction(_));
        assert!(!heard.outputs.iter().any(asked));
        heard.text()
    };
    let (yes, no) = (r#""optionId":"yes""#, r#""optionId":"no""#);
    let allow = Permissions::Allow(["read".to_owned()].into());
    assert!(
        said(allow.clone(), Value::Null, "!permit=read")
            .await
            .contains(yes)
    );
    assert!(
        said(Permissions::Deny, Value::Null, "!permit=read")
            .await
            .contains(no)
    );
    let deny = json!({"permissions": "deny"});
    assert!(said(allow, deny, "!permit=read").await.contains(no));
    // What a session wishes beyond its backend's policy is asked for.
    let mut config = agent(&[]);
    config.permissions = Permissions::Allow(["read".to_owned()].into());
    let (heard, _) = answered(config, "!permit=execute", &[json!("no")]).await;
    assert!(heard.text().contains(no));
}

#[tokio::test]
async fn what_a_session_chooses_is_in_force_before_its_agent_is_asked() {
    for way in ["--modes", "--options"] {
        let mut config = agent(&[way, "--resume", "chosen"]);
        config.modes = vec!["plan".to_owned(), "code".to_owned()];
        config.models = vec!["large".to_owned()];
        let agent = Agent::new(config);
        let chosen = async |params: Value| {
            let heard = agent.start(with_params("hello", params)).finish().await;
            heard.assert_done();
            (heard.text(), heard.items("mode").len(), heard.pid())
        };
        let (text, told, pid) = chosen(json!({})).await;
        assert_eq!((text.as_str(), told), ("code small ", 1), "{way}");
        // Told to the agent that waits; once.
        let both = json!({"mode": "plan", "model": "large"});
        assert_eq!(
            chosen(both.clone()).await,
            ("plan large ".to_owned(), 1, pid),
            "{way}"
        );
        assert_eq!(
            chosen(both.clone()).await,
            ("plan large ".to_owned(), 0, pid),
            "{way}"
        );
        // What is not said any more is as it was.
        let one = json!({"mode": "plan", "model": null});
        assert_eq!(
            chosen(one).await,
            ("plan small ".to_owned(), 0, pid),
            "{way}"
        );
        // To one that died in between, before it is asked.
        slay(pid).await;
        let (text, ..) = chosen(both).await;
        assert_eq!(text, "plan large ", "{way}");
        agent.close().await;
    }
}

#[tokio::test]
async fn what_a_session_may_not_choose_is_a_fault_and_nothing_is_asked_a65() {
    let rows = [
        (json!({"mode": "plan"}), "mode", "plan"),
        (json!({"mode": "yolo"}), "mode", "yolo"),
        (json!({"mode": 7}), "mode", "7"),
        (json!({"model": "huge"}), "model", "huge"),
        (
            json!({"mode": "code", "model": "x".repeat(500)}),
            "model",
            "xxx",
        ),
    ];
    let mut config = agent(&["--options"]);
    // One that the agent does not have is none that can be chosen.
    config.modes = ["code", "yolo"].map(str::to_owned).into();
    config.models = ["small", "gone"].map(str::to_owned).into();
    let agent = Agent::new(config.clone());
    let mut pids = Vec::new();
    for (params, param, value) in rows {
        let heard = agent.start(with_params("hello", params)).finish().await;
        assert_eq!(heard.text(), "");
        let fault = heard.outcome.fault("f-1".parse().unwrap(), 7).unwrap();
        assert_eq!(fault.code, keel_wire::Code::ProviderRefused);
        let fact = |key: &str| fault.detail[key].clone();
        assert_eq!(
            (fact("cause"), fact("param")),
            (json!("choice"), json!(param))
        );
        assert!(
            fact("value")
                .as_str()
                .is_some_and(|it| it.starts_with(value) && it.len() <= 128)
        );
        let offered = if param == "mode" {
            json!(["code"])
        } else {
            json!(["small"])
        };
        assert_eq!(fact("offered"), offered);
        pids.push(heard.pid());
    }
    let heard = agent.turn("hello").await;
    heard.assert_done();
    assert!(
        pids.iter().all(|pid| *pid == heard.pid()),
        "it is the same agent: {pids:?}"
    );
    agent.close().await;

    // An agent that offers it and does not take it; one that offers nothing.
    for (flags, modes) in [
        (&["--modes", "--refuse-choices"][..], ["plan"]),
        (&[], ["plan"]),
    ] {
        let mut config = super::super::harness::agent(flags);
        config.modes = modes.map(str::to_owned).into();
        let agent = Agent::new(config);
        let heard = agent
            .start(with_params("hello", json!({"mode": "plan"})))
            .finish()
            .await;
        assert_eq!(heard.failure().cause(), "choice", "{flags:?}");
        agent.turn("hello").await.assert_done();
        agent.close().await;
    }
}
