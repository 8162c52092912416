//! The area of one CPU, reached through the GS base.
//!
//! The boot CPU's area is static, so that it exists before any memory is found; the others' come from the boot
//! allocator. Each area begins with its own address, so `gs:0` yields a reference. Counters are written by their CPU
//! alone (plain load and store, no locked operation), and every CPU may read them.

use core::arch::asm;
use core::mem::offset_of;
use core::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use rhumb_klog::{Ring, Slot};
use rhumb_machine::{CpuId, MAX_CPUS, NodeId, PageSize, Pinned, VirtAddr};
use rhumb_pagetable::LazyCpu;
use rhumb_smp::apic::Input;
use rhumb_smp::call::{Inbox, Senders};
use rhumb_sync::Place;
use spin::Once;
use x86_64::registers::model_specific::Msr;

use super::irqsoff;
use super::stacks::{Part, Stacks};
use crate::arch::control::Controls;
use crate::arch::gdt::Descriptors;
use crate::arch::mce;
use crate::layout::{self, Stack};

/// Records of the log that a CPU other than the boot CPU keeps: it has little to say.
pub const LOG_SLOTS: usize = 16;

const IA32_GS_BASE: u32 = 0xc000_0101;

/// A number that one CPU counts and all may read.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Returns a counter of 0.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds one. Only the owning CPU calls this.
    #[inline(always)]
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `n`. Only the owning CPU calls this. One instruction, not locked: an interrupt on the same CPU comes before
    /// or after it, and no other CPU writes.
    #[inline(always)]
    pub fn add(&self, n: u64) {
        // SAFETY: the pointer is to our own atomic.
        unsafe { asm!("add qword ptr [{}], {}", in(reg) self.0.as_ptr(), in(reg) n, options(nostack)) };
    }

    /// Returns the number now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The counters that `vmstat` and `cpus` sum up.
#[derive(Default)]
pub struct Counters {
    pub timer_interrupts: Counter,
    pub device_interrupts: Counter,
    pub call_interrupts: Counter,
    pub calls_served: Counter,
    pub calls_sent: Counter,
    pub spurious_interrupts: Counter,
    pub nmis: Counter,
    pub flushes: Counter,
    pub flushes_page: Counter,
    pub flushes_all: Counter,
    pub flushes_remote: Counter,
    pub flushes_received: Counter,
    pub flushes_lazy: Counter,
    pub page_table_writes: Counter,
    pub events_missed: Counter,
}

impl Counters {
    const fn new() -> Self {
        Self {
            timer_interrupts: Counter::new(),
            device_interrupts: Counter::new(),
            call_interrupts: Counter::new(),
            calls_served: Counter::new(),
            calls_sent: Counter::new(),
            spurious_interrupts: Counter::new(),
            nmis: Counter::new(),
            flushes: Counter::new(),
            flushes_page: Counter::new(),
            flushes_all: Counter::new(),
            flushes_remote: Counter::new(),
            flushes_received: Counter::new(),
            flushes_lazy: Counter::new(),
            page_table_writes: Counter::new(),
            events_missed: Counter::new(),
        }
    }
}

/// A value that shares its cache line with no other.
#[repr(C, align(64))]
pub struct OwnLine<T>(T);

impl<T> core::ops::Deref for OwnLine<T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}

// Words that one CPU writes often do not lie in the line that the others look at.
const _: () = assert!(offset_of!(PerCpu, lazy).is_multiple_of(64) && size_of::<OwnLine<LazyCpu>>() == 64);

// `this_cpu` reads it as a word.
const _: () = assert!(size_of::<CpuId>() == 2);

/// One CPU's own data.
#[repr(C, align(64))]
pub struct PerCpu {
    this: AtomicPtr<PerCpu>,
    id: CpuId,
    /// The CPU's number on the interrupt bus.
    pub apic_id: AtomicU32,
    node: AtomicU32,
    /// How many guards hold the running code on this CPU. Interrupt handlers raise and lower it evenly.
    pub preempt_depth: AtomicU64,
    /// The [`IrqDepth`](rhumb_machine::IrqDepth): guards that keep interrupts off, and how the first one found them.
    pub irq_depth: AtomicU64,
    /// How long guards keep interrupts off, where that is traced.
    pub irqs_off: irqsoff::Trace,
    /// How many traps are being reported: a fault inside a report ends the report.
    pub report_depth: AtomicU32,
    /// Where an expected fault of `cpu::probe` goes on, 0 when none is expected.
    pub probe_resume: AtomicU64,
    /// The value that the last expected fault's handler had in the register of protection keys, where tables have one.
    pub handler_keys: AtomicU64,
    /// The number to add to its time-stamp counter so that it shows what the boot CPU's shows. Wraps.
    pub tsc_offset: AtomicU64,
    /// Which inputs of its APIC carry non-maskable interrupts: see [`PerCpu::inputs`].
    inputs: AtomicU32,
    /// Where a non-maskable interrupt stopped it, for the report of the CPU that sent it: 0 while it runs.
    pub stopped_rip: AtomicU64,
    pub stopped_rbp: AtomicU64,
    /// Its control registers when it last noted them: see `arch::control::Controls`.
    pub controls: [AtomicU64; 3],
    /// The worst machine check that it has found: see `arch::mce`.
    pub machine_check: mce::Noted,
    /// Segment descriptors and task-state segment.
    pub descriptors: Descriptors,
    /// Where its stacks lie.
    pub stacks: Stacks,
    /// Cross-calls that wait for this CPU: see [`PerCpu::inbox`].
    inbox: Once<Inbox>,
    /// Whether the CPU idles, and what it misses meanwhile: see `cpu::tlb`. Every CPU that flushes looks at it.
    pub lazy: OwnLine<LazyCpu>,
    /// The CPU's place in the queue of the lock of the page tables.
    pub tables_place: Place,
    /// Whether it runs a program of BPF: events meanwhile are missed. Its CPU alone writes it.
    pub runs_program: AtomicBool,
    /// A job that waits for this CPU: see `cpu::work`.
    pub job: AtomicPtr<()>,
    /// Statistics.
    pub counters: Counters,
    log_slots: [Slot; LOG_SLOTS],
    log_ring: Once<Ring<'static>>,
}

