//! Where a provider's requests may go: a base URL that the operator wrote, and the addresses that
//! its name may stand for.
//!
//! The name is looked up for each connection, what must not be reached is refused there, and the
//! connection goes to the very address that was looked at: a name that changes its mind in between
//! gains nothing.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

use crate::limits::RESOLVE_MAX;

/// What is wrong with a base URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// It is none.
    #[error("is not a URL ({0})")]
    Malformed(String),
    /// It is of another kind than http and https.
    #[error("begins with {0}:, and only http: and https: will do")]
    Scheme(String),
    /// It has more than a host, a port and a path.
    #[error("has a user, a query or a fragment")]
    Extra,
    /// No request may go there.
    #[error("names {0}, where no request may go")]
    Address(IpAddr),
}

/// A base URL that may be asked.
#[derive(Clone, PartialEq, Eq)]
pub struct BaseUrl {
    url: Url,
    reach: Reach,
}

/// Which addresses a name may stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Those of the world.
    World,
    /// Those of this machine and its network, too.
    Local,
}

impl BaseUrl {
    /// Reads `url`. The names in it may stand for addresses of this machine and of private networks
    /// only if it is `local`; an address that is written out is the operator's own word.
    ///
    /// # Errors
    /// When no request may go there.
    pub fn parse(url: &str, local: bool) -> Result<Self, BadUrl> {
        let url = Url::parse(url).map_err(|error| BadUrl::Malformed(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(BadUrl::Scheme(url.scheme().to_owned()));
        }
        let has_user = !url.username().is_empty() || url.password().is_some();
        if has_user || url.query().is_some() || url.fragment().is_some() {
            return Err(BadUrl::Extra);
        }
        let host = url.host_str().unwrap_or_default();
        let literal = host.trim_matches(['[', ']']).parse::<IpAddr>();
        if let Ok(address) = literal
            && is_never(address)
        {
            return Err(BadUrl::Address(address));
        }
        let local = local || host.eq_ignore_ascii_case("localhost");
        let reach = if local { Reach::Local } else { Reach::World };
        Ok(Self { url, reach })
    }

    /// The address of `path` below it.
    pub(crate) fn at(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/{path}"));
        url
    }

    pub(crate) fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// The host and its port, for people.
    #[must_use]
    pub fn host(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        match self.url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    pub(crate) fn resolver(&self) -> Resolver {
        Resolver { reach: self.reach }
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.url.as_str(), f)
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str().trim_end_matches('/'))
    }
}

/// Looks names up, and forgets the addresses that must not be reached.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resolver {
    reach: Reach,
}

impl Resolver {
    fn allowed(
        self,
        name: &str,
        found: impl Iterator<Item = SocketAddr>,
    ) -> Result<Vec<SocketAddr>, ResolveError> {
        let (may, must_not): (Vec<_>, Vec<_>) =
            found.partition(|address| self.may_reach(address.ip()));
        match (may.is_empty(), must_not.is_empty()) {
            (false, _) => Ok(may),
            (true, true) => Err(ResolveError::Unknown(name.to_owned())),
            (true, false) => Err(ResolveError::Refused(name.to_owned())),
        }
    }

    fn may_reach(self, address: IpAddr) -> bool {
        match self.reach {
            _ if is_never(address) => false,
            Reach::Local => true,
            Reach::World => !is_near(address),
        }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let this = *self;
        Box::pin(async move {
            let name = name.as_str();
            let lookup = tokio::net::lookup_host((name, 0));
            let found = tokio::time::timeout(RESOLVE_MAX, lookup).await;
            let found = found.map_err(|_| ResolveError::TimedOut(name.to_owned(), RESOLVE_MAX))?;
            let found = found.map_err(|_| ResolveError::Unknown(name.to_owned()))?;
            let addresses: Addrs = Box::new(this.allowed(name, found)?.into_iter());
            Ok(addresses)
        })
    }
}

/// Why a name leads nowhere.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    #[error("the name {0} is not known")]
    Unknown(String),
    #[error("looking up {0} took more than {s} s", s = .1.as_secs())]
    TimedOut(String, Duration),
    #[error(
        "the name {0} stands for an address that must not be reached; a server on this machine or \
         network wants preset = \"local\""
    )]
    Refused(String),
}

