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

/// About as many accesses are counted for a step: whole laps, once the caches are warm.
const HOPS: u64 = 100_000;
/// Places of a working set that are accessed: one in each 4 KiB, whatever the size of its pages.
const PLACE_BYTES: u64 = 4096;

/// Predicts loads along a chain through working sets of these sizes, in pages of one size.
///
/// The chain leads once through all 4-KiB places of the working set, in a random order, and begins anew, as the chain
/// does by which the ladder of a machine is measured. With LRU a set that has one page too many misses always; other
/// orders of replacement miss in part. The same arguments give the same steps.
///
/// # Errors
/// The geometry is none.
pub fn ladder(geometry: &Geometry, page: PageSize, sizes_bytes: &[u64]) -> Result<Vec<Step>, WrongGeometry> {
    sizes_bytes.iter().map(|bytes| step(geometry, page, *bytes)).collect()
}

fn step(geometry: &Geometry, page: PageSize, bytes: u64) -> Result<Step, WrongGeometry> {
    let mut model = Model::new(geometry)?;
    let mut tables = Uniform(page);
    let chain = chain((bytes / PLACE_BYTES).max(1));
    let mut follow = |hops: u64, model: &mut Model| {
        for place in chain.iter().cycle().take(hops as usize) {
            // A working set begins where pages of all sizes do.
            let address = (1 << 40) + place * PLACE_BYTES;
            model.access(Access { address, purpose: Purpose::Load, side: Side::User }, &mut tables);
        }
    };
    // Whole laps, so that the hops that count follow those before them. No cache is larger than a long lap.
    let places = chain.len() as u64;
    follow(places, &mut model);
    let warm = model.totals().all();
    let hops = places * (HOPS / places).max(1);
    follow(hops, &mut model);
    let counts = model.totals().all() - warm;
    let share = |count: u64| count as f64 / hops as f64;
    Ok(Step {
        bytes,
        first_level_misses: share(counts.first_level_misses()),
        walks: share(counts.all_walks()),
        references: share(counts.all_references()),
    })
}

/// Returns the places in a random order.
fn chain(places: u64) -> Vec<u64> {
    let mut chain: Vec<u64> = (0..places).collect();
    let mut state = 0u64;
    for index in (1..chain.len()).rev() {
        // SplitMix64 (Steele, Lea and Flood, 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let other = (u128::from(mixed ^ (mixed >> 31)) * (index as u128 + 1)) >> 64;
        chain.swap(index, other as usize);
    }
    chain
}

#[cfg(test)]
mod tests;
