//! Lists of threads: each CPU has one of those that were made there; a leaf where `unsafe` lives.
//!
//! A thread is in the list from when it is made until it is gone, and takes itself out ([`Entry`] is dropped with it),
//! under the lock of its list. A walk has a reference to the thread at which it is, so that thread is in the list, and its
//! successor is known: each step takes the lock once, and constant time, however many threads there are.

use core::cell::Cell;
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rhumb_machine::{IrqOff, Machine};
use rhumb_sync::Lock;

use super::{Thread, ThreadRef};
use crate::cpu::machine::MACHINE;

/// Numbers that a CPU takes at once.
const BLOCK: u32 = 64;
/// The first number that no CPU has taken.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// The threads that were made on one CPU.
pub struct List(Lock<Ends>);

struct Ends {
    first: Cell<*const Entry>,
    last: Cell<*const Entry>,
    count: Cell<usize>,
    /// The next number, and how many this CPU has left.
    next: Cell<u32>,
    left: Cell<u32>,
}

// SAFETY: the entries are changed under the lock alone.
unsafe impl Send for Ends {}

/// A thread's place in the list.
pub struct Entry {
    /// The list that has it.
    home: &'static List,
    /// The thread; null while the entry is in no list.
    thread: Cell<*const Thread>,
    before: Cell<*const Entry>,
    behind: Cell<*const Entry>,
}

// SAFETY: what changes is read and written under the lock of the list alone.
unsafe impl Sync for Entry {}
// SAFETY: as above.
unsafe impl Send for Entry {}

impl List {
    pub const fn new() -> Self {
        Self(Lock::new(Ends {
            first: Cell::new(ptr::null()),
            last: Cell::new(ptr::null()),
            count: Cell::new(0),
            next: Cell::new(0),
            left: Cell::new(0),
        }))
    }

    /// Returns the first thread behind `thread`, or of all.
    pub fn behind(&self, thread: Option<&Thread>) -> Option<ThreadRef> {
        let guard = MACHINE.irq_off();
        let ends = self.0.lock(guard.irq_off());
        let mut at = thread.map_or(ends.first.get(), |thread| thread.data().entry().behind.get());
        // SAFETY: an entry in the list is part of a thread that is in memory, because its drop waits for the lock.
        while let Some(entry) = unsafe { at.as_ref() } {
            // SAFETY: as above. A thread whose last reference is gone has an entry until it has had the lock.
            let found = unsafe { entry.thread.get().as_ref() }.and_then(Thread::try_to_ref);
            if found.is_some() {
                return found;
            }
            at = entry.behind.get();
        }
        None
    }

    /// Returns how many threads are in the list.
    pub fn count(&self, irq_off: IrqOff<'_>) -> usize {
        self.0.lock(irq_off).count.get()
    }
}

impl Entry {
    /// Returns an entry of a list, in which it is not yet, and the thread's number.
    pub fn new(home: &'static List) -> (Self, u32) {
        let guard = MACHINE.irq_off();
        let ends = home.0.lock(guard.irq_off());
        if ends.left.get() == 0 {
            ends.next.set(NEXT.fetch_add(BLOCK, Relaxed));
            ends.left.set(BLOCK);
        }
        let number = ends.next.get();
        ends.next.set(number.wrapping_add(1));
        ends.left.set(ends.left.get() - 1);
        let nowhere = || Cell::new(ptr::null());
        (Self { home, thread: Cell::new(ptr::null()), before: nowhere(), behind: nowhere() }, number)
    }
}

/// Puts a thread that was just made into the list.
pub fn add(thread: &Thread) {
    let entry = thread.data().entry();
    let guard = MACHINE.irq_off();
    let ends = entry.home.0.lock(guard.irq_off());
    if !entry.thread.get().is_null() {
        return;
    }
    entry.thread.set(thread);
    entry.before.set(ends.last.get());
    // SAFETY: an entry in the list is part of a thread that is in memory, because its drop waits for the lock.
    match unsafe { ends.last.get().as_ref() } {
        Some(last) => last.behind.set(entry),
        None => ends.first.set(entry),
    }
    ends.last.set(entry);
    ends.count.set(ends.count.get() + 1);
}

impl Drop for Entry {
    fn drop(&mut self) {
        let guard = MACHINE.irq_off();
        let ends = self.home.0.lock(guard.irq_off());
        if self.thread.get().is_null() {
            return;
        }
        let (before, behind) = (self.before.get(), self.behind.get());
        // SAFETY: entries in the list are parts of threads that are in memory, because their drops wait for the lock.
        match unsafe { before.as_ref() } {
            Some(before) => before.behind.set(behind),
            None => ends.first.set(behind),
        }
        // SAFETY: as above.
        match unsafe { behind.as_ref() } {
            Some(behind) => behind.before.set(before),
            None => ends.last.set(before),
        }
        ends.count.set(ends.count.get() - 1);
    }
}
