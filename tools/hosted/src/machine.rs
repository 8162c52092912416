//! The machine itself: its parts, its CPUs' seats, and what it answers to the memory crates.
//!
//! The host's mapping of RAM never changes, so a flush has nothing to drop of it and every CPU's answer is immediate.
//! It counts the requests that hardware would have got. The translations of an attached [`SoftMmu`] are dropped from
//! it.

use core::panic::Location;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::io;
use std::panic::resume_unwind;
use std::sync::{Barrier, OnceLock};
use std::thread;
use std::time::Instant;

use rhumb_machine::{
    CpuId, CpuMask, FlushScope, Machine, MemoryUse, NodeId, PfnRange, PhysAddr, PhysRange, Pinned, Tlb,
    VirtAddr, VirtRange,
};
use rhumb_pagetable::Root;

use crate::config::{Builder, ConfigError, CorePinning, Ram};
use crate::counters::{Counters, CpuCounters};
use crate::cpu::{self, Cpu, EnterError, THIS, ThisThread};
use crate::memory::Reservation;
use crate::mmu::{HostedTables, MmuConfig, SoftMmu};
use crate::seats;

/// One CPU's place: the thread that sits on it is that CPU. Apart from its neighbours by two cache lines (adjacent
/// lines are fetched in pairs).
#[derive(Debug)]
#[repr(align(128))]
struct Seat {
    node: NodeId,
    taken: AtomicBool,
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

    /// Puts a checked configuration together.
    pub(crate) fn assemble(builder: Builder) -> Result<Self, ConfigError> {
        // 2^32 machines in one process: they would take days to make.
        static NEXT_ID: AtomicU32 = AtomicU32::new(1);
        let reservation = Reservation::new(&builder.ram, builder.large_pages)?;
        let seat =
            |&node: &NodeId| Seat { node, taken: AtomicBool::new(false), counters: CpuCounters::default() };
        Ok(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            base: reservation.base(),
            seats: builder.cpus.iter().map(seat).collect(),
            nodes: builder.nodes,
            ram: builder.ram.into_boxed_slice(),
            pinning: builder.pinning,
            reservation,
            booted: Instant::now(),
            mmu: OnceLock::new(),
        })
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
        let tables = unsafe { HostedTables::new(self) };
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

    /// Returns its RAM, sorted and disjoint: what a boot loader's memory map would say.
    pub fn ram(&self) -> &[Ram] {
        &self.ram
    }

    /// Returns all its CPUs.
    pub fn cpus(&self) -> CpuMask {
        CpuMask::first(self.seats.len())
    }

