//! Where clients are told that media is: an address, with a port where that is another one as well.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Deserializer, de};

/// As `203.0.113.7`, `203.0.113.7:3478` or `[2001:db8::7]:3478`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advertise {
    /// The address.
    pub ip: IpAddr,
    /// The port; absent means that of the socket.
    pub port: Option<u16>,
}

impl Advertise {
    /// What clients are told of a socket that listens there.
    #[must_use]
    pub fn of(&self, local: SocketAddr) -> SocketAddr {
        SocketAddr::new(self.ip, self.port.unwrap_or_else(|| local.port()))
    }
}

impl fmt::Display for Advertise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for Advertise {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if let Ok(ip) = text.parse() {
            return Ok(Self { ip, port: None });
        }
        let both: Option<SocketAddr> = text.parse().ok();
        let both = both.filter(|addr| addr.port() != 0);
        both.map(|addr| Self {
            ip: addr.ip(),
            port: Some(addr.port()),
        })
        .ok_or_else(|| de::Error::custom("want an address, or an address and a port"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<Advertise> {
        serde_json::from_value(text.into()).ok()
    }

    #[test]
    fn an_address_keeps_the_sockets_port_and_one_with_a_port_has_its_own() {
        let local = "0.0.0.0:7081".parse().expect("an address");
        let told = |text| parsed(text).map(|advertise| advertise.of(local).to_string());
        for (text, wanted) in [
            ("203.0.113.7", Some("203.0.113.7:7081")),
            ("203.0.113.7:40000", Some("203.0.113.7:40000")),
            ("2001:db8::7", Some("[2001:db8::7]:7081")),
            ("[2001:db8::7]:40000", Some("[2001:db8::7]:40000")),
            ("203.0.113.7:0", None),
            ("media.example.org", None),
            ("", None),
        ] {
            assert_eq!(told(text).as_deref(), wanted, "{text}");
            if let Some(parsed) = parsed(text) {
                assert_eq!(parsed.to_string(), text);
            }
        }
    }
}
