//! Tests: a small hosted machine, directed cases, and random histories against the plain model. `models` takes their
//! place in builds for model checkers.

mod access;
mod bad_input;
mod basics;
mod bounded;
mod caches;
mod candidates;
#[cfg(feature = "checked")]
mod checked;
mod descriptors;
mod exhaustion;
mod goals;
mod handover;
mod high;
mod histories;
mod loose;
mod machine;
mod model;
mod moving;
mod parallel;
mod policy;
mod records;
mod report;
mod runs;
mod traced;

pub(crate) use machine::note_lock_visit;
