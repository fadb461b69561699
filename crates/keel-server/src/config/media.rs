//! `[media]`: where transports for media are reached.

use std::net::SocketAddr;

use serde::Deserialize;

use super::{Advertise, IceServer};

/// `[media]`: transports for media. Without an address there are none.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Media {
    /// Address and port of media (UDP, and TCP where that is on). Absent means that this server takes no
    /// media.
    pub listen: Option<SocketAddr>,
    /// The addresses that clients are told, where they are others: behind NAT, in a container. With a
    /// port of its own, or that of `listen`. One, or several.
    #[serde(deserialize_with = "one_or_several")]
    pub advertise: Vec<Advertise>,
    /// Takes media over TCP, too, at the same port: for clients in networks without UDP.
    pub tcp: bool,
    /// Makes no checks of its own, and waits for the client's (ICE-lite): for servers with a public
    /// address.
    pub ice_lite: bool,
    /// STUN and TURN servers that clients are told of as they are here.
    pub ice_servers: Vec<IceServer>,
}

impl Default for Media {
    fn default() -> Self {
        Self {
            listen: None,
            advertise: Vec::new(),
            tcp: true,
            ice_lite: false,
            ice_servers: Vec::new(),
        }
    }
}

impl Media {
    /// What clients are told of a socket that is bound here. At least one.
    #[must_use]
    pub fn advertised(&self, local: SocketAddr) -> Vec<SocketAddr> {
        if self.advertise.is_empty() {
            return vec![local];
        }
        let advertised = self.advertise.iter();
        advertised.map(|advertise| advertise.of(local)).collect()
    }
}

fn one_or_several<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<Advertise>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        One(String),
        Several(Vec<String>),
    }
    let written = match Written::deserialize(from)? {
        Written::One(one) => vec![one],
        Written::Several(several) => several,
    };
    let parsed = written.into_iter().map(Advertise::try_from);
    parsed
        .collect::<Result<_, _>>()
        .map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advertised(written: &str) -> Result<Vec<SocketAddr>, String> {
        let media: Media = toml::from_str(written).map_err(|error| error.to_string())?;
        Ok(media.advertised(([0, 0, 0, 0], 7081).into()))
    }

    #[test]
    fn clients_are_told_where_the_server_is_seen_from_outside() {
        let told = |written: &str| {
            let told = advertised(written).expect("it is an address");
            told.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(told(""), ["0.0.0.0:7081"]);
        assert_eq!(told("advertise = '203.0.113.7'"), ["203.0.113.7:7081"]);
        assert_eq!(
            told("advertise = ['203.0.113.7:9000', '10.0.0.2', '2001:db8::7', '[2001:db8::7]:9']"),
            [
                "203.0.113.7:9000",
                "10.0.0.2:7081",
                "[2001:db8::7]:7081",
                "[2001:db8::7]:9"
            ]
        );
        for wrong in [
            "'media.example'",
            "'0.0.0.0'",
            "'1.2.3.4:0'",
            "['224.0.0.1']",
            "7",
        ] {
            let refused = advertised(&format!("advertise = {wrong}"));
            assert!(refused.is_err(), "{wrong}: {refused:?}");
        }
    }
}
