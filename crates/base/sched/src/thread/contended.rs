//! [`Contended`]: a mutex without its value, as the threads that hold it and wait for it know it.

use core::marker::PhantomData;
use core::ptr::{NonNull, null_mut};

use rhumb_sync::atomic::{Acquire, AtomicPtr, Relaxed, Release};

use super::{Thread, ThreadHome, at};
use crate::tree::{Node, Noded, Tree};

pub(crate) struct ByUrgency<K>(PhantomData<K>);

impl<K: ThreadHome> Noded for ByUrgency<K> {
    type Item = Thread<K>;

    fn node(thread: &Thread<K>) -> &Node<Thread<K>> {
        &thread.urgent
    }
}

pub(crate) struct ByTop<K>(PhantomData<K>);

impl<K: ThreadHome> Noded for ByTop<K> {
    type Item = Contended<K>;

    fn node(mutex: &Contended<K>) -> &Node<Contended<K>> {
        &mutex.among_held
    }
}

/// Returns the key by which the more urgent one is first.
pub(crate) fn key<K: ThreadHome>(thread: &Thread<K>) -> u64 {
    u64::from(u8::MAX - thread.effective_policy().urgency().get())
}

/// Says that others wait, in the word of a mutex beside the address of its owner, which is a multiple of 64.
pub(crate) const IS_CONTENDED: usize = 1;

/// A mutex without its value: the owner, and those that wait.
pub(crate) struct Contended<K: ThreadHome> {
    /// The thread that holds it, and [`IS_CONTENDED`]; null while it is free.
    pub(crate) owner: AtomicPtr<Thread<K>>,
    pub(crate) waiters: Tree<ByUrgency<K>>,
    /// Its place among the contended mutexes of its owner.
    among_held: Node<Contended<K>>,
}

impl<K: ThreadHome> Contended<K> {
    rhumb_sync::const_fn! {
        pub(crate) fn new() -> Self {
            let owner = AtomicPtr::new(null_mut());
            Self { owner, waiters: Tree::new(), among_held: Node::new() }
        }
    }

    /// Takes the mutex for a thread, if it is free.
    pub(crate) fn take(&self, thread: &Thread<K>) -> bool {
        let mine = core::ptr::from_ref(thread).cast_mut();
        self.owner.compare_exchange(null_mut(), mine, Acquire, Relaxed).is_ok()
    }

    /// Releases the mutex, unless others wait.
    pub(crate) fn release(&self, thread: &Thread<K>) -> bool {
        let mine = core::ptr::from_ref(thread).cast_mut();
        self.owner.compare_exchange(mine, null_mut(), Release, Relaxed).is_ok()
    }

    pub(crate) fn is_free(&self) -> bool {
        self.owner.load(Relaxed).is_null()
    }

    /// Returns the thread that holds a contended mutex. The caller has the lock of the graph.
    pub(crate) fn owner(&self) -> Option<&Thread<K>> {
        let owner = NonNull::new(self.owner.load(Acquire).map_addr(|address| address & !IS_CONTENDED))?;
        // SAFETY: the owner of a contended mutex releases it with the lock of the graph, which the caller has. A thread
        // that ends without releasing it stays in memory, because it counts the mutexes that it holds.
        Some(unsafe { at(owner) })
    }

    /// Writes the owner of a mutex, and whether others wait.
    pub(crate) fn set_owner(&self, owner: Option<&Thread<K>>) {
        let contended = if self.waiters.is_empty() { 0 } else { IS_CONTENDED };
        let owner = owner.map_or(null_mut(), |owner| core::ptr::from_ref(owner).cast_mut());
        self.owner.store(owner.map_addr(|address| address | contended), Release);
    }

    /// Puts the mutex in its place among those that `owner` holds, if any thread waits for it.
    pub(crate) fn place_among_held(&self, owner: &Thread<K>) {
        owner.contended.remove(self);
        if let Some(top) = self.waiters.first() {
            // SAFETY: the mutex is borrowed by the thread that waits for it, and leaves the tree before that one does.
            unsafe { owner.contended.insert(self, top.urgent.key(), 0) };
        }
    }
}
