//! `stress slabs`: every CPU allocates, fills, checks, resizes and frees objects of all sizes, hands some to others to
//! free, has interrupt handlers of others do the same, and trims and reclaims now and then.
//!
//! An object's first and last words hold its own stamp. A stamp that changed means that two holders shared memory;
//! bytes that are in use at the end, or frames that do not come back, mean that some was lost.

use alloc::vec::Vec;
use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use rhumb_frames::AllocClass;
use rhumb_machine::{Counted, Machine, Pinned, VirtAddr};
use rhumb_monitor::Output;
use rhumb_slab::{CacheSpec, Checks, RawCache, Slabs};
use spin::mutex::SpinMutex;

use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::cpu::{area, call, clock, work};
use crate::debug::objects::reclaim_everywhere;
use crate::debug::random::Random;
use crate::lab::caches;
use crate::lab::failure::Failure;
use crate::{cpu, mm};

const NO_LISTS: &str = "there is no memory for the test's own lists";
/// Objects that a CPU holds at most.
const HELD: usize = 1024;
/// Objects on their way to another CPU.
const PASSED: usize = 256;
/// Looks for each one that reclaims: at the others magazines only shrink where they are idle.
const TRIMS: u32 = 8;
/// An object of a cache of its own, which no class has: 200 bytes.
const OWN_BYTES: usize = 200;

/// An object that a CPU holds.
struct Held {
    at: NonNull<u64>,
    /// The layout that was asked for; `None` for one of the test's own cache.
    layout: Option<Layout>,
}

// SAFETY: it is the only name of the object.
unsafe impl Send for Held {}

impl Held {
    fn bytes(&self) -> usize {
        self.layout.map_or(OWN_BYTES, |layout| layout.size())
    }

    /// Returns the first and the last word of the object.
    fn ends(&self) -> [*mut u64; 2] {
        // SAFETY: every object of the test is a multiple of 8 bytes, and at least 8.
        [self.at.as_ptr(), unsafe { self.at.as_ptr().add(self.bytes() / 8 - 1) }]
    }

    fn stamp(&self) {
        for word in self.ends() {
            // SAFETY: the object is ours. Volatile, so that what is read later is memory.
            unsafe { word.write_volatile(self.mark()) };
        }
    }

    fn is_stamped(&self) -> bool {
        // SAFETY: the object is ours, and `stamp` has written both words.
        self.ends().into_iter().all(|word| unsafe { word.read_volatile() } == self.mark())
    }

    /// Returns a number that no other object has at the same time.
    fn mark(&self) -> u64 {
        self.at.addr().get() as u64 ^ (self.bytes() as u64) << 40
    }
}

/// The state that all CPUs share.
struct Shared {
    slabs: &'static Slabs<KernelMachine>,
    own: RawCache<KernelMachine>,
    passed: SpinMutex<Vec<Held>>,
    stop: AtomicBool,
    /// Address of an object that had two holders.
    shared_at: AtomicU64,
    allocations: AtomicU64,
    refusals: AtomicU64,
    unlisted: AtomicBool,
}

impl Shared {
    /// Notes an object whose stamp changed.
    fn check(&self, held: &Held) {
        if !held.is_stamped() {
            self.shared_at.store(held.at.addr().get() as u64, Relaxed);
            self.stop.store(true, Relaxed);
        }
    }

    fn free(&self, pinned: Pinned<'_>, held: Held) {
        self.check(&held);
        // SAFETY: the object came from this cache or with this layout, and this was its only name.
        unsafe {
            match held.layout {
                Some(layout) => self.slabs.free(pinned, held.at.cast(), layout),
                None => self.own.free(pinned, held.at.cast()),
            }
        }
    }

    /// Does the work of an interrupt handler: one object, for a moment.
    fn interrupt(&self) {
        let guard = MACHINE.pin();
        let layout = Layout::new::<[u64; 8]>();
        if let Ok(at) = self.slabs.alloc_as(guard.pinned(), layout, AllocClass::Atomic) {
            let held = Held { at: at.cast(), layout: Some(layout) };
            held.stamp();
            self.free(guard.pinned(), held);
        }
    }
}

fn free_frames() -> u64 {
    mm::frames::frames().map_or(0, super::free_frames)
}

