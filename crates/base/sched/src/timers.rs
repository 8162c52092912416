//! [`Timers`]: the time-outs of the waits that began on one CPU.
//!
//! A tree by time, with a lock of its own. A thread puts its timer in on its CPU before it waits, and takes it out when it
//! goes on, perhaps on another CPU. The alarm takes out those whose time is over and ends their waits *under the lock*, so
//! that a thread whose timer is out of the tree, by whichever way, is touched by no alarm any more.
//!
//! Why not a wheel: a wheel takes constant time to insert, but moves any number of timers at once from level to level,
//! or lets them wait inexactly. The tree has the bound of the run queue.
//!
//! Locking: the lock of the timers is above that of a run queue.

use core::marker::PhantomData;

use rhumb_sync::Lock;

use crate::field::Number;
use crate::thread::{Thread, ThreadHome};
use crate::tree::{Node, Noded, Tree};

pub(crate) const NEVER: u64 = u64::MAX;

pub(crate) struct ByTime<K>(PhantomData<K>);

impl<K: ThreadHome> Noded for ByTime<K> {
    type Item = Thread<K>;

    fn node(thread: &Thread<K>) -> &Node<Thread<K>> {
        &thread.timer
    }
}

/// The time-outs of one CPU.
pub(crate) struct Timers<K: ThreadHome> {
    pub(crate) tree: Lock<Tree<ByTime<K>>>,
    /// The time of the first one, for the CPU itself, which reads it without the lock.
    first_ns: Number,
}

impl<K: ThreadHome> Timers<K> {
    rhumb_sync::const_fn! {
        pub(crate) fn new() -> Self {
            Self { tree: Lock::new(Tree::new()), first_ns: Number::new(NEVER) }
        }
    }

    /// Returns when the first time-out is.
    pub(crate) fn first_ns(&self) -> Option<u64> {
        Some(self.first_ns.get()).filter(|&first_ns| first_ns != NEVER)
    }

    /// Notes the time of the first one: by the holder of the lock, after each change.
    pub(crate) fn note_first(&self, tree: &Tree<ByTime<K>>) {
        let first_ns = tree.first().map_or(NEVER, |thread| thread.timer.key());
        if self.first_ns.get() != first_ns {
            self.first_ns.set(first_ns);
        }
    }
}
