//! What a model's server can do wrong, over each dialect, from a real server over real sockets.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use keel_agent::{
    Budgets, Ending, Failure, NetworkStage, Output, SilentStage,
    endpoint::{BaseUrl, Config},
};
use keel_wire::{Code, Retry};
use serde_json::{Value, json};

use super::{
    harness::{Driven, Heard},
    model::{CANARY, Dialect, Model},
};

const USUAL: &str = "Hello from the fake model.";

async fn ask(dialect: Dialect, config: Config, prompt: &str) -> Heard {
    let provider = dialect.provider(config);
    let heard = Driven::start(provider, prompt, Budgets::default())
        .finish()
        .await;
    assert_no_canary(&heard);
    heard
}

/// The key is in nothing that was told, nor in the fault that it becomes.
fn assert_no_canary(heard: &Heard) {
    let fault = heard.outcome.fault("f-1".parse().expect("an id"), 0);
    let fault = fault.map(|fault| serde_json::to_string(&fault).expect("JSON"));
    let told = format!("{heard:?} {fault:?}");
    assert!(!told.contains("canary"), "{told}");
}

fn items(heard: &Heard) -> Vec<&Value> {
    heard
        .outputs
        .iter()
        .filter_map(|output| {
            let Output::Item(item) = output else {
                return None;
            };
            Some(item)
        })
        .collect()
}

/// What was told of retries: the wait, and why.
fn retries(heard: &Heard) -> Vec<(u64, Failure)> {
    let mut waiting = None;
    let mut told = Vec::new();
    for output in &heard.outputs {
        if let Output::Retrying { in_ms, failure } = output {
            assert_eq!(waiting, None, "one at a time");
            waiting = Some((*in_ms, (**failure).clone()));
        }
        if let Output::NewAttempt { failure } = output {
            let (in_ms, why) = waiting.take().expect("no retry without a word");
            assert_eq!(why, **failure, "the same cause");
            told.push((in_ms, why));
        }
    }
    assert!(waiting.is_none(), "a retry that is told comes");
    told
}

fn stop_reason(heard: &Heard) -> &str {
    let Ending::Done { stop_reason } = &heard.outcome.ending else {
        panic!("not done: {heard:?}")
    };
    stop_reason.as_deref().expect("a reason")
}

fn code(heard: &Heard) -> Code {
    heard.failure().code()
}

#[tokio::test]
async fn an_answer_its_usage_and_its_reason_are_told() {
    let model = Model::start(&[]);
    for dialect in Dialect::ALL {
        let heard = ask(dialect, model.config(), "hello").await;
        assert_eq!(heard.text(), USUAL, "{dialect:?}");
        assert_eq!(stop_reason(&heard), "end_turn");
        assert_eq!(
            items(&heard),
            [&json!({"type": "usage", "input_tokens": 11, "output_tokens": 7, "cached_tokens": 3})]
        );
        let thought = ask(dialect, model.config(), "!think").await;
        assert_eq!(thought.text(), USUAL, "{dialect:?}");
        let told: String = items(&thought)
            .iter()
            .filter(|item| item["type"] == "thought")
            .map(|item| item["text"].as_str().unwrap())
            .collect();
        assert_eq!(told, "Let me think. I know.");
    }
    // Whoever asks says who they are, and what was said before.
    let seen = model.get("/seen").await;
    let first = |path: &str| {
        let mut found = seen.as_array().unwrap().iter();
        found
            .find(|it| it["path"] == path)
            .expect("it was asked")
            .clone()
    };
    let chat = first("/v1/chat/completions");
    assert_eq!(chat["headers"]["authorization"], format!("Bearer {CANARY}"));
    let body: Value = serde_json::from_str(chat["body"].as_str().unwrap()).unwrap();
    assert_eq!(
        body["messages"],
        json!([
            {"role": "user", "content": "before"},
            {"role": "assistant", "content": "yes"},
            {"role": "user", "content": "hello"},
        ])
    );
    let messages = first("/v1/messages");
    assert_eq!(messages["headers"]["x-api-key"], CANARY);
    assert_eq!(messages["headers"]["anthropic-version"], "2023-06-01");
}

