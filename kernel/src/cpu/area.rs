//! The area of one CPU: what belongs to it, reached through the GS base.
//!
//! ```text
//!   hot           64 bytes: words that its CPU changes at every turn, at offsets that assembly knows
//!   id ..         what others look up: number, node, APIC, inbox, stacks; notes for reports      written at boot
//!   lazy          exchanged by each CPU that flushes                                             its own line
//!   job           written by a CPU that has work for this one                                    its own line
//!   own ..        words for its CPU alone; counters and tracer, which others read at times
//!   log ..        records of its log
//! ```
//!
//! **Reaching it.** Code that is held on its CPU shows its token and has [`Here`], with what only that CPU may use. A
//! [`PerCpu`] is the part of an area that all CPUs may look at, of whatever CPU ([`of`], [`all`]): words that change
//! are atomic, and what a CPU must do by itself is not offered. Code without a token has single instructions that are
//! right wherever they run: the counters' ([`COUNT`]), the guards' and [`cpu_now`], whose answer may be stale
//! ([`hot`]).
//!
//! The boot CPU's area is static, so that it exists before any memory is found; the others' come from the boot
//! allocator.

mod counters;
pub(super) mod hot;

use core::marker::PhantomData;
use core::mem::offset_of;
use core::ops::Deref;
use core::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use rhumb_klog::{Ring, Slot};
use rhumb_machine::{CpuId, MAX_CPUS, NodeId, PageSize, Pinned, VirtAddr};
use rhumb_pagetable::LazyCpu;
use rhumb_pagetable::flush::MarkLeft;
use rhumb_smp::apic::Input;
use rhumb_smp::call::{Inbox, Senders};
use rhumb_speculation::Decision;
use rhumb_sync::Place;
use spin::Once;
use x86_64::registers::model_specific::Msr;

use super::irqsoff;
use super::stacks::{Part, Stacks};
use crate::arch::control::Controls;
use crate::arch::gdt::Descriptors;
use crate::arch::mce;
use crate::layout::{self, Stack};
pub use counters::{COUNT, Counter, Counters};
use hot::Hot;
pub use hot::{cpu_now, thread_now};

/// Records of the log that a CPU other than the boot CPU keeps: it has little to say.
pub const LOG_SLOTS: usize = 16;

const IA32_GS_BASE: u32 = 0xc000_0101;

/// A value that shares its cache lines with no other.
#[repr(C, align(64))]
pub struct OwnLine<T>(T);

impl<T> Deref for OwnLine<T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}

/// One CPU's own data, as far as all CPUs may look at them.
#[repr(C, align(64))]
pub struct PerCpu {
    hot: Hot,

    id: CpuId,
    /// The CPU's number on the interrupt bus.
    pub apic_id: AtomicU32,
    node: AtomicU32,
    /// Which inputs of its APIC carry non-maskable interrupts: see [`PerCpu::inputs`].
    inputs: AtomicU32,
    /// Cross-calls that wait for this CPU: see [`PerCpu::inbox`].
    inbox: Once<Inbox>,
    /// Where its stacks lie.
    pub stacks: Stacks,
    /// Segment descriptors and task-state segment, at their writable place. Before the CPU starts.
    pub descriptors: Once<&'static Descriptors>,
    /// Its control registers when it last noted them.
    controls: [AtomicU64; 3],
    /// How what its CPU does ahead of its turn is dealt with. Before it takes part.
    pub speculation: Once<Decision>,
    /// The worst machine check that it has found: see `arch::mce`.
    pub machine_check: mce::Noted,
    /// Where a non-maskable interrupt stopped it, for the report of the CPU that sent it: 0 while it runs.
    pub stopped_rip: AtomicU64,
    pub stopped_rbp: AtomicU64,

    lazy: OwnLine<LazyCpu>,
    job: OwnLine<AtomicPtr<()>>,

    own: Own,
    /// The CPU's place in the queue of the lock of the page tables.
    tables_place: Place,
    /// Statistics.
    pub counters: Counters,
    /// How long guards keep interrupts off, where that is traced.
    pub irqs_off: irqsoff::Trace,

    log_ring: OwnLine<Once<Ring<'static>>>,
    log_slots: [Slot; LOG_SLOTS],
}

/// Words for their CPU alone. Code of this CPU has a reference by [`Here::own`], and cannot pass it to another one:
/// the type is not `Sync`.
#[repr(C, align(64))]
pub struct Own {
    /// How many traps are being reported: a fault inside a report ends the report.
    pub report_depth: AtomicU32,
    /// The value that the last expected fault's handler had in the register of protection keys, where tables have one.
    pub handler_keys: AtomicU64,
    /// Whether the scheduler is being called, and may give the CPU away though interrupts are off.
    pub is_preempted: AtomicBool,
    /// Whether it runs a program of BPF: events meanwhile are missed.
    pub runs_program: AtomicBool,
    _not_sync: PhantomData<*mut ()>,
}

