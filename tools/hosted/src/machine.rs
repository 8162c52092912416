//! The machine itself: its parts, its CPUs' seats, and what it answers to the memory crates.
//!
//! The host's mapping of RAM never changes, so a flush has nothing to drop of it and every CPU's answer is immediate.
//! It counts the requests that hardware would have got. The translations of an attached [`SoftMmu`] are dropped from
//! it.

use core::panic::Location;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use rhumb_machine::{
    CpuId, CpuMask, CpuSet, FlushScope, IrqState, Machine, MemoryUse, NodeId, PfnRange, PhysAddr, PhysRange,
    Pinned, Tlb, VirtAddr, VirtRange,
};
use rhumb_pagetable::Root;

use crate::config::{Builder, ConfigError, CorePinning, Ram};
use crate::counters::{Counters, CpuCounters};
use crate::interrupt;
use crate::irqsoff;
use crate::memory::Reservation;
use crate::mmu::{HostedTables, MmuConfig, SoftMmu};
use crate::thread::THIS;

/// One CPU's place: the thread that sits on it is that CPU. Apart from its neighbours by two cache lines (adjacent
/// lines are fetched in pairs).
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Seat {
    node: NodeId,
    pub(crate) taken: AtomicBool,
    counters: CpuCounters,
}

/// A Linux process as a [`Machine`]. Crates take it as `&HostedMachine`, for which the trait is implemented, too.
#[derive(Debug)]
pub struct HostedMachine {
    id: u32,
    base: VirtAddr,
    seats: Box<[Seat]>,
    nodes: usize,
    ram: Box<[Ram]>,
    pinning: CorePinning,
    reservation: Reservation,
    booted: Instant,
    mmu: OnceLock<SoftMmu>,
    /// The units of the other address spaces ([`crate::space`]).
    pub(crate) spaces: Mutex<Vec<Arc<SoftMmu>>>,
}

impl Builder {
    /// Makes the machine.
    ///
    /// # Errors
    /// The first rule of [`ConfigError`] that the configuration breaks.
    pub fn build(self) -> Result<HostedMachine, ConfigError> {
        let builder = self.checked()?;
        // 2^32 machines in one process: they would take days to make.
        static NEXT_ID: AtomicU32 = AtomicU32::new(1);
        let reservation = Reservation::new(&builder.ram, builder.large_pages)?;
        let seat =
            |&node: &NodeId| Seat { node, taken: AtomicBool::new(false), counters: CpuCounters::default() };
        Ok(HostedMachine {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            base: reservation.base(),
            seats: builder.cpus.iter().map(seat).collect(),
            nodes: builder.nodes,
            ram: builder.ram.into_boxed_slice(),
            pinning: builder.pinning,
            reservation,
            booted: Instant::now(),
            mmu: OnceLock::new(),
            spaces: Mutex::default(),
        })
    }
}

/// The machine has a memory-management unit already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MmuAttached;

impl std::fmt::Display for MmuAttached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the machine has a memory-management unit already")
    }
}

impl std::error::Error for MmuAttached {}

impl HostedMachine {
    /// Returns an empty configuration.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Gives every CPU a memory-management unit in software that walks the tree under `root`. From now on flushes drop
    /// what it has cached, and CPUs can be lazy.
    ///
    /// # Safety
    /// The tables of the tree are in RAM of this machine, and are reached through [`HostedTables`] alone.
    ///
    /// # Errors
    /// If it has one already.
    pub unsafe fn attach_mmu(&self, root: Root, config: MmuConfig) -> Result<&SoftMmu, MmuAttached> {
        // SAFETY: the unit lives as long as the machine; the caller promised the rest.
        let tables = unsafe { HostedTables::over(self.base, self.ram.iter().map(|ram| ram.range).collect()) };
        let mmu = SoftMmu::new(tables, root, self.seats.len(), config);
        self.mmu.set(mmu).map_err(|_| MmuAttached)?;
        self.mmu.get().ok_or(MmuAttached)
    }

    /// Returns the unit, if there is one.
    pub fn mmu(&self) -> Option<&SoftMmu> {
        self.mmu.get()
    }

    /// Returns how many nodes there are.
    pub fn node_count(&self) -> usize {
        self.nodes
    }

    /// Returns its RAM, sorted and disjoint, as a boot loader's memory map would say.
    pub fn ram(&self) -> &[Ram] {
        &self.ram
    }

    /// Returns all its CPUs.
    pub fn cpus(&self) -> CpuMask {
        CpuMask::first(self.seats.len())
    }

    /// Returns the counts of all CPUs.
    pub fn counters(&self) -> Counters {
        self.seats.iter().map(|seat| seat.counters.read()).sum()
    }

    /// Returns the counts of one CPU; `None` where it does not exist.
    pub fn counters_of(&self, cpu: CpuId) -> Option<Counters> {
        Some(self.seats.get(cpu.index())?.counters.read())
    }

    /// Returns how many of `frames` were touched since the machine was made (or since [`HostedMachine::discard`]): the
    /// host gave memory to them. Exact with [`LargePages::Never`](crate::LargePages::Never); rounded up to 2 MiB where
    /// the host uses large pages.
    ///
    /// # Errors
    /// `InvalidInput` for frames past the end of the span; the error of reading `/proc/self/pagemap` otherwise.
    pub fn resident_frames(&self, frames: PfnRange) -> io::Result<u64> {
        self.reservation.resident_frames(frames)
    }

