//! A plane and real peers over a simulated network, in virtual time. Outcomes are asserted, not traces:
//! the crypto of the peers is random.
#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it does not expect is to fail"
)]

mod abuse;
mod client;
mod hostile;
mod layers;
mod native;
mod outages;
mod recorded;
mod routing;
mod settled;
mod stats;
mod voices;
mod world;
