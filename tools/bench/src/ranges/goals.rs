//! The figures that the arena is to reach.

use crate::goals::{Cpus, Goal, LEFT_OUT, Rivals, Target};
use crate::report::OURS;

/// All subjects but ours.
static OTHERS: Rivals = Rivals {
    name: "other",
    subjects: &[
        "linux-model",
        "offset-allocator",
        "range-alloc",
        "vmem",
        "rangemap",
        "buddy_system_allocator",
    ],
    remedy: if cfg!(feature = "range-competitors") {
        LEFT_OUT
    } else {
        "the feature range-competitors builds it"
    },
};

const fn goal(workload: &'static str, cpus: Cpus, target: Target) -> Goal {
    Goal { workload, metric: "time", ours: OURS, cpus, target }
}

/// The goals of `bench ranges`.
pub(crate) static GOALS: [Goal; 4] = [
    goal("ranges-pair", Cpus::Any, Target::BestOf(&OTHERS, 2.0)),
    goal("ranges-burst", Cpus::Any, Target::BestOf(&OTHERS, 2.0)),
    goal("ranges-small", Cpus::Any, Target::BestOf(&OTHERS, 2.0)),
    goal("ranges-mixed", Cpus::One, Target::BestOf(&OTHERS, 2.0)),
];