/// Runs for `seconds` on all CPUs.
pub fn objects(
    slabs: &'static Slabs<KernelMachine>,
    seconds: u64,
    out: &mut dyn Output,
) -> Result<(), Failure> {
    let (frames_before, before) = (free_frames(), slabs.totals());
    let mut passed = Vec::new();
    passed.try_reserve_exact(PASSED).map_err(|_| Failure::because(NO_LISTS))?;
    let own = {
        let guard = MACHINE.pin();
        RawCache::new(slabs, guard.pinned(), &CacheSpec::new("stress", OWN_BYTES))
            .map_err(|error| Failure::because(format_args!("the test's own cache cannot be made: {error}")))?
    };
    let shared = Shared {
        slabs,
        own,
        passed: SpinMutex::new(passed),
        stop: AtomicBool::new(false),
        shared_at: AtomicU64::new(0),
        allocations: AtomicU64::new(0),
        refusals: AtomicU64::new(0),
        unlisted: AtomicBool::new(false),
    };
    let end = clock::now_ns() + seconds * 1_000_000_000;
    let share = |after_each: &mut dyn FnMut()| {
        let Some(mut worker) = Worker::new(&shared) else {
            shared.unlisted.store(true, Relaxed);
            return;
        };
        while clock::now_ns() < end && !shared.stop.load(Relaxed) {
            worker.rounds(1000);
            after_each();
        }
        worker.give_all_back();
    };
    // This CPU alone looks at the console, trims or reclaims, and has the others' interrupt handlers allocate.
    let mut looks = 0u32;
    let mut look = || {
        shared.stop.fetch_or(out.interrupted(), Relaxed);
        let guard = MACHINE.pin();
        looks = looks.wrapping_add(1);
        if looks.is_multiple_of(TRIMS) {
            slabs.reclaim(guard.pinned());
        } else {
            slabs.trim(guard.pinned());
        }
        call::run_on(guard.pinned(), &cpu::online(), &|| shared.interrupt(), || shared.interrupt());
    };
    work::on_others(&|| share(&mut || ()), || share(&mut look));
    let figures = Figures { frames: frames_before, live: before.live_bytes, faults: before.faults };
    finish(shared, &figures, out)
}

/// How things stood before.
struct Figures {
    frames: u64,
    live: u64,
    faults: u64,
}

/// Gives the rest back, reports, and compares with how things stood before.
fn finish(shared: Shared, before: &Figures, out: &mut dyn Output) -> Result<(), Failure> {
    let slabs = shared.slabs;
    let rest = core::mem::take(&mut *shared.passed.lock());
    {
        let guard = MACHINE.pin();
        rest.into_iter().for_each(|held| shared.free(guard.pinned(), held));
    }
    reclaim_everywhere(slabs);
    let destroyed = caches::give_up(shared.own);
    reclaim_everywhere(slabs);
    let (frames, after) = (free_frames(), slabs.totals());
    writeln!(
        out,
        "stress slabs: {}, {}, {} refused, {} in use and {frames} of {} free again",
        Counted(cpu::online_count(), "CPU"),
        Counted(shared.allocations.load(Relaxed), "allocation"),
        shared.refusals.load(Relaxed),
        Counted(after.live_bytes.abs_diff(before.live), "byte"),
        Counted(before.frames, "frame"),
    );
    if let Err((_, error)) = destroyed {
        writeln!(out, "stress slabs: {error}");
        return Err(Failure::because("the test's own cache could not be given up"));
    }
    match shared.shared_at.load(Relaxed) {
        0 => {}
        at => {
            return Err(Failure::because(format_args!(
                "the object at {} had two holders",
                VirtAddr::new(at)
            )));
        }
    }
    if shared.unlisted.load(Relaxed) {
        return Err(Failure::because(NO_LISTS));
    }
    if let Err(inconsistency) = caches::validate(slabs) {
        writeln!(out, "stress slabs: {inconsistency}");
        return Err(Failure::because("the allocator's own books do not balance"));
    }
    if after.faults != before.faults {
        return Err(Failure::because(format_args!(
            "reported: {}",
            Counted(after.faults - before.faults, "fault")
        )));
    }
    if after.live_bytes != before.live {
        return Err(Failure::because(format_args!(
            "{} bytes were in use before, {} are after",
            before.live, after.live_bytes
        )));
    }
    // A quarantine keeps objects that were freed, and their frames with them. A kernel map keeps records of ranges that
    // CPUs have for the next slabs.
    let keeps =
        mm::objects::checks().of("stress").has(Checks::QUARANTINE) || mm::objects::are_in_kernel_map();
    if frames != before.frames && !keeps {
        return Err(Failure::because(format_args!(
            "{} frames were free before, {frames} are after",
            before.frames
        )));
    }
    Ok(())
}

