//! Tests: directed cases and random histories on a small machine with real memory; with the features `loom` and
//! `shuttle`, model checking instead.

#[cfg(not(feature = "model"))]
mod bad_input;
#[cfg(not(feature = "model"))]
mod basics;
#[cfg(not(feature = "model"))]
mod checks;
#[cfg(all(feature = "checked", not(feature = "model")))]
mod failing;
#[cfg(not(feature = "model"))]
mod giving_back;
#[cfg(not(feature = "model"))]
mod histories;
#[cfg(not(feature = "model"))]
mod lifetimes;
#[cfg(feature = "model")]
mod models;
#[cfg(not(feature = "model"))]
mod parallel;
#[cfg(not(feature = "model"))]
mod planted;
#[cfg(not(feature = "model"))]
mod shapes;
#[cfg(not(feature = "model"))]
mod steps;
#[cfg(any(not(feature = "loom"), feature = "shuttle"))]
mod world;
