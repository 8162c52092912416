//! The leaks of speculation on an x86-64 CPU, and a kernel's measures against them.
//!
//! | module | owns |
//! |---|---|
//! | [`facts`] | [`Facts`]: what CPUID and IA32_ARCH_CAPABILITIES say of a CPU |
//! | [`problem`] | [`Problem`]: the known ways to leak, by name |
//! | [`decide`](mod@decide) | [`decide()`]: the standing of each problem on a CPU, the measures, and whether programs run |
//!
//! # Principles
//! 1. In doubt, a CPU is affected. A list of models that is too short is a leak.
//! 2. Facts are plain data, and the decision is a function of them: it can be tested for CPUs that are not there.
//! 3. Open problems are said, and programs are refused there, unless a person has said otherwise.
//!
//! Sources: `docs/speculation.md`, problem by problem.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod decide;
pub mod facts;
pub mod problem;

pub use decide::{Decision, Means, Measures, Mode, Programs, Standing, Why, decide};
pub use facts::{Facts, Registers, Runs, Vendor};
pub use problem::Problem;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
