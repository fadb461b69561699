//! `[media]`: where transports for media are reached.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

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
    /// port of its own, or that of `listen`. One, or several. Where every address is listened on and none
    /// is named here, clients are told those that this machine is seen by on its way out.
    #[serde(deserialize_with = "one_or_several")]
    pub advertise: Vec<Advertise>,
    /// Planes beside each other, each with a thread and a port: that of `listen`, and those after it. A
    /// session's media is on one of them.
    pub threads: u16,
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
            threads: 1,
            tcp: true,
            ice_lite: false,
            ice_servers: Vec::new(),
        }
    }
}

/// Threads for media at most.
const THREADS_MAX: u16 = 64;

impl Media {
    /// What clients are told of the `nth` plane's socket, which is bound here. At least one.
    #[must_use]
    pub fn advertised(&self, local: SocketAddr, nth: u16) -> Vec<SocketAddr> {
        if self.advertise.is_empty() {
            let seen = seen_by(local.ip()).into_iter();
            return seen.map(|ip| SocketAddr::new(ip, local.port())).collect();
        }
        let advertised = self.advertise.iter();
        advertised
            .map(|advertise| advertise.of(local, nth))
            .collect()
    }

    /// Where each plane listens, the first at `first`; a port that the system chooses is so for each.
    pub fn listens(&self, first: SocketAddr) -> impl Iterator<Item = (u16, SocketAddr)> + use<> {
        let of = move |nth| match first.port() {
            0 => first,
            port => SocketAddr::new(first.ip(), port.saturating_add(nth)),
        };
        (0..self.threads.max(1)).map(move |nth| (nth, of(nth)))
    }

    /// Whether each thread has a port, and clients are told of it and of no other's.
    pub(super) fn fits(&self) -> Result<(), String> {
        if !(1..=THREADS_MAX).contains(&self.threads) {
            return Err(format!("want 1 to {THREADS_MAX}"));
        }
        let listen = self.listen.unwrap_or_else(|| ([0, 0, 0, 0], 0).into());
        let mut first = self.advertised(listen, 0);
        let more = self.threads - 1;
        let last = first.iter().chain([&listen]).map(SocketAddr::port).max();
        if let Some(port) = last.filter(|port| port.checked_add(more).is_none()) {
            return Err(format!(
                "there are no {} ports from {port} on",
                self.threads
            ));
        }
        first.sort();
        first.dedup();
        let meet = |pair: &&[SocketAddr]| {
            pair[0].ip() == pair[1].ip() && pair[1].port() - pair[0].port() <= more
        };
        match first.windows(2).find(meet) {
            Some(pair) => Err(format!(
                "{} and {} are too near for {} ports each",
                pair[0], pair[1], self.threads
            )),
            None => Ok(()),
        }
    }
}

/// Addresses that somebody can be told: "every address" is none. Where there is no way out, there is nobody
/// but this machine itself.
fn seen_by(listened: IpAddr) -> Vec<IpAddr> {
    if !listened.is_unspecified() {
        return vec![listened];
    }
    // Addresses of documentation (RFC 5737, RFC 3849). Nothing is sent: the system only looks for the way.
    let outside: SocketAddr = ([203, 0, 113, 1], 9).into();
    let outside_6: SocketAddr = (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9).into();
    let (v4, v6) = (Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into());
    if listened.is_ipv4() {
        let seen = way_to(v4, outside);
        return vec![seen.unwrap_or_else(|| Ipv4Addr::LOCALHOST.into())];
    }
    // Who listens on every address of IPv6 is reached by IPv4, too.
    let seen = [way_to(v6, outside_6), way_to(v4, outside)];
    let seen: Vec<IpAddr> = seen.into_iter().flatten().collect();
    if seen.is_empty() {
        return vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
    }
    seen
}

/// The own address on the way to another.
fn way_to(from: IpAddr, to: SocketAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind((from, 0)).ok()?;
    socket.connect(to).ok()?;
    Some(socket.local_addr().ok()?.ip())
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
        Ok(media.advertised(([0, 0, 0, 0], 7081).into(), 0))
    }

    #[test]
    fn clients_are_told_where_the_server_is_seen_from_outside() {
        let told = |written: &str| {
            let told = advertised(written).expect("it is an address");
            told.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let [seen] = <[_; 1]>::try_from(told("")).expect("one");
        let seen: SocketAddr = seen.parse().expect("an address");
        assert!(
            seen.port() == 7081 && !seen.ip().is_unspecified(),
            "{seen}, which somebody can be told"
        );
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
        let media = Media::default();
        let both = media.advertised((Ipv6Addr::UNSPECIFIED, 7081).into(), 0);
        assert!(
            both.iter().any(SocketAddr::is_ipv4) && both.iter().all(|at| !at.ip().is_unspecified()),
            "{both:?}, by IPv4, too"
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

    #[test]
    fn each_thread_has_a_port_and_clients_are_told_of_it() {
        let written =
            "listen = '0.0.0.0:7081'\nadvertise = ['203.0.113.7:9000', '10.0.0.2']\nthreads = 3";
        let media: Media = toml::from_str(written).expect("it is one");
        let told = media.listens(media.listen.expect("it is there"));
        let told = told.flat_map(|(nth, local)| media.advertised(local, nth));
        let told: Vec<String> = told.map(|told| told.to_string()).collect();
        assert_eq!(
            told,
            [
                "203.0.113.7:9000",
                "10.0.0.2:7081",
                "203.0.113.7:9001",
                "10.0.0.2:7082",
                "203.0.113.7:9002",
                "10.0.0.2:7083"
            ]
        );
        assert_eq!(media.fits(), Ok(()));
    }

    #[test]
    fn threads_without_a_port_are_refused() {
        for (wrong, why) in [
            ("threads = 0", "want 1 to 64"),
            ("threads = 65", "want 1 to 64"),
            ("threads = 2\nlisten = '0.0.0.0:65535'", "from 65535 on"),
            ("threads = 2\nadvertise = '1.2.3.4:65535'", "from 65535 on"),
            (
                "threads = 3\nadvertise = ['1.2.3.4:9', '1.2.3.5:9', '1.2.3.4:11']",
                "1.2.3.4:9 and 1.2.3.4:11 are too near",
            ),
        ] {
            let media: Media = toml::from_str(wrong).expect("it is one");
            let refused = media.fits().expect_err(wrong);
            assert!(refused.contains(why), "{refused}");
        }
    }
}
