//! Counts what executes between marks, one instruction at a time; knows nothing of the emulator that executes.
//!
//! | module | owns |
//! |---|---|
//! | [`instruction`] | [`Instruction`]: where it is, how long, and whether it repeats; in 64 bits, so that no memory holds it |
//! | [`counter`] | [`Counter`]: told of marks, instructions and memory accesses, CPU by CPU |
//! | [`report`] | [`Report`]: the samples of each region, as text and back |
//!
//! # What is counted
//!
//! 1. A region is open on the CPU that executed its begin mark, until the same CPU executes its end mark. Marks
//!    themselves are never counted, so an empty region counts 0. Regions nest; an instruction counts in each region
//!    that is open on its CPU.
//! 2. A string instruction with a repeat prefix counts once, and each of its iterations apart: the emulator executes it
//!    once for each iteration and once more to find that none is left. Interrupted in the middle, it counts once more
//!    where it goes on, and one iteration less. A comparison that ends early counts one iteration less.
//! 3. An instruction that faults was begun: it counts, and counts again when it is repeated.
//! 4. Instructions of other CPUs while a region is open count as *elsewhere*: handlers of interrupts that the region
//!    sends.
//! 5. A cache line is 64 bytes of virtual address. Accesses that the CPU makes by itself (interrupt frames, page walks)
//!    are not seen as such by an emulator, and are not counted.
#![forbid(unsafe_code)]

pub mod counter;
pub mod instruction;
pub mod report;

pub use counter::{Access, Counter};
pub use instruction::Instruction;
pub use report::{Executed, Fault, FaultKind, Place, Region, Report, ReportError, Sample, Side};

#[cfg(test)]
mod tests;

/// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
