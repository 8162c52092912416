//! Builds, runs, tests and measures Rhumb.

fn main() {}