/// One CPU's share.
struct Worker<'a> {
    shared: &'a Shared,
    random: Random,
    held: Vec<Held>,
    allocations: u64,
    refusals: u64,
}

impl<'a> Worker<'a> {
    fn new(shared: &'a Shared) -> Option<Self> {
        let seed = clock::ticks() ^ (area::cpu_now().index() as u64 + 1);
        let mut held = Vec::new();
        held.try_reserve_exact(HELD).ok()?;
        Some(Self { shared, random: Random::new(seed), held, allocations: 0, refusals: 0 })
    }

    fn rounds(&mut self, count: usize) {
        for _ in 0..count {
            let guard = MACHINE.pin();
            let pinned = guard.pinned();
            if self.random.below(HELD as u64) >= self.held.len() as u64 {
                self.allocate(pinned);
            } else if self.random.below(8) == 0 {
                self.resize(pinned);
            } else {
                self.let_go(pinned);
            }
        }
    }

    /// Sizes from 8 bytes up, small ones more often; one in some hundreds comes straight from frames.
    fn layout(&mut self) -> Option<Layout> {
        let power = self.random.next().trailing_zeros().min(14) + 3;
        let words = (1 << power >> 3) + self.random.below(1 << power >> 3) as usize;
        let align = 8 << self.random.below(4);
        Layout::from_size_align(words * 8, align).ok()
    }

    fn allocate(&mut self, pinned: Pinned<'_>) {
        let layout = if self.random.below(8) == 0 { None } else { self.layout() };
        let got = match layout {
            Some(layout) => self.shared.slabs.alloc(pinned, layout),
            None => self.shared.own.alloc(pinned),
        };
        match got {
            Ok(at) => {
                self.allocations += 1;
                let held = Held { at: at.cast(), layout };
                held.stamp();
                // Room for it was reserved: `rounds` allocates only while there is some.
                self.held.push(held);
            }
            Err(_) => {
                self.refusals += 1;
                self.let_go(pinned);
            }
        }
    }

    fn resize(&mut self, pinned: Pinned<'_>) {
        let new = self.layout();
        let index = self.random.below(self.held.len().max(1) as u64) as usize;
        let (Some(held), Some(new)) = (self.held.get_mut(index), new) else { return };
        let Some(layout) = held.layout else { return };
        self.shared.check(held);
        // SAFETY: the object came with this layout, and this is its only name.
        let got = unsafe { self.shared.slabs.realloc(pinned, held.at.cast(), layout, new.size()) };
        if let (Ok(at), Ok(layout)) = (got, Layout::from_size_align(new.size(), layout.align())) {
            *held = Held { at: at.cast(), layout: Some(layout) };
            held.stamp();
        }
    }

    /// Frees an object, or passes it on and frees one that was passed on.
    fn let_go(&mut self, pinned: Pinned<'_>) {
        if self.held.is_empty() {
            return;
        }
        let index = self.random.below(self.held.len() as u64) as usize;
        let mut held = self.held.swap_remove(index);
        if self.random.below(4) == 0
            && let Some(mut passed) = self.shared.passed.try_lock()
        {
            let other = self.random.below(PASSED as u64) as usize;
            if other < passed.len() {
                held = core::mem::replace(&mut passed[other], held);
            } else if passed.len() < PASSED {
                passed.push(held);
                return;
            }
        }
        self.shared.free(pinned, held);
    }

    fn give_all_back(&mut self) {
        let guard = MACHINE.pin();
        while let Some(held) = self.held.pop() {
            self.shared.free(guard.pinned(), held);
        }
        self.shared.allocations.fetch_add(self.allocations, Relaxed);
        self.shared.refusals.fetch_add(self.refusals, Relaxed);
    }
}
