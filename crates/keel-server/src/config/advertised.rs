//! Where clients are told that a listener is reached, as it is written in a configuration: an address,
//! and the port where that is another one, too.

use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

/// An address, and a port where it is not the listener's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Advertised {
    ip: IpAddr,
    port: Option<u16>,
}

impl Advertised {
    /// What is told of a listener that is bound to `local`.
    #[must_use]
    pub fn of(self, local: SocketAddr) -> SocketAddr {
        SocketAddr::new(self.ip, self.port.unwrap_or_else(|| local.port()))
    }
}

impl TryFrom<String> for Advertised {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let with_port = text
            .parse::<SocketAddr>()
            .map(|addr| (addr.ip(), Some(addr.port())));
        let parsed = with_port.or_else(|_| text.parse().map(|ip| (ip, None)));
        match parsed {
            Ok((ip, port)) if !ip.is_unspecified() && port != Some(0) => Ok(Self { ip, port }),
            Ok(_) | Err(_) => Err(format!(
                "{text:?} is nowhere to be reached; want an address, or an address and port as \
                 203.0.113.7:3478 or [2001:db8::7]:3478"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Result<String, String> {
        let local = SocketAddr::from(([10, 0, 0, 2], 7081));
        Advertised::try_from(text.to_owned()).map(|told| told.of(local).to_string())
    }

    #[test]
    fn the_port_is_the_listeners_unless_it_is_given() {
        assert_eq!(told("203.0.113.7").as_deref(), Ok("203.0.113.7:7081"));
        assert_eq!(told("203.0.113.7:443").as_deref(), Ok("203.0.113.7:443"));
        assert_eq!(told("2001:db8::7").as_deref(), Ok("[2001:db8::7]:7081"));
        assert_eq!(told("[2001:db8::7]:9").as_deref(), Ok("[2001:db8::7]:9"));
    }

    #[test]
    fn what_nobody_can_reach_is_refused() {
        for text in [
            "",
            "0.0.0.0",
            "[::]:9",
            "203.0.113.7:0",
            "media.example.org",
            "1.2.3.4:70000",
        ] {
            assert!(told(text).is_err(), "{text}");
        }
    }
}
