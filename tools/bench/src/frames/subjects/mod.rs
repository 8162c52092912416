//! The allocators that take part, each wrapped as its documentation intends for several CPUs.
//!
//! | subject | several CPUs | its metadata |
//! |---|---|---|
//! | `rhumb` | its own per-CPU magazines, reached with the pinned token | one bit a frame, outside |
//! | `floor` | a per-CPU array, single frames only: a yardstick, no competitor | one bit a frame |
//! | `linux-model` | per-CPU lists over a locked buddy | 64-byte descriptors, outside |
//! | `frame-alloc` | its own per-CPU magazines and depot over its lock-free buddy | bitmaps in the memory given |
//! | `osdk-frame-allocator` | its own per-CPU caches and pools over a locked buddy | 64-byte descriptors, outside |
//! | `bitmap-allocator` | none: a spin lock around it | inside the value |
//! | `buddy_system_allocator` | none: its own `LockedFrameAllocator` | trees on the process's heap |
//! | `buddy-slab-allocator` | a spin lock, as its own `GlobalAllocator` has it | 12-byte descriptors in the memory given |
//! | `buddy-alloc` | none: a spin lock around it | bitmaps in the memory given, lists in free frames |
//!
//! `buddy-alloc` writes into free frames: it runs on touched memory, and on 1 GiB only.

#[cfg(feature = "frame-competitors")]
mod bitmap;
#[cfg(feature = "frame-competitors")]
mod buddy_alloc;
#[cfg(feature = "frame-competitors")]
mod buddy_slab;
#[cfg(feature = "frame-competitors")]
mod buddy_system;
mod floor;
#[cfg(feature = "frame-competitors")]
mod frame_alloc;
pub(crate) mod linux_model;
#[cfg(feature = "frame-competitors")]
mod osdk;
mod rhumb;

use super::subject::FrameSubject;
use super::{Setting, Workload};
use crate::driver::Case;

/// Returns all subjects of a workload that were asked for.
pub(super) fn cases(name: &str, setting: &Setting, workload: impl Workload) -> Vec<Case> {
    let mut cases = Vec::new();
    add::<rhumb::Rhumb>(name, setting, workload, &mut cases);
    add::<floor::Floor>(name, setting, workload, &mut cases);
    add::<linux_model::LinuxModel>(name, setting, workload, &mut cases);
    #[cfg(feature = "frame-competitors")]
    {
        add::<frame_alloc::FrameAlloc>(name, setting, workload, &mut cases);
        add::<osdk::Osdk>(name, setting, workload, &mut cases);
        if setting.region.frames().frames() <= bitmap::SMALL_FRAMES {
            add::<bitmap::Small>(name, setting, workload, &mut cases);
        } else {
            add::<bitmap::Large>(name, setting, workload, &mut cases);
        }
        add::<buddy_system::BuddySystem>(name, setting, workload, &mut cases);
        add::<buddy_slab::BuddySlab>(name, setting, workload, &mut cases);
        add::<buddy_alloc::BuddyAlloc>(name, setting, workload, &mut cases);
    }
    cases
}

fn add<S: FrameSubject>(name: &str, setting: &Setting, workload: impl Workload, cases: &mut Vec<Case>) {
    let able = S::serves(workload.largest_order()) && (S::MOVES || !workload.needs_moving());
    if able && setting.options.wants(name, S::NAME) {
        let setting = setting.clone();
        cases.push(Case { subject: S::NAME, run: Box::new(move || workload.run::<S>(&setting)) });
    }
}
