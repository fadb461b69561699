//! Who may talk to this server at all, decided from the request's header before anything else.
//!
//! Two lists, both compared exactly: `Host` against DNS rebinding, `Origin` against pages of others.
//! Neither is a way to be let in; that takes a token.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, Uri, Version, header};

use crate::config::{HostName, Listen, WebOrigin};

/// Why a request goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Not HTTP as it is spoken here.
    Malformed(&'static str),
    /// Addressed to another host.
    Host,
    /// From a page of others.
    Origin,
}

#[derive(Debug)]
pub(crate) struct Edge {
    hosts: Vec<HostName>,
    own_hosts: Vec<String>,
    origins: Vec<WebOrigin>,
    proxies: Vec<IpAddr>,
    /// Of this server's own page.
    scheme: &'static str,
}

impl Edge {
    pub(crate) fn new(config: &Listen, local: SocketAddr) -> Self {
        let port = local.port();
        let (scheme, schemes_port) = match config.tls {
            Some(_) => ("https://", 443),
            None => ("http://", 80),
        };
        let mut own_hosts = vec![local.to_string()];
        if local.ip().is_loopback() {
            let names = ["localhost", "127.0.0.1", "[::1]"];
            own_hosts.extend(names.map(|name| format!("{name}:{port}")));
        }
        if port == schemes_port {
            // Clients leave it out.
            let bare = |host: &String| host.strip_suffix(&format!(":{port}")).map(str::to_owned);
            let bare: Vec<_> = own_hosts.iter().filter_map(bare).collect();
            own_hosts.extend(bare);
        }
        Self {
            hosts: config.allowed_hosts.clone(),
            own_hosts,
            origins: config.allowed_origins.clone(),
            proxies: config.trusted_proxies.clone(),
            scheme,
        }
    }

    /// The request's origin, if it may go on.
    pub(crate) fn admit(
        &self,
        version: Version,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Option<String>, Refusal> {
        if version != Version::HTTP_11 {
            return Err(Refusal::Malformed("want HTTP/1.1"));
        }
        let Ok(Some(host)) = one(headers, header::HOST) else {
            return Err(Refusal::Malformed("want one Host header"));
        };
        if uri
            .authority()
            .is_some_and(|authority| authority.as_str() != host)
        {
            return Err(Refusal::Malformed("the target and the Host header differ"));
        }
        let host = host.to_ascii_lowercase();
        let own = self.own_hosts.contains(&host);
        if !own && !self.hosts.iter().any(|allowed| allowed.covers(&host)) {
            return Err(Refusal::Host);
        }
        match one(headers, header::ORIGIN) {
            Ok(None) => Ok(None),
            Ok(Some(origin)) if self.allows(origin, &host) => Ok(Some(origin.to_owned())),
            Ok(Some(_)) | Err(()) => Err(Refusal::Origin),
        }
    }

    fn allows(&self, origin: &str, host: &str) -> bool {
        // The server's own page: the host has been found on its list.
        let own = origin
            .strip_prefix(self.scheme)
            .is_some_and(|origin| origin == host);
        own || self.origins.iter().any(|allowed| allowed.is(origin))
    }

    pub(crate) fn is_proxy(&self, peer: IpAddr) -> bool {
        self.proxies.contains(&peer.to_canonical())
    }

    /// Whose request it is: the peer's, or the last address that a trusted proxy has seen.
    pub(crate) fn address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut address = peer.to_canonical();
        let forwarded = headers
            .get_all("x-forwarded-for")
            .iter()
            .filter_map(|v| v.to_str().ok());
        let mut hops: Vec<&str> = forwarded.flat_map(|list| list.split(',')).collect();
        while self.is_proxy(address) {
            match hops.pop().and_then(|hop| hop.trim().parse::<IpAddr>().ok()) {
                Some(hop) => address = hop.to_canonical(),
                None => break,
            }
        }
        address
    }
}

/// The value of a header that may be there once: an error if it is there twice or is no text.
pub(crate) fn one(
    headers: &HeaderMap,
    name: impl header::AsHeaderName,
) -> Result<Option<&str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarded_addresses_count_only_behind_trusted_proxies_a17() {
        let proxy: IpAddr = "10.0.0.1".parse().expect("an address");
        let listen = Listen {
            trusted_proxies: vec![proxy],
            ..Listen::default()
        };
        let edge = Edge::new(&listen, listen.listen);
        let mut headers = HeaderMap::new();
        headers.insert(
            "x-forwarded-for",
            "1.1.1.1, 2.2.2.2".parse().expect("a value"),
        );
        let stranger: IpAddr = "9.9.9.9".parse().expect("an address");
        assert_eq!(edge.address(stranger, &headers), stranger);
        assert_eq!(
            edge.address(proxy, &headers),
            "2.2.2.2".parse::<IpAddr>().expect("one")
        );
    }
}