    /// Has the host put memory behind `range` now, so that no first touch of it waits for the host.
    ///
    /// # Errors
    /// `InvalidInput` where `range` is not all RAM; the host's own error otherwise: it has no memory, or is older than
    /// Linux 5.14.
    pub fn populate(&self, range: PhysRange) -> io::Result<()> {
        if !self.ram.iter().any(|ram| ram.range.covers(range)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.reservation.populate(range)
    }

    /// Gives the host's memory behind `range` back: untouched again, it reads as zero.
    ///
    /// # Safety
    /// No code relies on the content of `range`: an owner of one of its frames would lose its data.
    ///
    /// # Errors
    /// `InvalidInput` where `range` is not all RAM; the host's own error otherwise.
    pub unsafe fn discard(&self, range: PhysRange) -> io::Result<()> {
        if !self.ram.iter().any(|ram| ram.range.covers(range)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: all of it is RAM of ours; the caller gave its content up.
        unsafe { self.reservation.discard(range) }
    }

    pub(crate) const fn seats(&self) -> &[Seat] {
        &self.seats
    }

    pub(crate) const fn id(&self) -> u32 {
        self.id
    }

    pub(crate) const fn pinning(&self) -> CorePinning {
        self.pinning
    }

    pub(crate) fn cpu_node(&self, cpu: CpuId) -> NodeId {
        self.seats.get(cpu.index()).map_or(NodeId::FIRST, |seat| seat.node)
    }

    pub(crate) fn count_injected(&self, cpu: CpuId, strikes: u64) {
        if let Some(seat) = self.seats.get(cpu.index()) {
            seat.counters.count_injected(strikes);
        }
    }

    /// Tells all units that the frames behind `range` of the direct map are free. They keep what they find.
    fn reused(&self, range: VirtRange) {
        let phys = |virt: VirtAddr| PhysAddr::new(virt.get().saturating_sub(self.base.get()));
        let Some(freed) = PhysRange::new(phys(range.start()), phys(range.end())) else { return };
        if let Some(mmu) = self.mmu.get() {
            let _ = mmu.reused(freed.whole_frames());
        }
        THIS.with(|this| {
            // A storm's handler may free a frame, too.
            let _held = this.held();
            for space in self.spaces.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                let _ = space.reused(freed.whole_frames());
            }
        });
    }
}

// SAFETY: the base never changes. A thread is the CPU that `preempt_disable` and `irq_save` name until it ends, and no
// other thread is that CPU meanwhile: a seat is taken once. Interrupts strike at a depth of 0 only. Identities are
// counted up; where they are not compared, a number names one CPU of all machines at a time (`seats`).
unsafe impl Machine for HostedMachine {
    // Benchmarks leave it out: see `seats`.
    const CHECKS_TOKENS: bool = cfg!(feature = "interrupts");
    // An allocator says so where a frame becomes free: then the unit looks for translations that should be gone.
    const CHECKS_ACCESSES: bool = cfg!(feature = "interrupts");

    #[inline(always)]
    fn identity(&self) -> u32 {
        self.id
    }

    #[inline(always)]
    fn direct_map_base(&self) -> VirtAddr {
        self.base
    }

    #[inline(always)]
    fn cpu_count(&self) -> usize {
        self.seats.len()
    }

    fn node_of(&self, cpu: CpuId) -> NodeId {
        self.cpu_node(cpu)
    }

    #[inline(always)]
    fn preempt_disable(&self) -> CpuId {
        THIS.with(|this| {
            let cpu = this.cpu_of(self.id);
            this.pin();
            interrupt::point(this);
            cpu
        })
    }

    #[inline(always)]
    unsafe fn preempt_enable(&self) {
        THIS.with(|this| {
            interrupt::point(this);
            this.unpin();
        });
    }

    #[inline(always)]
    fn irq_save(&self) -> CpuId {
        let place = Location::caller();
        THIS.with(|this| {
            let cpu = this.cpu_of(self.id);
            interrupt::point(this);
            if cfg!(feature = "interrupts") && this.irq() == IrqState::On {
                irqsoff::begin(this, place);
            }
            this.hold_irqs();
            cpu
        })
    }

    #[inline(always)]
    unsafe fn irq_restore(&self) {
        THIS.with(|this| {
            this.release_irqs();
            if cfg!(feature = "interrupts") && this.irq() == IrqState::On {
                irqsoff::end(this);
            }
            interrupt::point(this);
        });
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.booted.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    #[inline(always)]
    fn set_memory_use(&self, range: VirtRange, memory_use: MemoryUse) {
        if memory_use == MemoryUse::FreeFrame {
            self.reused(range);
        }
    }
}

// SAFETY: translations are cached by the attached unit alone, and a flush drops them there before it returns; a lazy
// CPU of the unit flushes before its next access.
unsafe impl Tlb for HostedMachine {
    fn flush_local(&self, pinned: Pinned<'_>, scope: FlushScope<'_>) {
        let here = self.cpu_of(pinned);
        if let Some(seat) = self.seats.get(here.index()) {
            seat.counters.count_local_flush();
        }
        if let Some(mmu) = self.mmu.get() {
            mmu.flush(here, scope);
        }
    }

    fn flush_remote(&self, pinned: Pinned<'_>, targets: &CpuSet, scope: FlushScope<'_>) {
        let here = self.cpu_of(pinned);
        let others = targets.without(here).and(&self.cpus());
        if let (false, Some(seat)) = (others.is_empty(), self.seats.get(here.index())) {
            seat.counters.count_remote_flush(others.len());
        }
        if let Some(mmu) = self.mmu.get() {
            others.iter().for_each(|cpu| mmu.flush(cpu, scope));
        }
    }

    fn leave_to_lazy(&self, targets: &mut CpuSet) -> u32 {
        self.mmu.get().map_or(0, |mmu| mmu.leave_to_lazy(targets))
    }
}
