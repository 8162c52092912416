//! The threads that wait in one queue.

use core::marker::PhantomData;

use rhumb_sync::Lock;

use super::{Thread, ThreadHome};
use crate::list::{Link, Linked, List};

pub(crate) struct Waiting<K>(PhantomData<K>);

impl<K: ThreadHome> Linked for Waiting<K> {
    type Item = Thread<K>;

    fn link(thread: &Thread<K>) -> &Link<Thread<K>> {
        &thread.waiting
    }
}

/// Threads that wait, the first one first.
pub struct WaitQueue<K: ThreadHome> {
    pub(crate) threads: Lock<List<Waiting<K>>>,
}

impl<K: ThreadHome> Default for WaitQueue<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: ThreadHome> WaitQueue<K> {
    rhumb_sync::const_fn! {
        /// Makes a queue with no thread.
        pub fn new() -> Self {
            Self { threads: Lock::new(List::new()) }
        }
    }
}