// Words that one CPU writes often do not lie in a line that others look at, nor the other way round.
const _: () = assert!(offset_of!(PerCpu, hot) == 0 && offset_of!(PerCpu, id) == 64);
const _: () = assert!(offset_of!(PerCpu, lazy).is_multiple_of(64) && size_of::<OwnLine<LazyCpu>>() == 64);
const _: () =
    assert!(offset_of!(PerCpu, job).is_multiple_of(64) && size_of::<OwnLine<AtomicPtr<()>>>() == 64);
const _: () =
    assert!(offset_of!(PerCpu, own).is_multiple_of(64) && offset_of!(PerCpu, log_ring).is_multiple_of(64));

// SAFETY: words that change are atomics; `own` is reached through `Here` alone, which stays on its CPU.
unsafe impl Sync for PerCpu {}

impl PerCpu {
    /// Returns the area of `cpu`, which no other CPU knows yet.
    pub const fn new(id: CpuId) -> Self {
        Self {
            hot: Hot::new(id),
            id,
            apic_id: AtomicU32::new(0),
            node: AtomicU32::new(0),
            inputs: AtomicU32::new(0),
            inbox: Once::new(),
            stacks: Stacks::new(),
            descriptors: Once::new(),
            controls: [const { AtomicU64::new(0) }; 3],
            speculation: Once::new(),
            machine_check: mce::Noted::new(),
            stopped_rip: AtomicU64::new(0),
            stopped_rbp: AtomicU64::new(0),
            lazy: OwnLine(LazyCpu::new()),
            job: OwnLine(AtomicPtr::new(core::ptr::null_mut())),
            own: Own {
                report_depth: AtomicU32::new(0),
                handler_keys: AtomicU64::new(0),
                is_preempted: AtomicBool::new(false),
                runs_program: AtomicBool::new(false),
                _not_sync: PhantomData,
            },
            tables_place: Place::new(),
            counters: Counters::new(),
            irqs_off: irqsoff::Trace::new(),
            log_ring: OwnLine(Once::new()),
            log_slots: [const { Slot::new() }; LOG_SLOTS],
        }
    }

    /// Returns the cross-calls that wait for this CPU; `None` until [`PerCpu::receive_from`].
    #[inline(always)]
    pub fn inbox(&self) -> Option<&Inbox> {
        self.inbox.get()
    }

    /// Gives this CPU room for the cross-calls of all CPUs that there may be. Once, before another CPU runs.
    pub fn receive_from(&self, senders: &'static [Senders]) {
        self.inbox.call_once(|| Inbox::new(senders));
    }

    /// Returns this CPU's own log.
    pub fn log_ring(&'static self) -> &'static Ring<'static> {
        self.log_ring.0.call_once(|| Ring::new(&self.log_slots))
    }

    /// Returns the purpose of the two inputs of its APIC.
    pub fn inputs(&self) -> [Input; 2] {
        let bits = self.inputs.load(Relaxed);
        [bits, bits >> 8].map(|bits| match bits & 3 {
            0 => Input::Unused,
            bits => Input::Nmi { active_low: bits & 2 != 0 },
        })
    }

    /// Tells the area what the two inputs of its CPU's APIC are for. Before the CPU is set up.
    pub fn set_inputs(&self, inputs: [Input; 2]) {
        let [first, second] = inputs.map(|input| match input {
            Input::Unused => 0,
            Input::Nmi { active_low } => 1 | u32::from(active_low) << 1,
        });
        self.inputs.store(first | second << 8, Relaxed);
    }

    /// Returns the control registers that its CPU noted last.
    pub fn noted_controls(&self) -> Controls {
        let [cr0, cr4, efer] = self.controls.each_ref().map(|word| word.load(Relaxed));
        Controls { cr0, cr4, efer }
    }

    /// Notes the control registers of the CPU on which this runs, whose area it is, for other CPUs to read.
    pub fn note_controls(&self) {
        let Controls { cr0, cr4, efer } = Controls::read();
        for (word, value) in self.controls.iter().zip([cr0, cr4, efer]) {
            word.store(value, Relaxed);
        }
    }

    /// Returns its CPU.
    pub fn id(&self) -> CpuId {
        self.id
    }

    /// Returns the node its CPU belongs to.
    pub fn node(&self) -> NodeId {
        NodeId::new(self.node.load(Relaxed) as usize).unwrap_or(NodeId::FIRST)
    }

    /// Tells the area which node its CPU belongs to.
    pub fn set_node(&self, node: NodeId) {
        self.node.store(node.index() as u32, Relaxed);
    }

    /// Leaves a flush to the CPU where it is lazy: see [`LazyCpu::leave_mark`].
    pub fn leave_mark(&self) -> MarkLeft {
        self.lazy.leave_mark()
    }

    /// Tells whether it is lazy, for reports: see [`LazyCpu::is_lazy`].
    #[cfg(feature = "lab")]
    pub fn is_lazy(&self) -> bool {
        self.lazy.is_lazy()
    }

