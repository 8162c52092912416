//! The direct map: all of RAM at one constant offset, by the largest pages that fit, holes and devices absent.
//!
//! | module | owns |
//! |---|---|
//! | [`address_range`](mod@address_range) | the addresses that the map may use, and when RAM needs five levels |
//! | [`pieces`] | RAM divided at the borders of permission: [`Piece`] |
//! | [`plan`] | [`PlanRequest`] checked and counted: [`Plan`] |
//! | [`build`](mod@build) | the plan written into tables: [`Plan::build`] |
//! | [`map`] | [`DirectMap`], the map while the system runs; [`Hold`]; splits, merges and entries |
//! | [`change`](mod@change) | changes and restores, each in one go |
//! | [`work`] | the same in steps, so that no lock is held for long: [`Changing`], [`Altering`], [`Restoring`] |
//! | [`handles`](mod@handles) | handles left behind and found again |
//! | [`limits`] | limits on an owner's splits, and on their rate |
//! | [`state`], [`rules`], [`error`] | the changes ([`Change`]), the rules that refuse them ([`Rules`]), and the errors |
//! | [`survey`](mod@survey) | the read-only pass over a range before it is changed |
//! | [`batch`] | the pages to flush, and the tables to return after that flush |
//! | [`quarantine`] | merged tables that CPUs may still walk |
//! | [`reclaim`](mod@reclaim) | merged tables back into the reserve after their flush, in steps: [`Reclaiming`] |
//! | [`reserve`] | tables and records set aside; owners and their limits |
//! | [`records`], [`report`] | owner, reason and time of each split page |
//! | `journal`, `hold_tree` | holds and splits; holds in the order of their frames |
//! | `shortage` | changes that wait for merged tables |
//! | `slots`, `slot_id` | memory for records, and their numbers |
//! | `tree` | the map's part of the page tables, by frames |
//! | `map_id` | the number that tells one map from another |
//! | [`collapse`](mod@collapse) | merges pages that boot mapped small |
//! | [`planted`] | faults that tests inject |
//! | [`validate`](mod@validate) | all counts, recomputed from the tables |
//!
//! Principles:
//! 1. `virt = phys + base`, for every frame (I1).
//! 2. Each piece is mapped by the largest pages that alignment and permission allow (I3).
//! 3. Boot maps no frame executable; frames that another mapping makes executable are read-only here (I4).
//! 4. Everything is counted before anything is taken, and taken before anything is written (I7). Nothing allocates.
//! 5. A change can always be restored: a restore needs no memory and cannot fail.
//! 6. A handle, a batch and an owner are good for the map that they came from, and refused by every other.
#![no_std]
#![cfg_attr(not(test), deny(unsafe_code))]

pub mod address_range;
pub mod batch;
pub mod build;
pub mod change;
pub mod collapse;
pub mod error;
pub mod handles;
mod hold_tree;
mod journal;
pub mod limits;
pub mod map;
mod map_id;
pub mod pieces;
pub mod plan;
pub mod planted;
pub mod quarantine;
pub mod reclaim;
pub mod records;
pub mod report;
pub mod reserve;
pub mod rules;
mod shortage;
mod slot_id;
mod slots;
pub mod state;
pub mod survey;
mod tree;
pub mod validate;
pub mod work;

pub use address_range::{address_range, needs_five_levels};
pub use batch::{Batch, FlushedBatch, MergedTables};
pub use build::{BuildError, Built};
pub use collapse::{Collapsed, Collapsing};
pub use error::ChangeError;
pub use limits::{Limits, Rate};
pub use map::{BootMap, Counters, DirectMap, Hold};
pub use pieces::{Piece, Pieces};
pub use plan::{DirectMapError, List, Plan, PlanRequest};
pub use reclaim::Reclaiming;
pub use records::{At, Cause, OwnerId, OwnerName, Totals};
pub use report::{BootReason, Broken, HoldReport, OwnerReport, SplitReport, Why};
pub use reserve::Reserve;
pub use rules::{Forbidden, OffLimits, Rule, Rules};
pub use slots::{RECORDS_PER_PAGE, RecordPage};
pub use state::{BadChange, Change, ParseChangeError, Presence, State};
pub use survey::frames_at;
pub use validate::{Inconsistency, Validation};
pub use work::{Altering, Changing, Restoring, STEP_ENTRIES};

#[cfg(test)]
mod tests;

/// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
