//! The direct map: all of RAM at one constant offset, by the largest pages that fit, holes and devices absent.
//!
//! | module | owns |
//! |---|---|
//! | [`window`](mod@window) | where the map may stand, and when RAM needs five levels |
//! | [`pieces`] | RAM cut at the borders of permission: [`Piece`] |
//! | [`plan`] | [`Request`] checked and counted: [`Plan`] |
//! | [`build`](mod@build) | the plan written into tables: [`Plan::build`] |
//!
//! Principles:
//! 1. `virt = phys + base`, for every frame (I1).
//! 2. Each piece is mapped by the largest pages that alignment and permission allow (I3).
//! 3. Nothing in the map is executable; what is executable elsewhere is read-only here (I4).
//! 4. Everything is counted before anything is taken, and taken before anything is written (I7). Nothing allocates.
#![no_std]
#![forbid(unsafe_code)]

pub mod build;
pub mod pieces;
pub mod plan;
pub mod window;

pub use build::{BuildError, Built};
pub use pieces::{Piece, Pieces};
pub use plan::{DirectMapError, List, Plan, Request};
pub use window::{needs_five_levels, window};

#[cfg(test)]
mod tests;

/// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
