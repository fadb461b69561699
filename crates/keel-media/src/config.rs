//! What a media plane is told once.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use str0m::{
    RtcConfig,
    bwe::Bitrate,
    config::{CryptoProvider, DtlsCert},
    rtp::StreamTx,
};

use crate::{limits, path::Protocol};

/// The identity of a server's transports (DTLS). Kept over restarts, so that a client which comes back
/// meets the fingerprint that it knows.
#[derive(Clone)]
pub struct Certificate {
    /// X.509, DER.
    pub certificate: Vec<u8>,
    /// PKCS #8, DER.
    pub private_key: Vec<u8>,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate").finish_non_exhaustive()
    }
}

impl Certificate {
    /// A new self-signed one.
    ///
    /// # Panics
    /// Never with the crypto that this crate is built with: it can make certificates.
    #[must_use]
    pub fn generate() -> Self {
        let made = crypto().dtls_provider.generate_certificate();
        let made = made.expect("aws-lc-rs makes certificates");
        Self {
            certificate: made.certificate,
            private_key: made.private_key,
        }
    }
}

/// Where peers are reached: what is listened on, and what is said to be listened on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// Over what.
    pub protocol: Protocol,
    /// The socket's own address, as datagrams name it.
    pub local: SocketAddr,
    /// What clients are told: another one behind NAT or in a container.
    pub advertised: SocketAddr,
}

/// Which end of a connection this plane is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A server: it waits at known addresses, and never sends to one that a peer merely named
    /// (RFC 8827 §8.3: consent first). `lite`: it makes no checks at all (RFC 8445 §2.5).
    Server {
        /// ICE-lite, for servers with a public address.
        lite: bool,
    },
    /// A client: it checks the candidates that the server named.
    Client,
}

/// What a media plane is told once.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which end this is.
    pub end: End,
    /// The identity of every peer of this plane.
    pub certificate: Certificate,
    /// Where peers are reached. At least one.
    pub addresses: Vec<Address>,
}

impl Config {
    pub(crate) fn rtc(&self, now: Instant) -> str0m::Rtc {
        let lite = self.end == End::Server { lite: true };
        let mut config = RtcConfig::new()
            .set_crypto_provider(crypto())
            .set_dtls_cert(DtlsCert {
                certificate: self.certificate.certificate.clone(),
                private_key: self.certificate.private_key.clone(),
            })
            .set_rtp_mode(true)
            .set_ice_lite(lite)
            .clear_codecs()
            .enable_opus(true, false)
            .enable_vp8(true)
            .enable_h264(true)
            .enable_vp9(true)
            .enable_av1(true)
            .enable_bwe(Some(Bitrate::bps(limits::FIRST_ESTIMATE_BPS)))
            .set_sctp_max_message_size(limits::MESSAGE_BYTES_MAX)
            .set_stats_interval(Some(limits::STATS_EVERY));
        config.set_initial_stun_rto(limits::STUN_RTO_FIRST);
        config.set_max_stun_rto(limits::STUN_RTO_MAX);
        config.build(now)
    }
}

/// What a client's transport is made of: whole frames, and packets told of to be counted.
pub(crate) fn client_rtc(now: Instant) -> str0m::Rtc {
    let mut config = RtcConfig::new()
        .set_crypto_provider(crypto())
        .enable_raw_packets(true)
        .clear_codecs()
        .enable_opus(true, false)
        .enable_vp8(true)
        .enable_h264(true)
        .enable_vp9(true)
        .enable_av1(true)
        .set_reordering_size_video(limits::REORDERED_MAX)
        .set_sctp_max_message_size(limits::MESSAGE_BYTES_MAX)
        .set_stats_interval(None);
    config.set_initial_stun_rto(limits::STUN_RTO_FIRST);
    config.set_max_stun_rto(limits::STUN_RTO_MAX);
    config.build(now)
}

/// What is held of a stream, and how much of it is sent again to who misses it (RFC 4585 §6.2.1, RFC 4588).
pub(crate) fn resend(stream: &mut StreamTx) {
    let share = f32::from(limits::RESENDS_PER_MILLE) / 1_000.;
    stream.set_rtx_cache(limits::RESENDS_MAX, limits::RESEND_WITHIN, Some(share));
}

fn crypto() -> Arc<CryptoProvider> {
    Arc::new(str0m::crypto::from_feature_flags())
}