    /// Runs `work` on a thread of its own for each CPU of `cpus`; all of them start together. Returns what each
    /// returned, in ascending order of CPUs. A panic on one CPU goes on in the caller, after all have ended.
    ///
    /// # Errors
    /// If a CPU does not exist or is taken; then nothing ran.
    pub fn run_on<T: Send>(
        &self,
        cpus: CpuMask,
        work: impl Fn(&Cpu<'_>) -> T + Sync,
    ) -> Result<Vec<T>, EnterError> {
        let seats = cpus.iter().map(|cpu| self.sit(cpu)).collect::<Result<Vec<_>, _>>()?;
        let start = Barrier::new(seats.len().max(1));
        let run = |cpu: CpuId| {
            cpu::become_cpu(self, cpu, |cpu| {
                start.wait();
                work(cpu)
            })
        };
        let run = &run;
        Ok(thread::scope(|scope| {
            let threads: Vec<_> = cpus.iter().map(|cpu| scope.spawn(move || run(cpu))).collect();
            let ended: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
            ended.into_iter().map(|result| result.unwrap_or_else(|panic| resume_unwind(panic))).collect()
        }))
    }

    /// Runs `work` as CPU `cpu`, on a thread of its own, and returns what it returned. A panic goes on in the caller.
    ///
    /// The thread is what makes guards safe: a guard is not `Send`, so a guard that `work` makes ends with the thread
    /// at the latest, and only then the CPU is free again.
    ///
    /// ```compile_fail
    /// # use rhumb_hosted::{HostedMachine, Machine};
    /// # use rhumb_machine::CpuId;
    /// let machine = HostedMachine::builder().cpus(1).ram_bytes(1 << 20).build().unwrap();
    /// let escaped = machine.enter(CpuId::BOOT, |_| machine.pin()); // CPU 0 is free, and this says that it is not
    /// ```
    /// ```compile_fail
    /// # use rhumb_hosted::{HostedMachine, Machine};
    /// # use rhumb_machine::CpuId;
    /// let machine = HostedMachine::builder().cpus(1).ram_bytes(1 << 20).build().unwrap();
    /// let mut escaped = None;
    /// machine.enter(CpuId::BOOT, |_| escaped = Some(machine.irq_off())).unwrap();
    /// ```
    ///
    /// # Errors
    /// If the CPU does not exist or is taken. Without the crate's feature `interrupts` another machine's CPU of the
    /// same number is waited for, or refused where the caller is a CPU itself.
    pub fn enter<T: Send>(
        &self,
        cpu: CpuId,
        work: impl FnOnce(&Cpu<'_>) -> T + Send,
    ) -> Result<T, EnterError> {
        let _seat = self.sit(cpu)?;
        // To join is to wait until the thread is gone, destructors of its thread-locals included.
        let ended = thread::scope(|scope| scope.spawn(|| cpu::become_cpu(self, cpu, work)).join());
        Ok(ended.unwrap_or_else(|panic| resume_unwind(panic)))
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
    /// `InvalidInput` for frames past the end of the span; what reading `/proc/self/pagemap` answers otherwise.
    pub fn resident_frames(&self, frames: PfnRange) -> io::Result<u64> {
        self.reservation.resident_frames(frames)
    }

    /// Gives the host's memory behind `range` back: untouched again, it reads as zero.
    ///
    /// # Safety
    /// No code relies on the content of `range`: an owner of one of its frames would lose its data.
    ///
    /// # Errors
    /// `InvalidInput` where `range` is not all RAM; what the host answers otherwise.
    pub unsafe fn discard(&self, range: PhysRange) -> io::Result<()> {
        if !self.ram.iter().any(|ram| ram.range.covers(range)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: all of it is RAM of ours; the caller gave its content up.
        unsafe { self.reservation.discard(range) }
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

    /// Tells the unit that the frames behind `range` of the direct map are free. It keeps what it finds.
    fn reused(&self, mmu: &SoftMmu, range: VirtRange) {
        let phys = |virt: VirtAddr| PhysAddr::new(virt.get().saturating_sub(self.base.get()));
        if let Some(freed) = PhysRange::new(phys(range.start()), phys(range.end())) {
            let _ = mmu.reused(freed.whole_frames());
        }
    }

    fn sit(&self, cpu: CpuId) -> Result<Sitting<'_>, EnterError> {
        let cpus = self.seats.len();
        let seat = self.seats.get(cpu.index()).ok_or(EnterError::NoSuchCpu { cpu, cpus })?;
        // Acquire and release: the thread that sits down sees what the one before did as this CPU.
        if seat.taken.swap(true, Ordering::Acquire) {
            return Err(EnterError::CpuTaken { cpu });
        }
        let mut sitting = Sitting { seat, place: None };
        if !Self::CHECKS_TOKENS {
            let is_cpu = THIS.with(ThisThread::is_cpu);
            if !seats::PROGRAM.take(cpu, self.id, is_cpu) {
                return Err(EnterError::CpuTaken { cpu });
            }
            sitting.place = Some(cpu);
        }
        Ok(sitting)
    }
}

/// A taken seat; free again when dropped.
struct Sitting<'machine> {
    seat: &'machine Seat,
    /// Its place among the program's, where tokens are not compared.
    place: Option<CpuId>,
}

impl Drop for Sitting<'_> {
    fn drop(&mut self) {
        if let Some(cpu) = self.place {
            seats::PROGRAM.free(cpu);
        }
        self.seat.taken.store(false, Ordering::Release);
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
            this.preempt_disable();
            cpu
        })
    }

    #[inline(always)]
    unsafe fn preempt_enable(&self) {
        THIS.with(|this| this.preempt_enable());
    }

    #[inline(always)]
    fn irq_save(&self) -> CpuId {
        let place = Location::caller();
        THIS.with(|this| {
            let cpu = this.cpu_of(self.id);
            this.irq_save(place);
            cpu
        })
    }

    #[inline(always)]
    unsafe fn irq_restore(&self) {
        THIS.with(ThisThread::irq_restore);
    }
    fn now_ns(&self) -> u64 {
        u64::try_from(self.booted.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    #[inline(always)]
    fn set_memory_use(&self, range: VirtRange, memory_use: MemoryUse) {
        if memory_use == MemoryUse::FreeFrame
            && let Some(mmu) = self.mmu.get()
        {
            self.reused(mmu, range);
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

    fn flush_remote(&self, pinned: Pinned<'_>, targets: &CpuMask, scope: FlushScope<'_>) {
        let here = self.cpu_of(pinned);
        let others = targets.without(here).and(&self.cpus());
        if let (false, Some(seat)) = (others.is_empty(), self.seats.get(here.index())) {
            seat.counters.count_remote_flush(others.len());
        }
        if let Some(mmu) = self.mmu.get() {
            others.iter().for_each(|cpu| mmu.flush(cpu, scope));
        }
    }

    fn leave_to_lazy(&self, targets: &CpuMask) -> CpuMask {
        self.mmu.get().map_or(CpuMask::EMPTY, |mmu| mmu.leave_to_lazy(targets))
    }
}
