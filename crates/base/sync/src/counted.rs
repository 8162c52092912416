//! Counts of the data that CPUs share, in a build with `RUSTFLAGS="--cfg rhumb_counted"`. In any other build nothing
//! here is an instruction.
//!
//! The atomics tell of each access, and so does the code that reaches shared data by other means. Threads that say
//! which CPU they are (`be`), and that run one at a time, get exact counts (`take`), the same in each run: how a design
//! scales can be seen on a machine with few cores. A run that is to depend on no earlier run begins with `forget`.
//!
//! | count | one for each |
//! |---|---|
//! | `lock_visits` | taking of a [`Lock`](crate::Lock) |
//! | `foreign_lines` | access to a cache line that another CPU has written since this CPU's last access |
//! | `moved` | loading of something that another CPU loaded before ([`loaded`]) |
//!
//! Lines are those of the program's own addresses. The lock's own line is always told of; the data behind the lock only
//! where its code tells of it, which it does not for the fields of a node or a zone. A thing that is loaded is known by
//! its address, and one that is placed there later counts as the same. A thread that is no CPU counts nothing, and its
//! accesses change no count of others.

#[cfg(rhumb_counted)]
mod ledger;

#[cfg(rhumb_counted)]
pub use ledger::{Counts, be, forget, take};
#[cfg(rhumb_counted)]
pub(crate) use ledger::{atomics, lock_taken};

/// Tells of a value that is read by other means than the atomics of this crate.
#[inline(always)]
pub fn read<T>(at: *const T) {
    #[cfg(rhumb_counted)]
    ledger::touched(at.cast(), size_of::<T>(), false);
    let _ = at;
}

/// Tells of a value that is written by other means than the atomics of this crate.
#[inline(always)]
pub fn written<T>(at: *const T) {
    #[cfg(rhumb_counted)]
    ledger::touched(at.cast(), size_of::<T>(), true);
    let _ = at;
}

/// Tells that this CPU loads the thing at `at`, which goes from CPU to CPU as a whole.
#[inline(always)]
pub fn loaded<T>(at: *const T) {
    #[cfg(rhumb_counted)]
    ledger::loaded(at.cast());
    let _ = at;
}

#[cfg(all(test, rhumb_counted))]
mod tests;