#[tokio::test]
async fn a_session_may_choose_among_the_models_that_are_offered() {
    let model = Model::start(&[]);
    let mut config = model.config();
    config.models = vec!["other".to_owned()];
    config.system = Some("be brief".to_owned());
    config.body = json!({"temperature": 0.5, "stream_options": null})
        .as_object()
        .unwrap()
        .clone();
    for (wanted, given) in [("other", "other"), ("dear", "fake-model")] {
        let mut request = super::harness::request(given);
        request.params = json!({"model": wanted});
        let provider = Dialect::Chat.provider(config.clone());
        let heard = Driven::start_with(provider, request, Budgets::default())
            .finish()
            .await;
        heard.assert_done();
        let seen = model.get("/seen").await;
        let last = seen.as_array().unwrap().last().unwrap();
        let body: Value = serde_json::from_str(last["body"].as_str().unwrap()).unwrap();
        assert_eq!(body["model"], given);
        assert_eq!(body["temperature"], 0.5);
        assert!(body.get("stream_options").is_none());
        assert_eq!(
            body["messages"][0],
            json!({"role": "system", "content": "be brief"})
        );
    }
}

#[tokio::test]
async fn what_is_refused_is_told_once_and_not_asked_again_h01_a67() {
    let model = Model::start(&[]);
    for dialect in Dialect::ALL {
        for (status, wanted) in [
            (400, Code::ProviderRefused),
            (401, Code::ProviderAuth),
            (403, Code::ProviderAuth),
            (404, Code::ProviderRefused),
        ] {
            let prompt = format!("!{status} {dialect:?}");
            let heard = ask(dialect, model.config(), &prompt).await;
            assert_eq!(code(&heard), wanted);
            let Failure::Http {
                status: told,
                message,
                ..
            } = heard.failure()
            else {
                panic!("{heard:?}")
            };
            assert_eq!(*told, status);
            if status == 401 {
                assert_eq!(
                    message,
                    "Incorrect API key provided: [redacted]. You can find your API key elsewhere."
                );
            }
            assert_eq!(retries(&heard), []);
            assert_eq!(model.calls(&prompt).await, 1, "asked once");
        }
    }
}

#[tokio::test]
async fn a_rate_limit_waits_as_long_as_it_says_within_bounds_h02() {
    let model = Model::start(&[]);
    let mut config = model.config();
    config.clocks.retry_wait = Duration::from_secs(60);
    for dialect in Dialect::ALL {
        for (variant, least, most) in [
            ("429:1", 1_000, 1_500),
            ("429:ms:300", 300, 800),
            ("429", 0, 500),
            ("429:nonsense", 0, 500),
        ] {
            let prompt = format!("!n:1:{variant} {dialect:?}");
            let heard = ask(dialect, config.clone(), &prompt).await;
            assert_eq!(heard.text(), USUAL);
            let told = retries(&heard);
            assert_eq!(told.len(), 1, "{prompt}");
            let (in_ms, failure) = &told[0];
            assert!((least..=most).contains(in_ms), "{prompt}: {in_ms}");
            assert!(heard.took >= Duration::from_millis(*in_ms));
            assert_eq!(failure.code(), Code::ProviderRateLimited);
            assert_eq!(model.calls(&prompt).await, 2);
        }
        // A date, and a number beyond all reason: waited for at most a minute, and a cancel ends it.
        for (variant, least, most) in [("429:date:5", 3_000, 5_500), ("429:absurd", 60_000, 60_500)]
        {
            let prompt = format!("!{variant} {dialect:?}");
            let provider = dialect.provider(config.clone());
            let mut driven = Driven::start(provider, &prompt, Budgets::default());
            driven
                .until(|output| matches!(output, Output::Retrying { .. }))
                .await;
            driven.running.cancel();
            let heard = driven.finish().await;
            let Some(Output::Retrying { in_ms, failure }) = heard.outputs.last() else {
                panic!("{heard:?}")
            };
            assert!((least..=most).contains(in_ms), "{prompt}: {in_ms}");
            assert!(failure.retry_after_ms().unwrap() <= 60_000, "{failure:?}");
            assert_eq!(heard.outcome.ending, Ending::Cancelled { forced: false });
            assert!(heard.took < Duration::from_secs(2), "{:?}", heard.took);
        }
    }
}

