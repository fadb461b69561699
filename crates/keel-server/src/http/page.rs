//! The probe page, embedded: nothing of it is read from the disk.

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::Response,
};

const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                   img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const DRAWING: &str = "image/svg+xml";

/// Every file of the page: its path, its type, its text.
pub(super) const ASSETS: [(&str, &str, &str); 6] = [
    ("/", HTML, include_str!("../../assets/probe.html")),
    ("/probe.html", HTML, include_str!("../../assets/probe.html")),
    ("/probe.css", STYLE, include_str!("../../assets/probe.css")),
    ("/probe.js", SCRIPT, include_str!("../../assets/probe.js")),
    (
        "/probe-view.js",
        SCRIPT,
        include_str!("../../assets/probe-view.js"),
    ),
    (
        "/probe.svg",
        DRAWING,
        include_str!("../../assets/probe.svg"),
    ),
];

/// The answer that is one file of the page.
pub(super) fn asset(kind: &'static str, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(CSP),
    );
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    response
}
