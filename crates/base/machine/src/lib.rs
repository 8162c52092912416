//! Addresses, page sizes, CPUs, and the two traits through which Rhumb's memory crates know the hardware.
//!
//! | module | owns |
//! |---|---|
//! | [`addr`] | [`PhysAddr`], [`VirtAddr`], [`Pfn`]: a number that is an address says which kind |
//! | [`page`] | [`PageSize`] (4 KiB, 2 MiB, 1 GiB) and [`Order`] (4 KiB << order) |
//! | [`block`] | [`Block`]: a piece of physical memory that one page of the map can show |
//! | [`range`] | half-open ranges of each of them |
//! | [`counted`] | [`Counted`]: a number of things in words, for what people read |
//! | [`cpu`] | [`CpuId`], [`NodeId`], and the tokens [`Pinned`] and [`IrqOff`] |
//! | [`event`] | [`MemoryEvent`]: what an allocator tells while it is traced |
//! | [`flush`] | [`FlushScope`]: what a flush of the TLBs drops |
//! | [`impossible`](mod@impossible) | [`impossible!`]: a place that cannot be reached fails a test, and is logged and counted in a kernel |
//! | [`machine`] | [`Machine`]: direct-map base, this CPU, guards, nodes, clock |
//! | [`mask`] | [`CpuSet`], [`CpuMask`]: sets of CPUs |
//! | [`nesting`] | [`IrqDepth`]: guards that keep interrupts off, in whatever order they end |
//! | [`planted`] | faults that tests plant |
//! | `testing` | a machine for tests (feature `testing`) |
//! | [`tlb`] | [`Tlb`]: flushes of cached translations |
//!
//! Principles:
//! 1. The offset between physical memory and its direct mapping is added in one place:
//!    [`Machine::direct`] (invariant I1).
//! 2. A token is a proof. Code that holds a [`Pinned`] stays on its CPU; code that holds an [`IrqOff`] is also not
//!    interrupted. Functions that rely on that ask for the token instead of saying so in a comment.
//! 3. Nothing here allocates, blocks or knows a policy.
#![no_std]

pub mod addr;
pub mod block;
pub mod counted;
pub mod cpu;
pub mod event;
pub mod flush;
pub mod impossible;
pub mod machine;
pub mod mask;
pub mod nesting;
pub mod page;
pub mod planted;
pub mod range;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod tlb;

pub use addr::{Pfn, PhysAddr, VirtAddr};
pub use block::Block;
pub use counted::Counted;
pub use cpu::{CpuId, IrqOff, MAX_CPUS, MAX_NODES, NodeId, Pinned};
pub use event::MemoryEvent;
pub use flush::{FlushScope, PageRun};
pub use machine::{IrqGuard, Machine, MemoryUse, PinGuard};
pub use mask::{CpuMask, CpuSet, CpuWords, FirstCpus};
pub use nesting::{IrqDepth, IrqState};
pub use page::{Order, PageSize};
pub use range::{PfnRange, PhysRange, VirtRange};
pub use tlb::Tlb;

#[cfg(test)]
mod tests;