#[tokio::test]
async fn a_rate_limit_that_stays_is_told_with_when_to_come_back_h02() {
    let model = Model::start(&[]);
    for dialect in Dialect::ALL {
        let prompt = format!("!429:ms:40 {dialect:?}");
        let heard = ask(dialect, model.config(), &prompt).await;
        assert_eq!(retries(&heard).len(), 2);
        assert_eq!(model.calls(&prompt).await, 3, "three tries and no more");
        let fault = heard.outcome.fault("f-1".parse().unwrap(), 0).unwrap();
        assert_eq!(fault.code, Code::ProviderRateLimited);
        assert_eq!(fault.retry, Retry::After { ms: 40 });
        assert_eq!(fault.detail["status"], 429);
    }
}

#[tokio::test]
async fn what_passes_is_asked_again_and_no_more_than_is_allowed_h03() {
    let model = Model::start(&[]);
    for dialect in Dialect::ALL {
        for status in [500, 502, 503, 504, 529] {
            let prompt = format!("!n:2:{status} {dialect:?}");
            let heard = ask(dialect, model.config(), &prompt).await;
            assert_eq!(heard.text(), USUAL, "{prompt}");
            assert_eq!(retries(&heard).len(), 2);
            let prompt = format!("!{status} {dialect:?}");
            let heard = ask(dialect, model.config(), &prompt).await;
            assert_eq!(code(&heard), Code::ProviderUnavailable, "{prompt}");
            assert_eq!(model.calls(&prompt).await, 3, "{prompt}");
        }
        let mut config = model.config();
        config.tries = 1;
        let prompt = format!("!500:once {dialect:?}");
        let heard = ask(dialect, config, &prompt).await;
        assert_eq!(retries(&heard), []);
        assert_eq!(model.calls(&prompt).await, 1);
    }
}

#[tokio::test]
async fn no_retry_begins_that_the_turn_has_no_time_for_h03() {
    let model = Model::start(&[]);
    let mut config = model.config();
    config.clocks.retry_wait = Duration::from_secs(60);
    config.clocks.whole = Duration::from_secs(5);
    let heard = ask(Dialect::Chat, config, "!429:30").await;
    assert_eq!(retries(&heard), []);
    assert_eq!(heard.failure().retry_after_ms(), Some(30_000));
    assert!(heard.took < Duration::from_secs(2));
}

#[tokio::test]
async fn what_cannot_be_reached_is_told_by_its_stage_h04() {
    let model = Model::start(&[]);
    // Bound, so that nobody else gets the port, and not listening: connections are refused.
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let tls = model.url.replace("http:", "https:");
    for dialect in Dialect::ALL {
        for (url, wanted) in [
            (closed.as_str(), NetworkStage::Connect),
            ("http://nowhere.invalid", NetworkStage::Dns),
            (tls.as_str(), NetworkStage::Tls),
        ] {
            let mut config = model.config();
            config.base_url = BaseUrl::parse(url, false).unwrap();
            let heard = ask(dialect, config, "hello").await;
            let Failure::Network { stage, .. } = heard.failure() else {
                panic!("{url}: {heard:?}")
            };
            assert_eq!(*stage, wanted, "{url}: {:?}", heard.failure());
            assert_eq!(code(&heard), Code::ProviderUnavailable);
            assert_eq!(retries(&heard).len(), 2, "{url}");
            assert!(heard.took < Duration::from_secs(5), "{:?}", heard.took);
        }
    }
}

#[tokio::test]
async fn silence_before_the_head_is_told_and_tried_once_more_h05() {
    let model = Model::start(&[]);
    for dialect in Dialect::ALL {
        let mut config = model.config();
        config.tries = 9;
        config.clocks.first_byte = Duration::from_millis(150);
        let prompt = format!("!hang {dialect:?}");
        let heard = ask(dialect, config.clone(), &prompt).await;
        let (stage, ms) = (SilentStage::FirstByte, 150);
        assert_eq!(*heard.failure(), Failure::Silent { stage, ms });
        assert_eq!(code(&heard), Code::ProviderTimeout);
        assert_eq!(retries(&heard).len(), 1);
        assert_eq!(model.calls(&prompt).await, 2);
        let prompt = format!("!n:1:hang {dialect:?}");
        assert_eq!(ask(dialect, config, &prompt).await.text(), USUAL);
    }
    assert_eq!(model.aborted().await, 9, "no request outlives its attempt");
}

