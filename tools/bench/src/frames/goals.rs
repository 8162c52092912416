//! The figures that the frame allocator is to reach.

use crate::goals::{Cpus, Goal, LEFT_OUT, Rivals, Target};
use crate::report::OURS;

/// All subjects that serve orders 0 to 9, except for ours.
static OTHERS: Rivals = Rivals {
    name: "other",
    subjects: &[
        "linux-model",
        "frame-alloc",
        "osdk-frame-allocator",
        "bitmap-allocator",
        "buddy_system_allocator",
        "buddy-slab-allocator",
        "buddy-alloc",
    ],
    remedy: if cfg!(feature = "frame-competitors") {
        LEFT_OUT
    } else {
        "the feature frame-competitors builds it"
    },
};

const fn goal(workload: &'static str, metric: &'static str, cpus: Cpus, target: Target) -> Goal {
    Goal { workload, metric, ours: OURS, cpus, target }
}

/// The goals of `bench frames`.
pub(crate) static GOALS: [Goal; 8] = [
    goal("mixed", "time", Cpus::One, Target::BestOf(&OTHERS, 1.0)),
    goal("mixed", "time", Cpus::Several, Target::BestOf(&OTHERS, 1.5)),
    goal("pair-order-0", "time", Cpus::Most, Target::OneCpu(1.2)),
    goal("bulk", "time", Cpus::Most, Target::OneCpu(1.2)),
    goal("random-", "time", Cpus::Most, Target::OneCpu(1.2)),
    goal("mixed", "blocks-after-churn", Cpus::Any, Target::Limit(85.0)),
    goal("mixed", "blocks-after-free-90", Cpus::Any, Target::Limit(70.0)),
    // 64 of the 256 blocks that half of the memory is.
    goal("healing", "blocks-healed", Cpus::Any, Target::Limit(25.0)),
];
