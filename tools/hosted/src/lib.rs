//! A Linux process as a [`Machine`]: threads are CPUs, a reserved address range is physical memory.
//!
//! ```text
//!   physical      0 ........ 1 GiB ........ 3 GiB ........ 4 GiB .... 6 GiB
//!                 | node 0   |    hole      |    node 1               |
//!   virtual  base + same offsets: RAM is zero-filled on first touch, a hole faults
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`config`] | [`Builder`], [`ConfigError`]: nodes, CPUs, RAM ranges and holes, pinning to cores |
//! | [`machine`] | [`HostedMachine`], [`Builder::build`], its [`Machine`] and `Tlb` implementations |
//! | [`cpu`] | [`HostedMachine::run_on`], [`HostedMachine::enter`]; [`Cpu`]: the value that a thread holds while it is a CPU |
//! | `thread` | the calling thread's CPU; nesting of preemption and interrupts |
//! | `seats` | the machine that has each CPU number |
//! | [`interrupt`] | test interrupts, delivered the next time the CPU enables interrupts |
//! | [`irqsoff`] | the longest stretch with interrupts off, by the place that turned them off |
//! | [`observer`] | an observer that runs after each store to a page table, in the middle of a change |
//! | [`storm`] | a handler that strikes between any two instructions |
//! | [`counters`] | flushes, interrupts and nesting, counted for each CPU (invariant I2 is tested on them) |
//! | [`mmu`] | [`SoftMmu`]: a TLB for each CPU in software, and the detector of stale translations (I6) |
//! | [`space`] | [`HostedSpace`]: a further address space, with a unit of its own |
//! | `table_frames` | [`TableFrames`]: frames of the machine's RAM to make page tables of |
//! | [`native`] | [`NativeMap`](native::NativeMap): RAM whose mappings the host kernel itself changes, for measurements |
//! | `windows` (a feature) | tables of CPU-local windows that the software unit walks |
//! | [`memory`] | the reservation behind the direct map, and which frames of it were ever touched |
//!
//! Principles:
//! 1. RAM costs address space only: a frame that no thread touches takes no memory of the host, so a machine of 1 TiB
//!    runs on a laptop. Metadata is the caller's own.
//! 2. `pin` costs two thread-local loads, so that benchmarks may run through it; [`Cpu::pinned`] costs nothing.
//! 3. A bad configuration is a typed error. `pin` panics on a thread that is not a CPU of this machine, because that is
//!    a bug in the caller.
//!
//! Why not one process per CPU: the crates under test share memory through plain references, as a kernel does.
#![warn(missing_docs)]
#![deny(clippy::unwrap_used, clippy::expect_used)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod config;
pub mod counters;
pub mod cpu;
pub mod interrupt;
pub mod irqsoff;
pub mod machine;
pub mod memory;
pub mod mmu;
pub mod native;
pub mod observer;
mod seats;
pub mod space;
pub mod storm;
mod table_frames;
mod thread;
#[cfg(feature = "windows")]
pub mod windows;

pub use config::{Builder, ConfigError, CorePinning, LargePages, Ram};
pub use counters::Counters;
pub use cpu::{Cpu, EnterError};
pub use irqsoff::IrqsOff;
pub use machine::{HostedMachine, MmuAttached};
pub use mmu::{HostedTables, MmuConfig, SoftMmu, TableEntries};
pub use observer::Store;
pub use rhumb_machine::Machine;
pub use space::HostedSpace;
pub use table_frames::TableFrames;

#[cfg(test)]
mod tests;