#[tokio::test]
async fn silence_in_the_middle_is_told_and_what_was_said_is_kept_h06() {
    let model = Model::start(&[]);
    for dialect in Dialect::ALL {
        let mut config = model.config();
        config.clocks.idle = Duration::from_millis(200);
        let prompt = format!("!hangmid {dialect:?}");
        let heard = ask(dialect, config, &prompt).await;
        let (stage, ms) = (SilentStage::Idle, 200);
        assert_eq!(*heard.failure(), Failure::Silent { stage, ms });
        assert_eq!(heard.text(), "Hello from ");
        assert_eq!(retries(&heard), []);
        assert_eq!(model.calls(&prompt).await, 1);
    }
}

#[tokio::test]
async fn a_cut_keeps_what_was_said_or_begins_anew_as_asked_h07_i13() {
    let model = Model::start(&[]);
    for dialect in Dialect::ALL {
        for how in ["cutfin", "cutrst"] {
            let prompt = format!("!{how} {dialect:?}");
            let heard = ask(dialect, model.config(), &prompt).await;
            assert_eq!(heard.text(), "Hello from ", "{prompt}");
            let Failure::Cut { bytes, .. } = heard.failure() else {
                panic!("{heard:?}")
            };
            assert_eq!(*bytes, 11);
            assert_eq!(code(&heard), Code::ProviderUnavailable);
            assert_eq!(model.calls(&prompt).await, 1, "not asked again");

            let mut config = model.config();
            config.retry_after_text = true;
            let prompt = format!("!n:1:{how} {dialect:?}");
            let heard = ask(dialect, config, &prompt).await;
            // What came first is superseded by what comes after the new attempt.
            assert_eq!(heard.text(), format!("Hello from {USUAL}"));
            assert_eq!(retries(&heard).len(), 1);
            heard.assert_done();
        }
        // Nothing was said yet: asked again without anybody's leave.
        let prompt = format!("!n:1:cut0 {dialect:?}");
        let heard = ask(dialect, model.config(), &prompt).await;
        assert_eq!(heard.text(), USUAL);
        assert!(matches!(
            retries(&heard)[0].1,
            Failure::Cut { bytes: 0, .. }
        ));
    }
}

#[tokio::test]
async fn an_end_without_a_reason_is_no_success_h08() {
    let model = Model::start(&[]);
    for dialect in Dialect::ALL {
        let prompt = format!("!noend {dialect:?}");
        let heard = ask(dialect, model.config(), &prompt).await;
        assert_eq!(*heard.failure(), Failure::NoFinish, "{dialect:?}");
        assert_eq!(heard.text(), "Hello from ");
        assert_eq!(model.calls(&prompt).await, 1);
        let prompt = format!("!empty200 {dialect:?}");
        let heard = ask(dialect, model.config(), &prompt).await;
        assert_eq!(*heard.failure(), Failure::NoFinish, "{dialect:?}");
        assert_eq!(model.calls(&prompt).await, 3, "nothing was said yet");
    }
    // A reason is enough; some forget the rest.
    let heard = ask(Dialect::Chat, model.config(), "!nodone").await;
    assert_eq!(
        (heard.text().as_str(), stop_reason(&heard)),
        (USUAL, "end_turn")
    );
}

#[tokio::test]
async fn a_rare_but_right_stream_is_read_and_a_wrong_one_is_told_h09() {
    let model = Model::start(&[]);
    for dialect in Dialect::ALL {
        for variant in ["cr", "crlf", "bom", "multi"] {
            let heard = ask(dialect, model.config(), &format!("!badsse:{variant}")).await;
            assert_eq!(heard.text(), USUAL, "{dialect:?} {variant}");
            heard.assert_done();
        }
        let heard = ask(dialect, model.config(), "!badsse:split").await;
        assert_eq!(heard.text(), "H\u{e9}llo \u{1f600} from the fake model.");
        for variant in ["badjson", "nul", "utf8", "big", "comments", "lines"] {
            let prompt = format!("!badsse:{variant} {dialect:?}");
            let heard = ask(dialect, model.config(), &prompt).await;
            assert!(
                matches!(heard.failure(), Failure::Sse { .. }),
                "{prompt}: {heard:?}"
            );
            assert_eq!(code(&heard), Code::ProviderProtocol);
            assert_eq!(model.calls(&prompt).await, 1, "{prompt}");
        }
    }
    assert!(memory_peak_mib() < 256, "{} MiB", memory_peak_mib());
}

