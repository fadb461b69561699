//! Where a connection leads, from what a person or a server wrote.

use tokio_tungstenite::tungstenite::http::Uri;

/// The path of the WebSocket, where an address names none.
const PATH: &str = "/v1/connect";

/// A parsed address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) url: String,
    /// Without the brackets of an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: bool,
}

impl Endpoint {
    /// Takes `ws`, `wss`, `http` and `https`, and an address without a scheme as `ws`.
    ///
    /// # Errors
    /// With what is wrong with it.
    pub(crate) fn parse(address: &str) -> Result<Self, String> {
        let refuse = |what: &str| {
            Err(format!(
                "{what}: want ws://HOST[:PORT] or wss://HOST[:PORT]"
            ))
        };
        let address = address.trim();
        let (scheme, rest) = address.split_once("://").unwrap_or(("ws", address));
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "ws" | "http" => false,
            "wss" | "https" => true,
            _ => return refuse("the address has another scheme"),
        };
        let scheme = if tls { "wss" } else { "ws" };
        let Ok(uri) = format!("{scheme}://{rest}").parse::<Uri>() else {
            return refuse("the address is malformed");
        };
        let Some(authority) = uri.authority() else {
            return refuse("the address names no host");
        };
        if authority.as_str().contains('@') {
            return refuse("a password does not belong into an address");
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return refuse("the address names no host");
        }
        if uri.query().is_some() {
            return refuse("an address has no query, and a token does not belong there");
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = match uri.path() {
            "" | "/" => PATH,
            path => path,
        };
        Ok(Self {
            url: format!("{scheme}://{authority}{path}"),
            host,
            port,
            tls,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_as_people_write_them() {
        for (text, url, port) in [
            ("127.0.0.1:7080", "ws://127.0.0.1:7080/v1/connect", 7080),
            ("http://a", "ws://a/v1/connect", 80),
            ("wss://a.example/x/y", "wss://a.example/x/y", 443),
            ("ws://[::1]:9/", "ws://[::1]:9/v1/connect", 9),
        ] {
            let endpoint = Endpoint::parse(text).expect(text);
            assert_eq!(
                (endpoint.url.as_str(), endpoint.port),
                (url, port),
                "{text}"
            );
        }
        assert_eq!(
            Endpoint::parse("ws://[::1]:9").expect("an address").host,
            "::1"
        );
    }

    #[test]
    fn hostile_addresses_are_refused_without_a_panic() {
        for bad in [
            "",
            "ftp://a",
            "ws://",
            "ws://u:p@a",
            "ws://a?token=x",
            "ws://a b",
            "://",
            "ws://:7",
        ] {
            assert!(Endpoint::parse(bad).is_err(), "{bad:?}");
        }
    }
}
