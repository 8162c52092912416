//! The checker of memory accesses in a kernel that is built with it (`--kasan`; feature `kasan`).
//!
//! The kasan crate has the shadow and the functions that the compiler calls; here is where the shadow's memory comes
//! from and what it begins with.
//!
//! ```text
//! reserve   while the page tables are built   one run of frames: an eighth of RAM, of the image and of the stacks
//! start     when the frame allocator is made  the shadow becomes zero (all allowed); checks begin; red zones behind globals;
//!                                             free frames are forbidden
//! then      by Machine::set_memory_use        allocators say what is taken and what is given back
//! ```
//!
//! Watched are the direct map (up to [`WATCHED_RAM_BYTES`]), the kernel image and the stacks; all other addresses pass.
//! Accesses by assembly pass, too: probes of addresses, page-table loads, devices.

use core::sync::atomic::AtomicU64;

use arrayvec::ArrayVec;
use rhumb_bootinfo::{BootFrames, MemoryMap, Reservation};
use rhumb_kasan::outline::{self, Checker};
use rhumb_kasan::{Plan, PlanError, State, Violation};
use rhumb_machine::{Machine, PageSize, PfnRange, PhysAddr, PhysRange, VirtAddr, VirtRange};
use rhumb_monitor::Human;
use spin::Once;

use super::once;
use super::stacks::Stacks;
use crate::layout::{self, Stack, image};

/// RAM past so much of it is not watched: the shadow is written whole at boot, and a machine of a TiB, whose memory the
/// host of an emulator does not have, would need 128 GiB for it.
pub const WATCHED_RAM_BYTES: u64 = 8 << 30;

/// The shadow's memory and what it is for.
struct Reserved {
    plan: Plan,
    run: PfnRange,
    unwatched_ram_bytes: u64,
}

static RESERVED: Once<Reserved> = Once::new();
/// Says what is wrong, and stops the machine.
pub type Reporter = fn(&Violation) -> !;

static CHECKER: Once<Checker> = Once::new();
static REPORTER: Once<Reporter> = Once::new();

/// Returns the checker; `None` before [`start`].
pub fn checker() -> Option<&'static Checker> {
    CHECKER.get()
}

/// Has violations reported by `reporter`. Once, before [`start`].
pub fn report_by(reporter: Reporter) {
    once::fill(&REPORTER, reporter);
}

/// Takes frames for the shadow. Once, at boot, after everything else that must be below `limit`.
pub fn reserve(map: &mut MemoryMap, base: VirtAddr, limit: Option<PhysAddr>, cpus: usize) {
    let limit = limit.unwrap_or(PhysAddr::new(u64::MAX));
    let (plan, unwatched_ram_bytes) = match plan(map, base, limit, cpus) {
        Ok(planned) => planned,
        Err(error) => return log::error!("KASAN checks nothing: {error}"),
    };
    let frames = (plan.words() as u64 * 8).div_ceil(PageSize::Size4K.bytes());
    match BootFrames::below(map, limit).take_run(frames, 1, Reservation::Shadow) {
        Ok(run) => {
            once::fill(&RESERVED, Reserved { plan, run, unwatched_ram_bytes });
        }
        Err(error) => log::error!("KASAN checks nothing: {error}"),
    }
}

/// Returns the plan of what to watch, and how much RAM of the direct map is left out.
fn plan(map: &MemoryMap, base: VirtAddr, limit: PhysAddr, cpus: usize) -> Result<(Plan, u64), PlanError> {
    let mut plan = Plan::new();
    let (mut left, mut unwatched) = (WATCHED_RAM_BYTES, 0);
    let mapped = PhysRange::below(limit);
    for ram in map.ram().map(|ram| ram.intersection(mapped)) {
        let bytes = ram.bytes().min(left);
        left -= bytes;
        unwatched += ram.bytes() - bytes;
        plan.watch(layout::range(base.plus(ram.start().get()), bytes))?;
    }
    plan.watch(layout::range(layout::AREAS, first_areas_bytes(cpus)))?;
    plan.watch(image::all())?;
    Ok((plan, unwatched))
}

