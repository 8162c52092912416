//! Tests: directed cases and random histories on a small machine with real memory. `models` takes their place in builds
//! for model checkers.

mod bad_input;
mod basics;
mod bounds;
mod checks;
#[cfg(feature = "checked")]
mod failing;
mod giving_back;
mod heap;
mod histories;
mod interrupted;
mod lifetimes;
mod line;
mod lines;
mod model;
mod neighbours;
mod parallel;
mod planted;
mod scarce;
mod shapes;
mod steps;
mod traced;
mod world;