/// The most memory that this process ever had.
fn memory_peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|peak| peak.split_whitespace().next()?.parse::<u64>().ok());
    kib.expect("a number") / 1024
}

#[tokio::test]
async fn what_is_no_stream_is_told_as_what_it_is_h10() {
    let model = Model::start(&[]);
    for dialect in Dialect::ALL {
        for (mode, wanted) in [
            (
                "html",
                "text/html; charset=utf-8: Sign in to the hotel's network",
            ),
            ("html:sse", "text/event-stream, which it is not"),
            (
                "jsonerror200",
                "application/json: the upstream is on holiday",
            ),
            ("gzipbomb", "gzip"),
        ] {
            let prompt = format!("!{mode} {dialect:?}");
            let heard = ask(dialect, model.config(), &prompt).await;
            let content_type = wanted.to_owned();
            assert_eq!(
                *heard.failure(),
                Failure::NotSse { content_type },
                "{prompt}"
            );
            assert_eq!(code(&heard), Code::ProviderProtocol);
            assert_eq!(model.calls(&prompt).await, 1, "{prompt}");
            assert!(heard.took < Duration::from_secs(5));
        }
    }
}

#[tokio::test]
async fn an_error_inside_a_stream_is_an_error_and_no_text_h11() {
    let model = Model::start(&[]);
    for dialect in Dialect::ALL {
        let prompt = format!("!errorevent {dialect:?}");
        let heard = ask(dialect, model.config(), &prompt).await;
        assert_eq!(heard.text(), "Hello from ");
        let (kind, message) = ("server_error".to_owned(), "the model fell over".to_owned());
        let failure = Failure::Upstream { kind, message };
        assert_eq!(*heard.failure(), failure);
        assert_eq!(model.calls(&prompt).await, 1, "text was said");
        let heard = ask(dialect, model.config(), "!errorevent:untyped").await;
        assert_eq!(*heard.failure(), failure, "a proxy's, in any dialect");

        // Before any text, what passes is asked again, and what does not is not.
        for (kind, calls) in [("overloaded_error", 3), ("invalid_prompt", 1)] {
            let prompt = format!("!errorevent:{kind} after=0 {dialect:?}");
            let heard = ask(dialect, model.config(), &prompt).await;
            assert!(matches!(heard.failure(), Failure::Upstream { .. }));
            assert_eq!(model.calls(&prompt).await, calls, "{prompt}");
        }
    }
    let failed = ask(Dialect::Responses, model.config(), "!failed").await;
    assert_eq!(failed.failure().cause(), "upstream");
}

#[tokio::test]
async fn openrouter_may_comment_and_tell_errors_in_a_choice_h11() {
    let model = Model::start(&[]);
    let heard = ask(Dialect::Chat, model.config(), "!openrouter").await;
    assert_eq!(
        (heard.text().as_str(), stop_reason(&heard)),
        (USUAL, "end_turn")
    );
    let heard = ask(Dialect::Chat, model.config(), "!openrouter:error").await;
    let (kind, message) = (
        "server_error".to_owned(),
        "Provider disconnected".to_owned(),
    );
    assert_eq!(*heard.failure(), Failure::Upstream { kind, message });
    assert_eq!(heard.text(), "Hello from ");
}

#[tokio::test]
async fn calls_of_tools_are_told_whole_and_bad_ones_fail_h12() {
    let model = Model::start(&[]);
    for dialect in Dialect::ALL {
        for mode in ["tool", "toolsplit"] {
            let heard = ask(dialect, model.config(), &format!("!{mode}")).await;
            assert_eq!(stop_reason(&heard), "tool_calls", "{dialect:?} {mode}");
            let call = json!({
                "type": "tool_call", "id": "call_0", "title": "get_weather", "status": "pending",
                "input": {"city": "Berlin \u{1f327}", "days": 3},
            });
            assert_eq!(*items(&heard)[0], call);
        }
        let prompt = format!("!badtoolargs {dialect:?}");
        let heard = ask(dialect, model.config(), &prompt).await;
        let told = items(&heard);
        assert_eq!(
            (&told[0]["status"], &told[1]["type"]),
            (&json!("failed"), &json!("tool_update"))
        );
        assert_eq!(heard.failure().cause(), "upstream");
        assert_eq!(
            model.calls(&prompt).await,
            1,
            "a turn that called tools is not asked again"
        );

        let mut config = model.config();
        config.body =
            json!({"tools": [{"type": "function", "name": "f", "function": {"name": "f"}}]})
                .as_object()
                .unwrap()
                .clone();
        let heard = ask(dialect, config, "!unknowntool").await;
        assert!(
            heard
                .failure()
                .to_string()
                .contains("a tool that it was not given")
        );

        let heard = ask(dialect, model.config(), "!manytools:1000").await;
        assert!(matches!(heard.failure(), Failure::Sse { .. }), "{heard:?}");
        assert!(heard.outputs.len() < 150);
        let heard = ask(dialect, model.config(), "!manytools:100").await;
        assert_eq!(items(&heard).len(), 101);
    }
}

