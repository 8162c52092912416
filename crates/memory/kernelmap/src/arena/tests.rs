//! Tests: directed cases and random histories, on a small machine whose slab allocator has real memory. `models` takes
//! their place in builds for model checkers.

mod bad_input;
mod basics;
mod caches;
mod exhaustion;
mod fits;
mod fragments;
mod histories;
mod model;
mod parallel;
mod planted;
mod steps;
mod walks;
mod world;
