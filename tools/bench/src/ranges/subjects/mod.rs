//! The allocators that take part, each as its users call it.
//!
//! | subject | several CPUs | it finds a range by |
//! |---|---|---|
//! | `rhumb` | a cache of sizes up to 16 for each CPU, over a lock | two levels of size classes |
//! | `rhumb-lock` | the same without the caches | the same |
//! | `linux-model` | pools of sizes up to 256 for each CPU, over a lock | a tree of free ranges by address, the largest of each subtree known |
//! | `offset-allocator` | none: a spin lock around it | size classes, up to an eighth wide |
//! | `range-alloc` | none: a spin lock around it | best fit, by a look at each free range in a vector |
//! | `vmem` | its own spin lock | size classes, powers of two; a free looks its tag up in a hash table |
//! | `rangemap` | none: a spin lock around it | first fit over its set of free ranges |
//! | `buddy_system_allocator` | its own spin lock | a tree for each power of two; sizes are rounded up to these |
//!
//! `offset-allocator` knows no alignments, and `vmem` 1.0.0 leaves empty ranges where it aligns, which its next free
//! does not survive: both are asked for as many units more. `rangemap` is a set, not an allocator; its wrapper walks
//! over the free ranges.

mod linux_model;
#[cfg(feature = "range-competitors")]
mod registry;
mod rhumb;

use super::subject::RangeSubject;
use super::{Setting, Workload};
use crate::driver::Case;

/// Returns all subjects of a workload that were asked for.
pub(super) fn cases(setting: &Setting, workload: impl Workload) -> Vec<Case> {
    let mut cases = Vec::new();
    add::<rhumb::Rhumb>(setting, workload, &mut cases);
    add::<rhumb::Locked>(setting, workload, &mut cases);
    add::<linux_model::LinuxModel>(setting, workload, &mut cases);
    #[cfg(feature = "range-competitors")]
    {
        add::<registry::Offset>(setting, workload, &mut cases);
        add::<registry::RangeAlloc>(setting, workload, &mut cases);
        add::<registry::Vmem>(setting, workload, &mut cases);
        add::<registry::RangeMap>(setting, workload, &mut cases);
        add::<registry::Buddy>(setting, workload, &mut cases);
    }
    cases
}

fn add<S: RangeSubject>(setting: &Setting, workload: impl Workload, cases: &mut Vec<Case>) {
    if setting.options.wants(workload.name(), S::NAME) {
        let setting = setting.clone();
        cases.push(Case { subject: S::NAME, run: Box::new(move || workload.run::<S>(&setting)) });
    }
}
