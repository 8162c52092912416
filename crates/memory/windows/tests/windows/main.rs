//! Windows on a machine whose CPUs forget no translation by themselves.

mod storm;
mod views;
#[allow(dead_code, reason = "the tests of protected tables use the rest")]
mod world;
