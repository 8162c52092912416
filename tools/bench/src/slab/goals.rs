//! The figures that the object caches are to reach.

use crate::goals::{Cpus, Goal, LEFT_OUT, Rivals, Target};
use crate::report::OURS;

/// Our subject whose users go through `GlobalAlloc`.
pub(super) const GLOBAL: &str = "rhumb-global";

/// The names of the heaps of user space that goals are against. The host's own `malloc` is no stand-in for them.
pub(super) const MIMALLOC: &str = "mimalloc";
pub(super) const SNMALLOC: &str = "snmalloc";
pub(super) const JEMALLOC: &str = "jemalloc";

static HEAPS: Rivals = Rivals {
    name: "heap of user space",
    subjects: &[MIMALLOC, SNMALLOC, JEMALLOC],
    remedy: if cfg!(feature = "user-space") { LEFT_OUT } else { "`cargo xtask bench slab` builds it" },
};

static BY_HANDLE: Rivals = Rivals { name: "", subjects: &[OURS], remedy: LEFT_OUT };

const fn goal(workload: &'static str, metric: &'static str, ours: &'static str, target: Target) -> Goal {
    Goal { workload, metric, ours, cpus: Cpus::Any, target }
}

/// The goals of `bench slab`.
pub(crate) static GOALS: [Goal; 8] = [
    goal("pair-64", "time", OURS, Target::BestOf(&HEAPS, 1.2)),
    goal("pair-64", "time", GLOBAL, Target::BestOf(&BY_HANDLE, 1.0)),
    goal("burst-1000", "time", OURS, Target::BestOf(&HEAPS, 1.0)),
    goal("mixed-10k", "time", OURS, Target::BestOf(&HEAPS, 1.2)),
    goal("mixed-200k", "time", OURS, Target::BestOf(&HEAPS, 1.2)),
    goal("remote-", "time", OURS, Target::BestOf(&HEAPS, 1.3)),
    goal("held", "churn", OURS, Target::Limit(1.16)),
    goal("held", "sparse", OURS, Target::Limit(5.6)),
];
