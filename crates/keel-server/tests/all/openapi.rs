//! The document says what is served, and nothing else is.

use std::collections::BTreeSet;

use keel_server::config::{Backend, BackendKind, StoreKind};
use serde_json::Value;

use crate::support::Host;

async fn with_media() -> Host {
    Host::start(StoreKind::Memory, |config| {
        config.media.listen = Some(([127, 0, 0, 1], 0).into());
        let room = Backend::of(BackendKind::Room);
        config.backends.insert("room".to_owned(), room);
        config.session.default_backend = Some("room".to_owned());
        config.faults.enabled = true;
    })
    .await
}

#[tokio::test]
async fn every_route_is_documented_and_everything_documented_is_served() {
    let host = with_media().await;
    let admin = host.admin();
    let document = host.get("/openapi.json", &admin).await.json();
    let paths = document["paths"].as_object().expect("paths");
    for wanted in [
        "/v1/sessions/{session}",
        "/v1/connect",
        "/whip",
        "/metrics",
        "/openapi.json",
    ] {
        assert!(paths.contains_key(wanted), "{wanted}");
    }
    for (path, item) in paths {
        let real = path
            .replace("{session}", "s-none")
            .replace("{resource}", "r-none");
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
            let answer = host.request(method, &real, Some(&admin), None).await;
            let documented = item[method.to_ascii_lowercase()].is_object();
            let served = answer.status != 405;
            assert_eq!(documented, served, "{method} {path}: {answer:?}");
            if documented {
                assert!(
                    !answer.body.contains("there is nothing here"),
                    "{method} {path}"
                );
                let known = &item[method.to_ascii_lowercase()]["responses"];
                let status = answer.status.to_string();
                assert!(
                    known[&status].is_object(),
                    "{method} {path} answers {status}"
                );
            }
        }
    }
    // Each route of the router comes from the table that the document is made of, besides what is not
    // told: faults on purpose, the files of the page, and the two by which servers ask each other.
    let router = include_str!("../../src/http.rs");
    assert_eq!(
        router.matches(".route(").count(),
        5,
        "a route beside the table"
    );
    host.close().await;
}

#[tokio::test]
async fn the_document_is_whole_and_wants_a_token() {
    let host = with_media().await;
    let answer = host.request("GET", "/openapi.json", None, None).await;
    assert_eq!(answer.status, 401);
    let document = host.get("/openapi.json", &host.token()).await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut refs = BTreeSet::new();
    collect(&document, &mut refs);
    assert!(refs.len() > 20, "{refs:?}");
    for reference in refs {
        let pointer = reference.strip_prefix('#').expect("in this document");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let items = document["paths"].as_object().expect("paths").values();
    let operations = items.flat_map(|item| item.as_object().expect("an item").values());
    let ids: Vec<_> = operations
        .map(|operation| operation["operationId"].as_str().expect("an id"))
        .collect();
    let distinct: BTreeSet<_> = ids.iter().collect();
    assert_eq!(
        distinct.len(),
        ids.len(),
        "each operation has a name of its own"
    );
    assert!(
        !document.to_string().contains("debug"),
        "what breaks things is not told"
    );
    host.close().await;
}

fn collect(value: &Value, refs: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
                refs.insert(reference.to_owned());
            }
            object.values().for_each(|value| collect(value, refs));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, refs)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
