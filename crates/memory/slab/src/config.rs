//! [`Config`]: the allocator's view of its machine, and the hooks that it calls.

use rhumb_frames::Owner;

use crate::check::{CallSite, CheckList};
use crate::fault::Report;

/// The facts about its machine that the allocator is told.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// CPUs that there can be, whether they run yet or not: ids are below this.
    pub cpus: usize,
    /// Nodes that there can be.
    pub nodes: usize,
    /// The owner of the frames that are taken.
    pub owner: Owner,
    /// Which caches are checked.
    pub checks: CheckList,
    /// Returns the call site of an allocation or a free: for caches that keep their users.
    pub call_site: fn() -> CallSite,
    /// Is told of each fault. It must not allocate from this allocator.
    pub report: fn(&Report),
}

impl Config {
    /// Returns the configuration of a machine with one node and these CPUs, where nothing is checked or reported.
    pub const fn new(cpus: usize) -> Self {
        Self {
            cpus,
            nodes: 1,
            owner: Owner::NONE,
            checks: CheckList::NONE,
            call_site: || CallSite::UNKNOWN,
            report: |_| (),
        }
    }
}
