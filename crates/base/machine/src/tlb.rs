//! The [`Tlb`] trait: how the memory crates drop translations that CPUs have cached.
//!
//! An entry of a TLB is dropped on the CPU that holds it. [`Tlb::flush_local`] drops on this CPU, [`Tlb::flush_remote`]
//! on others, and returns only when each of them has answered (invariant I6). A CPU that waits for answers keeps
//! answering, so two CPUs that flush each other with interrupts off do not deadlock. A CPU that idles need not be
//! interrupted for it: [`Tlb::leave_to_lazy`].
//!
//! Why a trait of its own: frames and objects are handed out without a change of any mapping (I2), so a kernel that
//! takes these crates alone implements [`Machine`] and no flush; and an allocator cannot even name one.

use crate::cpu::Pinned;
use crate::flush::FlushScope;
use crate::machine::Machine;
use crate::mask::{CpuSet, FirstCpus};

/// The TLBs of a machine's CPUs.
///
/// # Safety
/// Page tables are taken back and frames handed on because a flush has happened (I6), so an implementation keeps this
/// contract:
/// 1. A flush has happened, on each CPU that it names, when the call returns.
/// 2. [`Tlb::flush_targets`] leaves out no CPU that may hold a translation of the kernel's tables.
/// 3. Each CPU that [`Tlb::leave_to_lazy`] takes out of the set drops every translation before it uses any mapping again.
pub unsafe trait Tlb: Machine {
    /// Drops translations on this CPU. Cost: one `invlpg` for each page, or one instruction that drops all.
    fn flush_local(&self, pinned: Pinned<'_>, scope: FlushScope<'_>);

    /// Drops translations on each CPU of `targets` and returns when all have answered. The caller's own CPU and CPUs
    /// that are not online are skipped. May be called with interrupts off and locks held that other CPUs wait for.
    /// Cost: one interrupt for each target.
    fn flush_remote(&self, pinned: Pinned<'_>, targets: &CpuSet, scope: FlushScope<'_>);

    /// Returns the CPUs that may hold a translation of the kernel's tables: all that run.
    ///
    /// A CPU that is not among them holds none, and walks only what it reads from now on: the flusher passes a
    /// sequentially consistent fence between its last write of an entry and this call, so that such a CPU walks the new
    /// entries. Where a CPU has begun to walk the tables and cannot be named yet, because it cannot answer, this call
    /// waits for it.
    fn flush_targets(&self) -> FirstCpus {
        FirstCpus(self.cpu_count())
    }

    /// Leaves a full flush to those of `targets` that are lazy (they idle, and use none of the mappings that change),
    /// takes them out of the set, and returns how many they are: each of them flushes before it uses any mapping again.
    /// The tables have been changed by then. A machine that knows no lazy CPU leaves it to none. Cost: one locked
    /// operation per lazy CPU, no interrupt.
    ///
    /// A lazy CPU may still *walk* tables on speculation: not for tables that will be reused.
    fn leave_to_lazy(&self, targets: &mut CpuSet) -> u32 {
        let _ = targets;
        0
    }
}

// SAFETY: every promise is the referent's.
unsafe impl<M: Tlb> Tlb for &M {
    #[inline(always)]
    fn flush_local(&self, pinned: Pinned<'_>, scope: FlushScope<'_>) {
        (**self).flush_local(pinned, scope);
    }
    #[inline(always)]
    fn flush_remote(&self, pinned: Pinned<'_>, targets: &CpuSet, scope: FlushScope<'_>) {
        (**self).flush_remote(pinned, targets, scope);
    }
    #[inline(always)]
    fn flush_targets(&self) -> FirstCpus {
        (**self).flush_targets()
    }
    #[inline(always)]
    fn leave_to_lazy(&self, targets: &mut CpuSet) -> u32 {
        (**self).leave_to_lazy(targets)
    }
}
