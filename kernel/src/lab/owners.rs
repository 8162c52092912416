//! The laboratory's own owners of memory, beside those of the kernel.

pub use crate::mm::owners::{AGE, Owner, PAGE_TABLES, UNMAPPED_POOL};
use crate::mm::owners::{Description, FIRST_FREE, MapUse, PoolUse, register as register_one};

/// The kernel's own tests.
pub const SELF_TEST: Owner = Owner::numbered(FIRST_FREE);
/// Stress tests.
pub const STRESS: Owner = Owner::numbered(FIRST_FREE + 1);
/// `count`, while it measures.
pub const COUNT: Owner = Owner::numbered(FIRST_FREE + 2);
/// Movable frames with known contents.
pub const SAMPLE: Owner = Owner::numbered(FIRST_FREE + 3);

/// Registers them. Once, before the direct map is taken over.
pub fn register() {
    for (owner, name, map, pool) in [
        (SELF_TEST, "selftest", MapUse::ChangesAndExecutes, PoolUse::Account),
        (STRESS, "stress", MapUse::Changes, PoolUse::Account),
        (COUNT, "count", MapUse::ChangesAndExecutes, PoolUse::Account),
        (SAMPLE, "movable sample", MapUse::Nothing, PoolUse::Nothing),
    ] {
        register_one(owner, Description { name, map, pool });
    }
}
