//! Tests on a machine that remembers what each CPU has cached.

mod bad_input;
mod exhaustion;
mod histories;
mod lookups;
mod planted;
mod switching;
mod world;