// SAFETY: all fields that change after construction are atomics, or (`descriptors`) written only by their own CPU while
// it starts.
unsafe impl Sync for PerCpu {}

impl PerCpu {
    /// Returns the area of `cpu`, which no other CPU knows yet.
    pub const fn new(id: CpuId) -> Self {
        Self {
            this: AtomicPtr::new(core::ptr::null_mut()),
            id,
            apic_id: AtomicU32::new(0),
            node: AtomicU32::new(0),
            preempt_depth: AtomicU64::new(0),
            irq_depth: AtomicU64::new(0),
            irqs_off: irqsoff::Trace::new(),
            report_depth: AtomicU32::new(0),
            probe_resume: AtomicU64::new(0),
            handler_keys: AtomicU64::new(0),
            tsc_offset: AtomicU64::new(0),
            inputs: AtomicU32::new(0),
            stopped_rip: AtomicU64::new(0),
            stopped_rbp: AtomicU64::new(0),
            controls: [const { AtomicU64::new(0) }; 3],
            machine_check: mce::Noted::new(),
            descriptors: Descriptors::new(),
            stacks: Stacks::new(),
            inbox: Once::new(),
            lazy: OwnLine(LazyCpu::new()),
            tables_place: Place::new(),
            runs_program: AtomicBool::new(false),
            job: AtomicPtr::new(core::ptr::null_mut()),
            counters: Counters::new(),
            log_slots: [const { Slot::new() }; LOG_SLOTS],
            log_ring: Once::new(),
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
        self.log_ring.call_once(|| Ring::new(&self.log_slots))
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
}

static BOOT: PerCpu = PerCpu::new(CpuId::BOOT);
static AREAS: [AtomicPtr<PerCpu>; MAX_CPUS] = [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CPUS];

/// Makes the boot CPU's area current. The first thing that Rust code does.
pub fn install_boot() {
    register(&BOOT);
    install(&BOOT);
}

/// Makes `area` known to other CPUs.
pub fn register(area: &'static PerCpu) {
    let pointer = core::ptr::from_ref(area).cast_mut();
    area.this.store(pointer, Relaxed);
    AREAS[area.id.index()].store(pointer, Release);
}

/// Makes `area` the current CPU's.
pub fn install(area: &'static PerCpu) {
    // SAFETY: the GS base is used for nothing but the per-CPU area.
    unsafe { Msr::new(IA32_GS_BASE).write(core::ptr::from_ref(area) as u64) };
}

/// Returns where GS leads: the address of this CPU's area, unless something has gone very wrong.
pub fn gs_base() -> u64 {
    // SAFETY: a read of an MSR that every 64-bit CPU has.
    unsafe { Msr::new(IA32_GS_BASE).read() }
}

/// Holds the running code on its CPU. One instruction: code that is moved to another CPU between finding its area and
/// writing there would raise the depth of the wrong one.
#[inline(always)]
pub fn raise_preempt_depth() {
    // SAFETY: GS leads to this CPU's area, and the field is this CPU's own.
    unsafe { asm!("inc qword ptr gs:[{}]", const offset_of!(PerCpu, preempt_depth), options(nostack)) };
}

/// Undoes one [`raise_preempt_depth`].
#[inline(always)]
pub fn lower_preempt_depth() {
    // SAFETY: GS leads to this CPU's area, and the field is this CPU's own.
    unsafe { asm!("dec qword ptr gs:[{}]", const offset_of!(PerCpu, preempt_depth), options(nostack)) };
}

/// Returns the area of the CPU on which this runs. The caller stays on it while that matters: see [`Pinned`].
#[inline(always)]
pub fn here() -> &'static PerCpu {
    let pointer: *const PerCpu;
    // SAFETY: GS points to a registered area from the first Rust instruction on, and its first field is its address.
    unsafe {
        asm!("mov {}, gs:0", out(reg) pointer, options(nostack, preserves_flags, readonly));
        &*pointer
    }
}

/// Returns the CPU on which this runs, by one instruction. The caller stays on it while that matters: see [`Pinned`].
#[inline(always)]
pub fn this_cpu() -> CpuId {
    let id: usize;
    // SAFETY: GS leads to this CPU's area, whose number was made of a `CpuId`, and is one.
    unsafe {
        asm!("movzx {:e}, word ptr gs:[{}]", out(reg) id, const offset_of!(PerCpu, id),
            options(nostack, preserves_flags, readonly));
        CpuId::new(id).unwrap_unchecked()
    }
}

/// Returns the area of the CPU that `pinned` names.
#[inline(always)]
pub fn of_pinned(_pinned: Pinned<'_>) -> &'static PerCpu {
    here()
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
    of(here()).or_else(|| all().find_map(of))
}
