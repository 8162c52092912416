//! The kernel's object caches, and the heap that `alloc` (Box, Vec, Arc) uses.
//!
//! They come up right after the frame allocator and rest on it. Running out of memory in `Box::new` ends the kernel:
//! what can fail asks [`slabs`] or `Vec::try_reserve` instead (I12).

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rhumb_frames::Frames;
use rhumb_machine::{MAX_NODES, Machine, VirtAddr};
use rhumb_slab::{CallSite, CheckList, Config, Heap, Report, Slabs, Space, SpecError};
use spin::Once;

use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::cpu::{backtrace, clock, once};
use crate::facts::Boot;
use crate::mm::owners;

#[global_allocator]
static HEAP: Heap<KernelMachine> = Heap::empty();

/// How often magazines are trimmed at most, and that often while the prompt waits.
static TRIM_EVERY_NS: AtomicU64 = AtomicU64::new(2_000_000_000);
/// When they were last.
static TRIMMED_NS: AtomicU64 = AtomicU64::new(0);

static SLABS: Once<Slabs<KernelMachine>> = Once::new();
/// The allocator of the kernel map's records, where [`SLABS`] has its objects in the kernel map.
static RECORDS: Once<Slabs<KernelMachine>> = Once::new();
static CHECKS: Once<CheckList> = Once::new();

/// Returns the object caches; `None` before [`start`].
pub fn slabs() -> Option<&'static Slabs<KernelMachine>> {
    SLABS.get()
}

/// Returns an allocator whose objects are in the direct map: [`slabs`], unless these are in the kernel map.
pub fn direct_slabs() -> Option<&'static Slabs<KernelMachine>> {
    RECORDS.get().or_else(slabs)
}

/// Tells whether objects are at addresses of the kernel map.
#[cfg_attr(not(feature = "lab"), expect(dead_code, reason = "only stress tests ask"))]
pub fn are_in_kernel_map() -> bool {
    RECORDS.get().is_some()
}

/// Returns which caches are checked, as the kernel's command line says.
pub fn checks() -> CheckList {
    CHECKS.get().copied().unwrap_or(CheckList::NONE)
}

/// Makes the allocator of the kernel map's records, for a kernel map that comes before [`start`].
pub fn start_records(boot: &Boot, frames: &'static Frames<KernelMachine>) -> Result<(), SpecError> {
    let guard = MACHINE.pin();
    let slabs = once::fill(&RECORDS, Slabs::new(frames, guard.pinned(), config(boot, CheckList::NONE))?);
    slabs.register()
}

/// Returns the configuration of allocators on this machine.
pub fn config(boot: &Boot, checks: CheckList) -> Config {
    Config {
        cpus: boot.cpus,
        nodes: boot.topology.node_count().clamp(1, MAX_NODES),
        owner: owners::OBJECTS.in_frames(),
        checks,
        call_site,
        report,
    }
}

/// Makes the object caches, with their objects in the direct map, or in a space. Once, at boot, before other CPUs
/// allocate.
pub fn start(
    boot: &Boot,
    frames: &'static Frames<KernelMachine>,
    space: Option<&'static dyn Space>,
) -> Result<(), SpecError> {
    let checks = boot.options.slab_debug.as_ref().map_or(CheckList::NONE, |list| {
        CheckList::parse(list).unwrap_or_else(|error| {
            log::warn!("{error}; no object is checked");
            CheckList::NONE
        })
    });
    once::fill(&CHECKS, checks);
    let config = config(boot, checks);
    let guard = MACHINE.pin();
    let made = match space {
        Some(space) => Slabs::new_in(frames, guard.pinned(), config, space)?,
        None => Slabs::new(frames, guard.pinned(), config)?,
    };
    let slabs = once::fill(&SLABS, made);
    slabs.register()?;
    if HEAP.set(slabs).is_err() {
        log::error!("the heap has an allocator already, and keeps it");
    }
    Ok(())
}

/// Makes the lines of the CPU on which this runs in all object caches, on the CPU's node.
pub fn set_up_cpu() {
    if let Some(slabs) = slabs() {
        let guard = MACHINE.pin();
        slabs.set_up_cpu(guard.pinned());
    }
}

/// Warns of names in `slab_debug=` that no cache has. When the kernel is up.
pub fn warn_of_absent_caches() {
    let (Some(slabs), checks) = (slabs(), checks()) else { return };
    for pattern in checks.names() {
        let mut is_there = false;
        slabs.for_each_report(|cache| is_there |= CheckList::fits(pattern, cache.name.as_str()));
        if !is_there {
            log::warn!("slab_debug: no cache is called {pattern} so far");
        }
    }
}

/// Lets go of what no cache has needed for a while ([`Slabs::trim`]), if the last time was long enough ago, and says
/// whether it was. For the boot CPU, while it waits for a command: so never in the middle of one.
pub fn trim_if_due() -> bool {
    let Some(slabs) = slabs().filter(|_| ns_to_next_trim() == 0) else { return false };
    TRIMMED_NS.store(clock::now_ns(), Relaxed);
    let guard = MACHINE.pin();
    slabs.trim(guard.pinned());
    true
}

/// Returns how long until [`trim_if_due`] does something again.
pub fn ns_to_next_trim() -> u64 {
    let due = TRIMMED_NS.load(Relaxed).saturating_add(TRIM_EVERY_NS.load(Relaxed));
    due.saturating_sub(clock::now_ns())
}

/// Sets how often magazines are trimmed, for tests that cannot wait; returns what it was.
#[cfg_attr(not(feature = "lab"), expect(dead_code, reason = "tests cannot wait"))]
pub fn set_trim_interval(every_ns: u64) -> u64 {
    TRIM_EVERY_NS.swap(every_ns, Relaxed)
}

/// Returns the call site of a request: the callers of the allocator's own functions.
fn call_site() -> CallSite {
    let mut site = CallSite::UNKNOWN;
    let mut callers = site.0.iter_mut();
    backtrace::for_each_caller(|address| {
        if backtrace::name_of(address).is_some_and(is_of_the_allocator) {
            return true;
        }
        match callers.next() {
            Some(place) => {
                *place = address.get() as usize;
                true
            }
            None => false,
        }
    });
    site
}

/// Tells whether a function belongs to the way from the caller to the hook.
fn is_of_the_allocator(name: &str) -> bool {
    ["rhumb_slab::", "alloc::", "__rust_", "__rustc", "mm::objects::", "backtrace::"]
        .iter()
        .any(|part| name.contains(part))
}

/// Logs what is wrong with an object.
fn report(report: &Report) {
    // Its own text has the call sites as numbers.
    let brief = Report { allocated: None, freed: None, ..*report };
    log::error!("{brief}");
    for (what, track) in [("allocated", &report.allocated), ("freed", &report.freed)] {
        if let Some(track) = track {
            log::error!("  {what} by CPU {} from {}", track.cpu, Site(track.site));
        }
    }
}

/// A call site by the names of its functions.
pub struct Site(pub CallSite);

impl core::fmt::Display for Site {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let known = self.0.0.iter().take_while(|&&address| address != 0);
        for (index, &address) in known.enumerate() {
            let separator = if index == 0 { "" } else { " < " };
            let address = VirtAddr::new(address as u64);
            match backtrace::name_of(address) {
                Some(name) => write!(f, "{separator}{name}")?,
                None => write!(f, "{separator}{address}")?,
            }
        }
        if self.0 == CallSite::UNKNOWN { f.write_str("?") } else { Ok(()) }
    }
}
