//! Random histories of the map on CPUs in software, whose TLBs forget nothing by themselves.
//!
//! A history makes changes, alters and restores them, pins, collapses, and flushes what is pending in any order, while
//! other CPUs use the map after each store to a table, speculate, idle and wake. A flat model says what each CPU may
//! see: how the frame is now, or how it was before a change whose flush is pending.

mod changes;
mod check;
mod eyes;
mod model;
mod planted;
mod play;
mod ranges;
mod side;
mod world;

use std::hash::{BuildHasher, RandomState};

use play::play;

/// Turns of one history.
const TURNS: u32 = 120;

/// Plays the history of `seed`.
///
/// # Panics
/// Says what was found, and where.
fn demand_silence(seed: u64, turns: u32) {
    if let Some(found) = play(seed, turns, None) {
        panic!("the history of seed {seed:#x}: {found}");
    }
}

#[test]
fn i3_i6_i7_i9_no_history_leaves_a_stale_translation() {
    (1..=24).for_each(|seed| demand_silence(seed, TURNS));
}

/// A CPU that idles walks a table of boot that a collapse has taken out, whose block is removed before it wakes.
#[test]
fn i6_a_lazy_cpu_may_walk_a_merged_table_until_it_is_reused() {
    demand_silence(0xfcc4_9272_b2d9_a4ff, TURNS);
}

#[test]
fn i3_i6_i7_i9_no_history_that_was_never_played_does() {
    let random = RandomState::new();
    (0..4u64).for_each(|number| demand_silence(random.hash_one(number), TURNS));
}

#[test]
#[ignore = "a soak of some minutes"]
fn i3_i6_i7_i9_soak() {
    let random = RandomState::new();
    (0..400u64).for_each(|number| demand_silence(random.hash_one(number), 4 * TURNS));
}
