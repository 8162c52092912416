//! [`Isolation`]: one caller at a time moves frames.

use rhumb_machine::{MAX_NODES, NodeId};
use rhumb_sync::atomic::{Acquire, AtomicBool, AtomicU32, Relaxed, Release};

/// The turn to isolate blocks, and where the next compaction begins.
pub(crate) struct Isolation {
    taken: AtomicBool,
    /// At which of a node's pools the next compaction begins.
    first: [AtomicU32; MAX_NODES],
}

impl Default for Isolation {
    fn default() -> Self {
        Self { taken: AtomicBool::new(false), first: core::array::from_fn(|_| AtomicU32::new(0)) }
    }
}

impl Isolation {
    pub(crate) fn take(&self) -> Option<Turn<'_>> {
        (!self.taken.swap(true, Acquire)).then_some(Turn(self))
    }
}

/// The turn, until it is dropped.
pub(crate) struct Turn<'isolation>(&'isolation Isolation);

impl Turn<'_> {
    /// Returns the pool of the node to begin at, by the order in which requests are served from them.
    pub(crate) fn first(&self, node: NodeId) -> usize {
        self.0.first.get(node.index()).map_or(0, |first| first.load(Relaxed) as usize)
    }

    pub(crate) fn set_first(&self, node: NodeId, pool: usize) {
        if let Some(first) = self.0.first.get(node.index()) {
            first.store(pool as u32, Relaxed);
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.taken.store(false, Release);
    }
}
