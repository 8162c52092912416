//! Each fault that can be planted is found by a history.
//!
//! Left out are changes of the code that are no faults, since no CPU can tell:
//!
//! | change | why no CPU can tell |
//! |---|---|
//! | a split flushes the page that was split | the pieces mean what the page meant, and each that is set is flushed by itself |
//! | an absent page that becomes present is flushed | no TLB holds an absent page |
//! | a table of the reserve is not cleared when it is taken | all its 512 entries are written before it is hung in |
//!
//! A mark that a flusher finds and does not exchange is a matter of memory order: the models of `rhumb-pagetable` plant
//! and find it. Windows and the pool have their faults in `rhumb-windows` and `rhumb-unmapped`.

use rhumb_directmap::planted::Fault;
use rhumb_pagetable::planted::Fault as TableFault;

use crate::play::{Plant, play};

/// Histories that a fault may survive.
const SEEDS: u64 = 120;
const TURNS: u32 = 200;

#[test]
fn every_planted_fault_is_found() {
    let all = Fault::ALL.map(Plant::Map).into_iter().chain(TableFault::SEEN_BY_CPUS.map(Plant::Tables));
    let survivors: Vec<Plant> = all.filter(|&plant| !is_found(plant)).collect();
    assert!(survivors.is_empty(), "no history finds {survivors:?}");
}

fn is_found(plant: Plant) -> bool {
    let found = (1..=SEEDS).find_map(|seed| Some((seed, play(seed, TURNS, Some(plant))?)));
    if let Some((seed, wrong)) = &found {
        println!("{plant:?}: seed {seed}: {wrong}");
    }
    found.is_some()
}