    /// Returns the place of a job that waits for this CPU: see `cpu::work`.
    pub fn job(&self) -> &AtomicPtr<()> {
        &self.job
    }

    /// Sets the number to add to the CPU's time-stamp counter so that it shows what the boot CPU's shows. Wraps. Once,
    /// by the CPU that starts it.
    pub fn set_tsc_offset(&self, offset: u64) {
        self.hot.set_tsc_offset(offset);
    }
}

/// The area of the CPU on which the code runs, as long as the code is held there. It is no proof for other CPUs, and
/// cannot be passed to one.
#[derive(Clone, Copy)]
pub struct Here<'pinned> {
    area: &'static PerCpu,
    _pinned: PhantomData<Pinned<'pinned>>,
}

impl Here<'_> {
    /// Returns the words for this CPU alone.
    #[inline(always)]
    pub fn own(&self) -> &Own {
        &self.area.own
    }

    /// Returns whether this CPU idles, and what it misses meanwhile: see `cpu::tlb`.
    #[inline(always)]
    pub fn lazy(&self) -> &LazyCpu {
        &self.area.lazy
    }

    /// Returns this CPU's place in the queue of the lock of the page tables. In another CPU's hands it would cost that
    /// CPU its turn, and nothing more.
    #[inline(always)]
    pub fn tables_place(&self) -> &'static Place {
        &self.area.tables_place
    }

    /// Returns the part of the area that all CPUs may look at.
    pub fn area(&self) -> &'static PerCpu {
        self.area
    }
}

impl Deref for Here<'_> {
    type Target = PerCpu;
    #[inline(always)]
    fn deref(&self) -> &PerCpu {
        self.area
    }
}

// It does not compile where another CPU could be shown either of them: both implementations apply then.
const _: fn() = || {
    trait Either<Which> {
        fn holds() {}
    }
    struct Sendable;
    impl<T> Either<()> for T {}
    impl<T: Send> Either<Sendable> for T {}
    <Here<'static> as Either<_>>::holds();
    <&Here<'static> as Either<_>>::holds();
    <&Own as Either<_>>::holds();
};

static BOOT: PerCpu = PerCpu::new(CpuId::BOOT);
static AREAS: [AtomicPtr<PerCpu>; MAX_CPUS] = [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CPUS];

/// Makes the boot CPU's area current. The first thing that Rust code does.
pub fn install_boot() {
    register(&BOOT);
    // SAFETY: the boot CPU runs this, alone, before it makes any token.
    unsafe { install(&BOOT) };
}

/// Returns the boot CPU's area.
pub fn boot() -> &'static PerCpu {
    &BOOT
}

/// Makes `area` known to other CPUs.
pub fn register(area: &'static PerCpu) {
    let pointer = core::ptr::from_ref(area).cast_mut();
    area.hot.set_this(pointer);
    AREAS[area.id.index()].store(pointer, Release);
}

/// Makes `area` the current CPU's.
///
/// # Safety
/// Called once by each CPU, first thing, with a registered area that no other CPU has.
pub unsafe fn install(area: &'static PerCpu) {
    // SAFETY: the GS base is used for nothing but the per-CPU area.
    unsafe { Msr::new(IA32_GS_BASE).write(core::ptr::from_ref(area) as u64) };
}

/// Returns where GS leads: the address of this CPU's area, unless something has gone very wrong.
pub fn gs_base() -> u64 {
    // SAFETY: a read of an MSR that every 64-bit CPU has.
    unsafe { Msr::new(IA32_GS_BASE).read() }
}

/// Returns the area of the CPU that `pinned` names, on which the caller runs. Cost: one load.
#[inline(always)]
pub fn here(_pinned: Pinned<'_>) -> Here<'_> {
    Here { area: hot::this_area(), _pinned: PhantomData }
}

/// Returns the area of `cpu`, or `None` if it has not been registered.
pub fn of(cpu: CpuId) -> Option<&'static PerCpu> {
    let pointer = AREAS[cpu.index()].load(Acquire);
    // SAFETY: only `register` writes the array, with `'static` references.
    unsafe { pointer.as_ref() }
}

/// Returns all registered areas, by CPU number.
pub fn all() -> impl Iterator<Item = &'static PerCpu> {
    (0..MAX_CPUS).filter_map(CpuId::new).map_while(of)
}

/// Returns the CPU and the stack that have `address`, and the part of the stack. From any context.
///
/// Cost: four comparisons for an address on this CPU's stacks, four for each CPU for another one among the areas of the
/// kernel map, one elsewhere.
pub fn stack_at(address: VirtAddr) -> Option<(CpuId, Stack, Part)> {
    if !layout::areas(PageSize::Size4K).contains(address) {
        return None;
    }
    let of = |area: &PerCpu| area.stacks.at(address).map(|(stack, part)| (area.id, stack, part));
    // Of a CPU that the code may have left since, the answer is as true.
    self::of(cpu_now()).and_then(of).or_else(|| all().find_map(of))
}