#[tokio::test]
async fn an_answer_that_is_not_whole_says_why_h13() {
    let model = Model::start(&[]);
    for dialect in Dialect::ALL {
        // Anthropic has one word for the two.
        let filtered = match dialect {
            Dialect::Messages => "refusal",
            Dialect::Chat | Dialect::Responses => "content_filter",
        };
        for (mode, wanted) in [
            ("length", "length"),
            ("content_filter", filtered),
            ("refusal", "refusal"),
        ] {
            let heard = ask(dialect, model.config(), &format!("!{mode}")).await;
            assert_eq!(stop_reason(&heard), wanted, "{dialect:?} {mode}");
            assert!(heard.text().starts_with(USUAL));
        }
    }
}

#[tokio::test]
async fn usage_that_makes_no_sense_is_unknown_h14() {
    let model = Model::start(&[]);
    for dialect in Dialect::ALL {
        for variant in ["negative", "absurd", "text", "missing"] {
            let heard = ask(dialect, model.config(), &format!("!badusage:{variant}")).await;
            heard.assert_done();
            let told = items(&heard);
            assert_eq!(told.len(), 1);
            assert_eq!(told[0]["unknown"], true, "{dialect:?} {variant}: {told:?}");
            assert!(told[0].get("input_tokens").is_none(), "{told:?}");
            assert!(told[0].get("output_tokens").is_none(), "{told:?}");
        }
    }
}

#[tokio::test]
async fn no_redirect_is_followed_h15_a66() {
    let model = Model::start(&[]);
    for dialect in Dialect::ALL {
        for mode in [
            "redirect",
            "redirect:307",
            "redirect:file",
            "redirect:metadata",
        ] {
            let prompt = format!("!{mode} {dialect:?}");
            let heard = ask(dialect, model.config(), &prompt).await;
            assert!(
                matches!(heard.failure(), Failure::Redirect { .. }),
                "{heard:?}"
            );
            assert_eq!(model.calls(&prompt).await, 1);
        }
    }
    let counts = model.get("/counts").await;
    assert!(counts["paths"].get("/v1/redirected").is_none(), "{counts}");
}

#[tokio::test]
async fn a_slow_answer_comes_as_it_is_said_and_a_cancel_ends_the_request_h16() {
    let model = Model::start(&[]);
    for dialect in Dialect::ALL {
        let provider = dialect.provider(model.config());
        let mut driven = Driven::start(provider, "!vslow rate=20 count=1000", Budgets::default());
        let began = Instant::now();
        for _ in 0..4 {
            driven
                .until(|output| matches!(output, Output::Text(_)))
                .await;
        }
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "each word at its time"
        );
        driven.running.cancel();
        let heard = driven.finish().await;
        assert_eq!(heard.outcome.ending, Ending::Cancelled { forced: false });
        assert!(heard.took < Duration::from_secs(6));
    }
    assert_eq!(model.aborted().await, 3);
}

#[tokio::test]
async fn an_answer_that_comes_twice_counts_once_h17() {
    let model = Model::start(&[]);
    for dialect in Dialect::ALL {
        let heard = ask(dialect, model.config(), "!twice").await;
        assert_eq!(heard.text(), USUAL, "{dialect:?}");
        assert_eq!(stop_reason(&heard), "end_turn");
    }
}

