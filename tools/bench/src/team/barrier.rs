//! Where members meet: they spin.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// A barrier that spins, so that the members leave it within a cache miss of each other. It yields now and then, for
/// hosts with fewer cores than the team has members.
pub(super) struct Barrier {
    members: usize,
    arrived: AtomicUsize,
    /// A member has panicked and will not come.
    is_broken: AtomicBool,
}

/// A member's time in the team.
pub(super) struct Entered;

/// Breaks the barrier when its member panics, so that the others do not wait endlessly.
pub(super) struct Breaker<'team>(pub(super) &'team Barrier);

impl Drop for Breaker<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.is_broken.store(true, Ordering::Relaxed);
        }
    }
}

impl Barrier {
    pub(super) const fn new(members: usize) -> Self {
        Self { members, arrived: AtomicUsize::new(0), is_broken: AtomicBool::new(false) }
    }

    /// Begins a member's work, at any time.
    pub(super) const fn enter(&self, _member: usize) -> Entered {
        Entered
    }

    /// Runs `work`, as nothing is counted here.
    #[inline(always)]
    pub(super) fn pause_counting<A>(&self, _member: usize, work: impl FnOnce() -> A) -> A {
        work()
    }

    /// Waits a moment for another member.
    #[inline(always)]
    pub(super) fn give_way(&self, _member: usize) {
        spin_loop();
    }

    /// Waits until all members are here.
    pub(super) fn wait(&self, _member: usize) {
        let ticket = self.arrived.fetch_add(1, Ordering::AcqRel);
        let all_here = (ticket / self.members + 1) * self.members;
        let mut spins = 0u32;
        while self.arrived.load(Ordering::Acquire) < all_here {
            spins += 1;
            if spins.is_multiple_of(4096) {
                assert!(!self.is_broken.load(Ordering::Relaxed), "another member of the team has panicked");
                thread::yield_now();
            } else {
                spin_loop();
            }
        }
    }
}
