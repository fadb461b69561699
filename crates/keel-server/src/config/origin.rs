//! Origins and host names, as they are written in a configuration and compared with a header.
//!
//! Compared as bytes, never parsed apart: what is not equal to an entry is not allowed.

use serde::Deserialize;

/// Scheme, host and port of a page, as a browser writes them in `Origin`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct WebOrigin(String);

/// A host name or address, with or without a port.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HostName(String);

fn is_host(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.:[]".contains(&b);
    !text.is_empty() && text.len() <= 255 && text.bytes().all(allowed) && !text.ends_with('.')
}

impl TryFrom<String> for WebOrigin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let host = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"));
        let default_port = text.starts_with("https://") && text.ends_with(":443")
            || text.starts_with("http://") && text.ends_with(":80");
        match host {
            Some(_) if default_port => Err(format!(
                "{text:?}: browsers leave the scheme's own port out of an origin"
            )),
            Some(host) if is_host(host) => Ok(Self(text)),
            Some(_) | None => Err(format!(
                "{text:?} is no origin; want https://host or https://host:port, in lower case, \
                 without a path"
            )),
        }
    }
}

impl WebOrigin {
    /// Whether this is what the header says.
    #[must_use]
    pub fn is(&self, header: &str) -> bool {
        self.0 == header
    }
}

impl TryFrom<String> for HostName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if is_host(&text) {
            Ok(Self(text))
        } else {
            Err(format!(
                "{text:?} is no host; want name, name:port or an address, in lower case"
            ))
        }
    }
}

impl HostName {
    /// Whether a `Host` header (in lower case) names this, by itself or with any port if none is
    /// given here.
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        let rest = host.strip_prefix(self.0.as_str());
        rest.is_some_and(|rest| {
            rest.is_empty()
                || rest.strip_prefix(':').is_some_and(|port| {
                    !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())
                })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_taken_only_as_browsers_write_them_a02() {
        for good in [
            "https://a.example",
            "http://localhost:3000",
            "http://[::1]:7080",
        ] {
            assert!(WebOrigin::try_from(good.to_owned()).is_ok(), "{good}");
        }
        let bad = [
            "null",
            "*",
            "a.example",
            "https://a.example/",
            "https://A.example",
        ];
        for bad in bad
            .into_iter()
            .chain(["https://a.example.", "https://a.example:443", ""])
        {
            assert!(WebOrigin::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn hosts_cover_ports_and_nothing_else_a03() {
        let host = HostName::try_from("good.example".to_owned()).expect("a host");
        assert!(host.covers("good.example") && host.covers("good.example:7080"));
        for other in [
            "good.example.evil",
            "good.example:",
            "good.example:7x",
            "a.good.example",
        ] {
            assert!(!host.covers(other), "{other}");
        }
    }
}