/// Returns how many of the first addresses of the kernel map are watched: the CPUs' stacks lie there, because they are
/// the map's first areas, but for boot's devices (some 270 pages with their guards, at most), and for what the boot CPU's
/// cache of addresses keeps meanwhile.
const fn first_areas_bytes(cpus: usize) -> u64 {
    const OTHER_PAGES: u64 = 512;
    let pages = cpus as u64 * layout::STACK_PAGES_PER_CPU + OTHER_PAGES;
    pages * PageSize::Size4K.bytes()
}

/// Begins to check. Once, on the kernel's own tables, before other CPUs run; `free` is what the frame allocator begins
/// with.
pub fn start(machine: &impl Machine, free: &[PfnRange]) {
    let Some(reserved) = RESERVED.get() else { return };
    let words = reserved.plan.words();
    let first = machine.direct(reserved.run.start().addr()).as_mut_ptr::<AtomicU64>();
    // SAFETY: the frames were taken for this, are in the direct map (below its limit), and no other code knows them.
    // Whatever the RAM holds is a value of AtomicU64; `lay_out` overwrites it.
    let words = unsafe { core::slice::from_raw_parts(first, words) };
    let shadow = match reserved.plan.lay_out(words) {
        Ok(shadow) => shadow,
        Err(error) => return log::error!("KASAN checks nothing: {error}"),
    };
    let checker = once::fill(&CHECKER, Checker { shadow, report });
    outline::install(checker);
    run_constructors();
    free.iter().for_each(|&range| checker.shadow.set(direct(machine, range), State::FreeFrame));
    if reserved.unwatched_ram_bytes > 0 {
        log::warn!("KASAN does not watch {} of RAM", Human(reserved.unwatched_ram_bytes));
    }
    log::info!("KASAN: {} of shadow", Human(reserved.run.frames() * PageSize::Size4K.bytes()));
}

fn report(violation: &Violation) -> ! {
    match REPORTER.get() {
        Some(report) => report(violation),
        None => panic!("KASAN: {violation}"),
    }
}

/// Runs the constructor of each compilation unit, which tells the checker of the unit's globals.
fn run_constructors() {
    unsafe extern "C" {
        static __constructors_start: extern "C" fn();
        static __constructors_end: extern "C" fn();
    }
    let (start, end) = (&raw const __constructors_start, &raw const __constructors_end);
    let count = (end as usize - start as usize) / size_of::<extern "C" fn()>();
    // SAFETY: the linker script gathers the constructors, and nothing else, between these symbols.
    let constructors = unsafe { core::slice::from_raw_parts(start, count) };
    constructors.iter().for_each(|constructor| constructor());
}

/// Sets what a range of memory may be used for: see [`Machine::set_memory_use`].
pub fn set_memory_use(range: VirtRange, memory_use: rhumb_machine::MemoryUse) {
    if let Some(checker) = outline::installed() {
        checker.shadow.set(range, memory_use.into());
    }
}

/// Clears the marks of a CPU's main stack, which begins anew: its last user has left it without returning.
pub fn stack_is_fresh(stacks: &Stacks) {
    let Some(range) = stacks.range(Stack::Main) else { return };
    set_memory_use(range, rhumb_machine::MemoryUse::Allowed);
    if !watched().iter().any(|watched| watched.covers(range)) {
        log::warn!("KASAN does not watch the stack {range}");
    }
}

fn direct(machine: &impl Machine, frames: PfnRange) -> VirtRange {
    let bytes = frames.frames() * PageSize::Size4K.bytes();
    layout::range(machine.direct(frames.start().addr()), bytes)
}

/// Returns the ranges that are watched, for `kasan`.
pub fn watched() -> ArrayVec<VirtRange, { rhumb_kasan::MAX_REGIONS }> {
    CHECKER.get().map(|checker| checker.shadow.ranges().collect()).unwrap_or_default()
}
