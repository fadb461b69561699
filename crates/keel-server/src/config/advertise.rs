//! Where clients are told that media is.

use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

/// An address, with or without a port of its own: `203.0.113.5`, `203.0.113.5:7081`, `[2001:db8::1]:7081`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Advertise {
    ip: IpAddr,
    /// Another one than that of `listen`, where it is mapped on the way.
    port: Option<u16>,
}

impl Advertise {
    /// What clients are told of a socket that listens here, and is the `nth` of those: each has a port of its
    /// own on both sides of the way.
    #[must_use]
    pub fn of(self, listen: SocketAddr, nth: u16) -> SocketAddr {
        let mapped = self.port.map(|port| port.saturating_add(nth));
        SocketAddr::new(self.ip, mapped.unwrap_or_else(|| listen.port()))
    }
}

impl From<SocketAddr> for Advertise {
    fn from(address: SocketAddr) -> Self {
        Self {
            ip: address.ip(),
            port: Some(address.port()),
        }
    }
}

impl TryFrom<String> for Advertise {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let address = match text.parse::<SocketAddr>() {
            Ok(address) => Self::from(address),
            Err(_) => {
                let bare = text
                    .strip_prefix('[')
                    .and_then(|bare| bare.strip_suffix(']'));
                let ip = bare.unwrap_or(&text).parse();
                let ip = ip.map_err(|_| format!("{text:?} is no address; want IP or IP:PORT"))?;
                Self { ip, port: None }
            }
        };
        if address.ip.is_unspecified() || address.ip.is_multicast() || address.port == Some(0) {
            return Err(format!("{text:?}: nobody can send there"));
        }
        Ok(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_or_without_a_port() {
        let listen = SocketAddr::from(([0, 0, 0, 0], 7081));
        let told = |text: &str| {
            let address = Advertise::try_from(text.to_owned());
            address.map(|address| address.of(listen, 0).to_string())
        };
        assert_eq!(told("203.0.113.5"), Ok("203.0.113.5:7081".to_owned()));
        assert_eq!(told("203.0.113.5:9"), Ok("203.0.113.5:9".to_owned()));
        assert_eq!(told("2001:db8::1"), Ok("[2001:db8::1]:7081".to_owned()));
        assert_eq!(told("[2001:db8::1]"), Ok("[2001:db8::1]:7081".to_owned()));
        assert_eq!(told("[2001:db8::1]:9"), Ok("[2001:db8::1]:9".to_owned()));
        for wrong in [
            "",
            "host",
            "0.0.0.0",
            "224.0.0.1",
            "203.0.113.5:0",
            "203.0.113.5:x",
        ] {
            assert!(told(wrong).is_err(), "{wrong}");
        }
    }
}
