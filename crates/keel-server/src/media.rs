//! Media: planes beside each other, each with a thread and a port of its own, and the driver's way to them.
//!
//! All transports of a session are on one plane. No packet passes through the driver, nor waits for anything
//! that sessions do.

mod facts;
mod gauges;
mod identity;
mod orders;
mod plane;
mod planes;
mod socket;
mod tcp;
mod translate;

use std::{io, net::SocketAddr};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use facts::Facts;
pub(crate) use gauges::Gauges;
pub(crate) use identity::identity;
pub(crate) use planes::Planes;

use facts::Teller;
use plane::Bound;

use crate::{config, meter::Meter};

/// Sockets for media that are bound, and what clients are told of them.
#[derive(Debug)]
pub(crate) struct Media {
    planes: Vec<Bound>,
}

impl Media {
    /// Binds the sockets of as many planes as are wanted, at that port and those after it.
    ///
    /// # Errors
    /// When an address cannot be listened on: which.
    pub(crate) async fn bind(
        config: &config::Media,
        listen: SocketAddr,
        certificate: keel_media::Certificate,
    ) -> Result<Self, (SocketAddr, io::Error)> {
        let mut planes = Vec::new();
        for (nth, listen) in config.listens(listen) {
            let certificate = certificate.clone();
            let bound = Bound::bind(config, nth, listen, certificate).await;
            planes.push(bound.map_err(|error| (listen, error))?);
        }
        Ok(Self { planes })
    }

    /// Runs until the server is closed. Orders go to the first, what is told comes from the second, and the third
    /// is asked how transports are doing.
    ///
    /// # Errors
    /// When there can be no thread for one.
    pub(crate) fn start(
        self,
        meter: &Meter,
        closing: &CancellationToken,
        tracker: &TaskTracker,
    ) -> io::Result<(Planes, Facts, Gauges)> {
        let (told, facts) = Teller::new();
        let planes = self.planes.into_iter();
        let started =
            planes.map(|plane| plane.start(told.twin(), meter.clone(), closing.clone(), tracker));
        let started = started.collect::<io::Result<Vec<_>>>()?;
        let (orders, questions) = started.into_iter().unzip();
        Ok((Planes::new(orders), facts, Gauges::new(questions)))
    }
}
