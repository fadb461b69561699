//! The probe page, embedded in debug builds too: nothing is ever read from the disk.

use axum::{
    body::Body,
    extract::Path,
    http::{HeaderValue, header},
    response::Response,
};
use rust_embed::RustEmbed;

use super::reply;

const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                   img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(RustEmbed)]
#[folder = "assets/"]
#[include = "probe*"]
struct Assets;

/// The type of a file by its name, from a closed list.
fn kind(name: &str) -> Option<&'static str> {
    match name.rsplit_once('.')?.1 {
        "html" => Some("text/html; charset=utf-8"),
        "js" => Some("text/javascript; charset=utf-8"),
        "css" => Some("text/css; charset=utf-8"),
        "svg" => Some("image/svg+xml"),
        _ => None,
    }
}

/// `GET /`.
pub(super) async fn html() -> Response {
    asset("probe.html")
}

/// `GET /{file}`.
pub(super) async fn file(path: Option<Path<String>>) -> Response {
    path.map_or_else(reply::nothing_here, |Path(name)| asset(&name))
}

fn asset(name: &str) -> Response {
    let (Some(kind), Some(file)) = (kind(name), Assets::get(name)) else {
        return reply::nothing_here();
    };
    let mut response = Response::new(Body::from(file.data.into_owned()));
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
