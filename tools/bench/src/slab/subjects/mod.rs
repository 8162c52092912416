//! The allocators that take part, each as its users call it.
//!
//! | subject | several CPUs | memory |
//! |---|---|---|
//! | `rhumb` | per-CPU magazines, reached with the pinned token; one size by a cache's handle | its own frames |
//! | `rhumb-global` | the same through `GlobalAlloc`, not inlined | its own frames |
//! | `floor` | per-CPU arrays over a locked depot: a yardstick, no competitor | never returns any |
//! | `talc` | a spin lock by its own `TalcLock` | claims all of it, never returns any |
//! | `linked_list_allocator` | a spin lock by its own `LockedHeap` | as `talc` |
//! | `rlsf` | none: a spin lock around it | as `talc` |
//! | `slabmalloc` | none: a spin lock around it, as in its own example | pages from a list under the same lock |
//! | `mimalloc` (v2), `snmalloc`, `jemalloc` | their own caches for each thread | the host's |
//! | `system` | the process's own `malloc` | the host's |
//!
//! The heaps of user space are called directly, as C programs do; a size that is known is known to their wrapper.
//! They are built with the feature `user-space` only.

mod floor;
#[cfg(feature = "slab-competitors")]
mod kernel;
mod rhumb;
#[cfg(feature = "slab-competitors")]
mod slabmalloc;
mod system;
#[cfg(feature = "user-space")]
mod user_space;

pub(crate) use rhumb::slabs;

use super::subject::ObjectSubject;
use super::{Setting, Workload};
use crate::driver::Case;

/// Returns all subjects of a workload that were asked for.
pub(super) fn cases(setting: &Setting, workload: impl Workload) -> Vec<Case> {
    let mut cases = Vec::new();
    add::<rhumb::Rhumb>(setting, workload, &mut cases);
    add::<rhumb::Global>(setting, workload, &mut cases);
    add::<floor::Floor>(setting, workload, &mut cases);
    #[cfg(feature = "slab-competitors")]
    {
        add::<kernel::Talc>(setting, workload, &mut cases);
        add::<kernel::LinkedList>(setting, workload, &mut cases);
        add::<kernel::Rlsf>(setting, workload, &mut cases);
        add::<slabmalloc::Slabmalloc>(setting, workload, &mut cases);
    }
    #[cfg(feature = "user-space")]
    {
        add::<user_space::Mimalloc>(setting, workload, &mut cases);
        add::<user_space::Snmalloc>(setting, workload, &mut cases);
        add::<user_space::Jemalloc>(setting, workload, &mut cases);
    }
    add::<system::SystemHeap>(setting, workload, &mut cases);
    cases
}

fn add<S: ObjectSubject>(setting: &Setting, workload: impl Workload, cases: &mut Vec<Case>) {
    if setting.options.wants(workload.name(), S::NAME) {
        let setting = setting.clone();
        cases.push(Case { subject: S::NAME, run: Box::new(move || workload.run::<S>(&setting)) });
    }
}
