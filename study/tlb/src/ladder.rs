//! The reach of a geometry: misses over the size of a working set.
//!
//! Set beside the times of the same accesses on the machine itself, it shows whether the model has the machine's steps
//! at the right places.

use crate::access::{Access, Purpose, Side, Uniform};
use crate::geometry::{Geometry, WrongGeometry};
use crate::model::Model;
use crate::page::PageSize;

/// The cost of accesses to a working set of some size.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Step {
    /// The size of the working set.
    pub bytes: u64,
    /// The share of accesses whose translation is not in the first level.
    pub first_level_misses: f64,
    /// The share of accesses that walk.
    pub walks: f64,
    /// Entries of the tables read, for each access.
    pub references: f64,
}

/// Accesses that are counted for a step, once the caches are warm.
const ACCESSES: u64 = 200_000;
/// Places of a working set that are accessed: one in each 4 KiB, whatever the size of its pages.
const PLACE_BYTES: u64 = 4096;

/// Predicts loads from random places of working sets of these sizes, in pages of one size.
///
/// Each load is from one of the working set's 4-KiB places, drawn anew each time, so that with *n* pages and room for
/// *r* about 1 - *r*/*n* of the loads miss. The same arguments give the same steps.
///
/// # Errors
/// The geometry is none.
pub fn ladder(geometry: &Geometry, page: PageSize, sizes_bytes: &[u64]) -> Result<Vec<Step>, WrongGeometry> {
    sizes_bytes.iter().map(|bytes| step(geometry, page, *bytes)).collect()
}

fn step(geometry: &Geometry, page: PageSize, bytes: u64) -> Result<Step, WrongGeometry> {
    let mut model = Model::new(geometry)?;
    let mut tables = Uniform(page);
    let places = (bytes / PLACE_BYTES).max(1);
    let mut load = |place: u64, model: &mut Model| {
        // A working set begins where pages of all sizes do.
        let address = (1 << 40) + place * PLACE_BYTES;
        model.access(Access { address, purpose: Purpose::Load, side: Side::User }, &mut tables);
    };
    let mut state = 0x9e37_79b9_7f4a_7c15;
    let mut draw = || {
        // SplitMix64 (Steele, Lea and Flood, 2014).
        state = u64::wrapping_add(state, 0x9e37_79b9_7f4a_7c15);
        let mut mixed: u64 = state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(mixed ^ mixed >> 31) * u128::from(places)) >> 64) as u64
    };
    // A working set that fits is in the caches whole; of a larger one they hold what came last.
    (0..places.min(ACCESSES)).for_each(|place| load(place, &mut model));
    (0..ACCESSES.min(4 * places)).for_each(|_| load(draw(), &mut model));
    let warm = model.totals().all();
    (0..ACCESSES).for_each(|_| load(draw(), &mut model));
    let counts = model.totals().all() - warm;
    let share = |count: u64| count as f64 / ACCESSES as f64;
    Ok(Step {
        bytes,
        first_level_misses: share(counts.first_level_misses()),
        walks: share(counts.all_walks()),
        references: share(counts.all_references()),
    })
}

#[cfg(test)]
mod tests;
