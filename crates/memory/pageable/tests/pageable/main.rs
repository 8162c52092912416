//! Pageable memory on a hosted machine: contents, faults, pressure, and what a stale translation would show.

mod basics;
mod exhaustion;
mod histories;
mod parallel;
mod planted;
mod stores;
mod world;
