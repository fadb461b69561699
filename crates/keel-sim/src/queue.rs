//! What is going to happen, in the order of time and, at one time, of being planned.

use std::{cmp::Ordering, collections::BinaryHeap};

use keel_core::{client, node};

use crate::link::{Down, Up};

/// Something that is going to happen.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A dial reaches a server.
    Accept { link: usize },
    /// Something reaches a server.
    Up { link: usize, what: Up },
    /// Something reaches a client.
    Down { link: usize, what: Down },
    /// The shell of a process answers its Node.
    Answer {
        server: usize,
        life: u32,
        input: Box<node::Input>,
    },
    /// The store has done a commit.
    Synced { server: usize, life: u32, id: u64 },
    /// The store answers a load, page or look at the log's end.
    Read {
        server: usize,
        life: u32,
        read: Box<node::Output>,
    },
    /// A Node wants to be called.
    ServerTick { server: usize, life: u32 },
    /// A program goes on.
    Program {
        server: usize,
        life: u32,
        run: node::RunId,
    },
    /// A killed process is started again.
    Restart { server: usize },
    /// A drained process ends.
    Exit { server: usize, life: u32 },
    /// A client wants to be called.
    ClientTick { client: usize, life: u32 },
    /// The shell of a client tells it something.
    ToClient {
        client: usize,
        life: u32,
        input: Box<client::Input>,
    },
    /// A client's machine wakes.
    Wake { client: usize, life: u32 },
    /// A client's application does something.
    Act { client: usize },
    /// A client's network is there again.
    Online { client: usize },
    /// Something breaks.
    Strike,
    /// A process is killed.
    Crash,
    /// The store's mood changes.
    Mood,
    /// A server is told to drain.
    Drain { server: usize },
    /// A strike that was meant for a phase.
    StrikeAt { link: usize },
    /// What flows of media goes on.
    MediaStep,
    /// Something of media breaks.
    Blow,
    /// Everything works from here on.
    Heal,
    /// The laws that concern the passing of time are looked at.
    Audit,
}

#[derive(Debug)]
struct Planned {
    at: u64,
    order: u64,
    what: Happening,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    heap: BinaryHeap<Planned>,
    planned: u64,
}

impl Queue {
    pub(crate) fn at(&mut self, at: u64, what: Happening) {
        self.planned += 1;
        self.heap.push(Planned {
            at,
            order: self.planned,
            what,
        });
    }

    pub(crate) fn next(&mut self) -> Option<(u64, Happening)> {
        self.heap.pop().map(|planned| (planned.at, planned.what))
    }
}
