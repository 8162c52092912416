//! Tests: directed cases and random histories on a small machine with real memory; with the features `loom` and
//! `shuttle`, model checking instead.

#[cfg(not(feature = "model"))]
mod basics;
#[cfg(not(feature = "loom"))]
mod world;
