//! Stress tests: all CPUs at once, for as long as asked, each step checked.

mod frames;
mod random;

pub use frames::frames;
