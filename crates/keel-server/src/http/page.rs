//! The playground, embedded: nothing of it is read from the disk.
//!
//! `/` is the page, `/page/…` what it is made of, `/sdk/…` the modules of the JavaScript SDK as they
//! are in the repository. The list is made when the server is built.

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::Response,
};

/// Nothing inline, nothing from elsewhere, and no connection but to this server.
const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                   img-src 'self'; media-src 'self'; worker-src 'self'; base-uri 'none'; \
                   form-action 'none'; frame-ancestors 'none'";
/// What of the machine the page may ask its user for.
const PERMISSIONS: &str = "camera=(self), microphone=(self), geolocation=(), display-capture=()";

/// Every file of the page: its path and its text.
pub(super) const ASSETS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// The type of what is served at a path.
fn kind(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "json" => "application/json",
        _ => "text/html; charset=utf-8",
    }
}

/// The answer that is one file of the page.
pub(super) fn asset(path: &'static str, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    let headers = [
        (header::CONTENT_TYPE.as_str(), kind(path)),
        (header::CONTENT_SECURITY_POLICY.as_str(), CSP),
        (header::REFERRER_POLICY.as_str(), "no-referrer"),
        ("permissions-policy", PERMISSIONS),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ];
    for (name, value) in headers {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use keel_wire::Code;

    use super::*;

    fn walk(folder: &Path, served: &str, into: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str());
            let served = format!("{served}/{}", name.expect("a name"));
            if path.is_dir() {
                walk(&path, &served, into);
            } else {
                into.insert(served);
            }
        }
    }

    #[test]
    fn every_module_of_the_sdk_and_of_the_page_is_served() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut there = BTreeSet::new();
        walk(&here.join("page"), "/page", &mut there);
        walk(&here.join("../../js/sdk/src"), "/sdk", &mut there);
        there.remove("/page/index.html");
        there.extend(["/".to_owned(), "/page/faults.json".to_owned()]);
        let served: BTreeSet<String> = ASSETS.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert!(there.contains("/sdk/index.js"));
        assert_eq!(served, there);
    }

    /// Whatever a module imports is another that is served.
    #[test]
    fn no_module_imports_what_is_not_served() {
        for (path, text) in ASSETS
            .iter()
            .filter(|(path, _)| kind(path).contains("script"))
        {
            for (_, rest) in text
                .match_indices("from '")
                .map(|(at, _)| text.split_at(at + 6))
            {
                let Some(target) = rest
                    .split('\'')
                    .next()
                    .filter(|to| to.starts_with(['.', '/']))
                else {
                    continue;
                };
                let mut base: Vec<&str> = path.split('/').collect();
                base.pop();
                for part in target.split('/') {
                    match part {
                        "." => {}
                        ".." => _ = base.pop(),
                        "" => base = vec![""],
                        name => base.push(name),
                    }
                }
                let target = base.join("/");
                let is_served = ASSETS.iter().any(|(path, _)| *path == target);
                assert!(is_served, "{path} imports {target}");
            }
        }
    }

    #[test]
    fn the_page_has_words_for_every_fault() {
        let (_, text) = ASSETS
            .iter()
            .find(|(path, _)| *path == "/page/faults.json")
            .expect("the words");
        let words: serde_json::Value = serde_json::from_str(text).expect("JSON");
        for code in Code::ALL {
            let Some(said) = words[code.name()].as_array() else {
                panic!("{code} has no words");
            };
            let whole = said
                .iter()
                .all(|part| part.as_str().is_some_and(|s| s.len() > 10));
            assert!(said.len() == 3 && whole, "{code}: {said:?}");
        }
    }

    /// A page without a line of script or style of its own can have a policy that allows none.
    #[test]
    fn the_page_has_nothing_inline_a21() {
        let (_, html) = ASSETS
            .iter()
            .find(|(path, _)| *path == "/")
            .expect("the page");
        for inline in ["<style", "style=", " on", "javascript:"] {
            let found = html.match_indices(inline).any(|(at, _)| {
                inline != " on"
                    || html.get(at + 3..).is_some_and(|rest| {
                        rest.split('=').next().is_some_and(|name| {
                            name.len() < 16 && name.chars().all(|c| c.is_ascii_lowercase())
                        })
                    })
            });
            assert!(!found, "{inline:?} in the page");
        }
        assert!(
            html.matches("<script").count() == html.matches("<script type=\"module\" src=").count()
        );
    }
}