#[tokio::test]
async fn a_prompt_that_fails_each_time_costs_a_bounded_number_of_calls_h18() {
    let model = Model::start(&[]);
    for dialect in Dialect::ALL {
        let prompt = format!("!cut0 {dialect:?}");
        for turn in 1..=3 {
            let heard = ask(dialect, model.config(), &prompt).await;
            assert!(matches!(heard.failure(), Failure::Cut { .. }));
            assert_eq!(model.calls(&prompt).await, 3 * turn);
        }
        ask(dialect, model.config(), "hello").await.assert_done();
    }
}

#[tokio::test]
async fn a_server_that_dies_of_a_prompt_is_told_by_how_it_broke_off_h18() {
    for dialect in Dialect::ALL {
        let model = Model::start(&[]);
        let heard = ask(dialect, model.config(), "!die").await;
        let stages: Vec<_> = retries(&heard)
            .iter()
            .map(|(_, failure)| stage(failure))
            .collect();
        // It is not back for the second try and the third, and that is not what the turn failed of.
        assert_eq!(stages, [NetworkStage::Send, NetworkStage::Connect]);
        assert_eq!(stage(heard.failure()), NetworkStage::Send);
        assert!(
            heard.failure().to_string().contains("; then: "),
            "{heard:?}"
        );
        // Who was never there broke nothing off.
        let heard = ask(dialect, model.config(), "hello").await;
        assert_eq!(stage(heard.failure()), NetworkStage::Connect);
        assert!(
            !heard.failure().to_string().contains("; then: "),
            "{heard:?}"
        );
    }
}

fn stage(failure: &Failure) -> NetworkStage {
    let Failure::Network { stage, .. } = failure else {
        panic!("{failure:?}")
    };
    *stage
}

#[tokio::test]
async fn a_key_that_is_not_there_is_told_without_a_request() {
    let model = Model::start(&[]);
    let mut config = model.config();
    config.key = keel_agent::endpoint::Key::from_env("EVENKEEL_TEST_NO_SUCH_KEY");
    let heard = ask(Dialect::Chat, config, "hello").await;
    assert_eq!(code(&heard), Code::ProviderAuth);
    assert!(
        heard
            .failure()
            .to_string()
            .contains("EVENKEEL_TEST_NO_SUCH_KEY")
    );
    assert_eq!(model.get("/counts").await["total"], 0);
}

#[tokio::test]
async fn a_local_server_s_troubles_are_told_with_what_to_do() {
    let model = Model::start(&[]);
    let mut config = model.config();
    config.local = true;
    let message = |heard: &Heard| heard.failure().to_string();
    let heard = ask(Dialect::Chat, config.clone(), "!nomodel").await;
    assert!(message(&heard).contains("ollama pull"), "{heard:?}");
    for kind in ["oom", "oom:cuda"] {
        let prompt = format!("!{kind}");
        let heard = ask(Dialect::Chat, config.clone(), &prompt).await;
        assert!(
            message(&heard).contains("does not fit in the memory"),
            "{heard:?}"
        );
        assert_eq!(
            model.calls(&prompt).await,
            1,
            "it will not fit the next time"
        );
    }
    // While the model is loaded it is asked on and on, more often than tries would allow.
    config.tries = 1;
    let heard = ask(Dialect::Chat, config.clone(), "!n:5:loading").await;
    assert_eq!((heard.text().as_str(), retries(&heard).len()), (USUAL, 5));
    config.clocks.first_byte = Duration::from_millis(200);
    let heard = ask(Dialect::Chat, config.clone(), "!loading").await;
    assert_eq!(code(&heard), Code::ProviderUnavailable);
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    config.base_url = BaseUrl::parse(&format!("http://{closed}"), true).unwrap();
    let heard = ask(Dialect::Chat, config, "hello").await;
    assert!(message(&heard).contains("ollama serve"), "{heard:?}");
}

#[tokio::test]
async fn nothing_that_can_be_printed_holds_the_key_a67() {
    let model = Model::start(&[]);
    let mut config = model.config();
    let header = keel_agent::endpoint::Secret::new("canary-header".to_owned());
    config.headers = vec![("x-team".to_owned(), header)];
    for dialect in Dialect::ALL {
        let provider = dialect.provider(config.clone());
        let printed = format!("{provider:?} {config:?}");
        assert!(!printed.contains("canary"), "{printed}");
    }
    // An error that repeats the key in a stream, a status and a page.
    for prompt in ["!500", "!401", "!403", &format!("!errorevent:{CANARY}")] {
        ask(Dialect::Chat, config.clone(), prompt).await;
    }
}