/// The address that `address` in the end leads to.
fn unwrapped(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return v4.into();
    }
    let parts = v6.segments();
    // 64:ff9b::/96 is NAT64's, 2002::/16 is 6to4's: both carry an IPv4 address.
    let carried = match parts {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => Some((high, low)),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some((high, low)),
        _ => None,
    };
    carried.map_or(address, |(high, low)| {
        Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)).into()
    })
}

/// Nobody's model is there: link-local addresses (where clouds keep their metadata, and other places
/// where they do), multicast, and none at all.
fn is_never(address: IpAddr) -> bool {
    const METADATA: [Ipv4Addr; 2] = [
        Ipv4Addr::new(100, 100, 100, 200),
        Ipv4Addr::new(168, 63, 129, 16),
    ];
    const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    match unwrapped(address) {
        IpAddr::V4(v4) => {
            v4.is_link_local()
                || v4.octets()[0] == 0
                || v4.is_multicast()
                || v4.is_broadcast()
                || METADATA.contains(&v4)
        }
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6 == METADATA_V6
        }
    }
}

/// On this machine or a private network.
fn is_near(address: IpAddr) -> bool {
    match unwrapped(address) {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            let shared = first == 100 && (64..128).contains(&second);
            v4.is_loopback() || v4.is_private() || shared
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_to_a_host_will_do_a66() {
        let reason = |url| BaseUrl::parse(url, false).err().map(|bad| bad.to_string());
        for url in [
            "https://api.example.com/v1",
            "http://127.0.0.1:8000/v1/",
            "http://10.1.2.3",
        ] {
            assert_eq!(reason(url), None, "{url}");
        }
        for url in [
            "file:///etc/passwd",
            "gopher://x/",
            "ftp://x/",
            "unix:/run/x",
            "api.example.com",
            "https://user:pass@x/v1",
            "https://x/v1?key=1",
            "https://x/v1#a",
            "http://169.254.169.254/v1",
            "http://0xa9fea9fe/v1",
            "http://2852039166/",
            "http://[::ffff:169.254.169.254]/",
            "http://[64:ff9b::a9fe:a9fe]/",
            "http://[fe80::1]/",
            "http://[fd00:ec2::254]/",
            "http://0.0.0.0:80/",
            "http://[::]/",
            "http://100.100.100.200/",
            "http://224.0.0.1/",
        ] {
            assert!(reason(url).is_some(), "{url}");
            assert!(BaseUrl::parse(url, true).is_err(), "{url}");
        }
    }

    #[test]
    fn a_name_stands_only_for_what_may_be_reached_a66() {
        let resolve = |local: bool, addresses: &[&str]| {
            let base = BaseUrl::parse("https://api.example.com", local).expect("a URL");
            let found = addresses
                .iter()
                .map(|address| SocketAddr::new(address.parse().expect("an address"), 0));
            let allowed = base.resolver().allowed("api.example.com", found);
            allowed
                .map(|some| some.len())
                .map_err(|error| error.to_string())
        };
        assert_eq!(resolve(false, &["93.184.216.34", "10.0.0.1"]), Ok(1));
        for near in [
            "127.0.0.1",
            "::1",
            "192.168.1.1",
            "10.0.0.1",
            "100.64.0.1",
            "fd12::1",
        ] {
            assert!(resolve(false, &[near]).is_err(), "{near}");
            assert_eq!(resolve(true, &[near]), Ok(1), "{near}");
        }
        for never in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "0.0.0.0",
            "fe80::1",
        ] {
            assert!(resolve(true, &[never]).is_err(), "{never}");
        }
        assert!(resolve(true, &[]).unwrap_err().contains("is not known"));
    }

    #[test]
    fn a_path_goes_below_the_base() {
        for base in ["http://h:1/v1", "http://h:1/v1/"] {
            let base = BaseUrl::parse(base, false).expect("a URL");
            assert_eq!(
                base.at("chat/completions").as_str(),
                "http://h:1/v1/chat/completions"
            );
        }
    }
}
