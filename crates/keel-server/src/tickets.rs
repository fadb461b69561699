//! Caps on connections: over all, for one address, and for those that have shown no token.
//!
//! A ticket is held as long as what it was given for, and gives itself back.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What was full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// The server.
    Server,
    /// One address.
    Address,
    /// Those without a token.
    Unauthenticated,
}

#[derive(Debug)]
pub(crate) struct Tickets {
    all: Arc<Semaphore>,
    unauthenticated: Arc<Semaphore>,
    per_address: usize,
    addresses: Mutex<HashMap<IpAddr, usize>>,
}

/// The right to be connected.
#[derive(Debug)]
pub(crate) struct Ticket {
    _one: OwnedSemaphorePermit,
    address: Option<(IpAddr, Arc<Tickets>)>,
}

/// The right to be connected without having shown a token yet.
pub(crate) type Handshake = OwnedSemaphorePermit;

impl Tickets {
    pub(crate) fn new(all: usize, per_address: usize, unauthenticated: usize) -> Arc<Self> {
        let most = Semaphore::MAX_PERMITS;
        Arc::new(Self {
            all: Arc::new(Semaphore::new(all.min(most))),
            unauthenticated: Arc::new(Semaphore::new(unauthenticated.min(most))),
            per_address,
            addresses: Mutex::default(),
        })
    }

    /// A ticket for a connection; not counted for its address if that is a proxy's.
    pub(crate) fn connect(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Ticket, Full> {
        let one = Arc::clone(&self.all)
            .try_acquire_owned()
            .map_err(|_| Full::Server)?;
        let mut ticket = Ticket {
            _one: one,
            address: None,
        };
        if let Some(address) = address {
            self.count(&mut ticket, address)?;
        }
        Ok(ticket)
    }

    /// Counts a ticket for an address that became known later.
    pub(crate) fn count(
        self: &Arc<Self>,
        ticket: &mut Ticket,
        address: IpAddr,
    ) -> Result<(), Full> {
        let mut addresses = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let count = addresses.entry(address).or_insert(0);
        if *count >= self.per_address {
            return Err(Full::Address);
        }
        *count += 1;
        drop(addresses);
        ticket.address = Some((address, Arc::clone(self)));
        Ok(())
    }

    pub(crate) fn handshake(&self) -> Result<Handshake, Full> {
        Arc::clone(&self.unauthenticated)
            .try_acquire_owned()
            .map_err(|_| Full::Unauthenticated)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some((address, tickets)) = self.address.take() else {
            return;
        };
        let mut addresses = tickets
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = addresses.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&address);
            }
        }
    }
}
