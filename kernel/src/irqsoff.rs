//! The tracer of stretches with interrupts off: the longest, by the place that turned them off.
//!
//! A stretch begins where the CPU's first [`IrqGuard`](rhumb_machine::IrqGuard) is made while interrupts are on, or where
//! an interrupt's handler begins, and ends where interrupts come on again. Its place is a line of source: that of the
//! guard (for a lock, the line that takes the lock), or the handler's. Time is the TSC's: under `-icount` a tick is an
//! instruction. On a host that shares its processors the longest stretch may be one in which the host ran something
//! else; many runs, or `-icount`, tell.
//!
//! Each CPU writes its own table, with interrupts off, by plain loads and stores, and allocates nothing. A non-maskable
//! interrupt in the middle of an update may cost one stretch.
//!
//! All of it is compiled in by the feature `irqsoff` alone (`--irqsoff`); without it tables are empty, and no
//! instruction is left of [`Trace::begin`] and [`Trace::end`]. The name is that of Linux's tracer.

use core::panic::Location;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Relaxed};

use arrayvec::ArrayVec;
use rhumb_monitor::{Arguments, Command, CommandError, Complete, Output};

use crate::arch::{clock, percpu};
use crate::monitor::Kernel;
use crate::selftest::{Test, Wrong, ensure};

/// Whether stretches are traced.
pub const IS_BUILT_IN: bool = cfg!(feature = "irqsoff");

/// Places that a CPU tells apart: some hundred lines of the kernel turn interrupts off. Stretches past that are counted
/// as not placed.
const PLACES: usize = if IS_BUILT_IN { 256 } else { 0 };
/// Lines that the command prints.
const SHOWN: usize = 20;

/// The stretches that began at one place on one CPU.
struct Place {
    line: AtomicPtr<Location<'static>>,
    longest: AtomicU64,
    times: AtomicU64,
}

impl Place {
    const fn new() -> Self {
        Self {
            line: AtomicPtr::new(core::ptr::null_mut()),
            longest: AtomicU64::new(0),
            times: AtomicU64::new(0),
        }
    }

    fn line(&self) -> Option<&'static Location<'static>> {
        // SAFETY: only `Trace::slot` writes the pointer, from a reference that lives permanently.
        unsafe { self.line.load(Relaxed).as_ref() }
    }
}

/// One CPU's trace.
pub struct Trace {
    line: AtomicPtr<Location<'static>>,
    since: AtomicU64,
    places: [Place; PLACES],
    unplaced: AtomicU64,
}

impl Trace {
    /// Nothing traced.
    pub const fn new() -> Self {
        Self {
            line: AtomicPtr::new(core::ptr::null_mut()),
            since: AtomicU64::new(0),
            places: [const { Place::new() }; PLACES],
            unplaced: AtomicU64::new(0),
        }
    }

    /// The CPU has turned interrupts off at `line`; they were on.
    #[inline(always)]
    pub fn begin(&self, line: &'static Location<'static>) {
        if IS_BUILT_IN {
            self.line.store(core::ptr::from_ref(line).cast_mut(), Relaxed);
            self.since.store(clock::ticks(), Relaxed);
        }
    }

    /// The CPU is about to turn interrupts on.
    #[inline(always)]
    pub fn end(&self) {
        if IS_BUILT_IN {
            self.note(clock::ticks());
        }
    }

    #[inline(never)]
    fn note(&self, now: u64) {
        let line = self.line.swap(core::ptr::null_mut(), Relaxed);
        let ticks = now.saturating_sub(self.since.load(Relaxed));
        match self.slot(line) {
            Some(place) => {
                place.times.store(place.times.load(Relaxed) + 1, Relaxed);
                if ticks > place.longest.load(Relaxed) {
                    place.longest.store(ticks, Relaxed);
                }
            }
            None => self.unplaced.store(self.unplaced.load(Relaxed) + 1, Relaxed),
        }
    }

    /// The slot of a line, taken where it has none yet.
    fn slot(&self, line: *mut Location<'static>) -> Option<&Place> {
        if line.is_null() {
            return None;
        }
        // Constants lie 8 bytes apart at least.
        let first = line as usize / 8;
        let from = first.checked_rem(PLACES)?;
        self.places[from..].iter().chain(&self.places[..from]).find(|place| {
            let known = place.line.load(Relaxed);
            if known.is_null() {
                place.line.store(line, Relaxed);
            }
            known.is_null() || known == line
        })
    }

    /// Forgets lengths and counts. Another CPU may call it: what the owner notes meanwhile may survive.
    fn reset(&self) {
        self.places.iter().for_each(|place| {
            place.longest.store(0, Relaxed);
            place.times.store(0, Relaxed);
        });
        self.unplaced.store(0, Relaxed);
    }
}

/// The stretch of an interrupt's handler, which the CPU began with interrupts off.
pub struct Handler(());

/// Begins the stretch of a handler at the caller's line.
#[inline(always)]
#[track_caller]
pub fn handler() -> Handler {
    percpu::here().irqs_off.begin(Location::caller());
    Handler(())
}

impl Drop for Handler {
    #[inline(always)]
    fn drop(&mut self) {
        percpu::here().irqs_off.end();
    }
}

pub const COMMANDS: &[Command<Kernel>] = &[Command {
    name: "irqsoff",
    usage: "[reset]",
    summary: "the longest stretches with interrupts off, by place",
    help: "Each line: the longest stretch in ns, how many there were, the CPU of the longest, and the line that turned\n\
           interrupts off (of a lock: that takes it). 'reset' begins anew. Takes a kernel built with --irqsoff.",
    complete: Complete::Words(&["reset"]),
    run,
}];

/// The stretches of one place on all CPUs.
struct Row {
    line: &'static Location<'static>,
    longest: u64,
    times: u64,
    cpu: usize,
}

fn run(_: &mut Kernel, mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let reset = arguments.optional(|words| words.one_of("action", &["reset"]))?.is_some();
    arguments.end()?;
    if !IS_BUILT_IN {
        return Err(CommandError::failed("this kernel traces nothing: build it with --irqsoff"));
    }
    if reset {
        percpu::all().for_each(|area| area.irqs_off.reset());
        return Ok(());
    }
    let mut rows = ArrayVec::<Row, 128>::new();
    let mut unplaced = 0;
    for area in percpu::all() {
        unplaced += area.irqs_off.unplaced.load(Relaxed);
        for place in &area.irqs_off.places {
            let Some(line) = place.line() else { continue };
            let (longest, times) = (place.longest.load(Relaxed), place.times.load(Relaxed));
            let row = Row { line, longest, times, cpu: area.id().index() };
            // The same line can be several constants, one for each unit of code.
            match rows.iter_mut().find(|known| known.line == line) {
                Some(known) if known.longest >= longest => known.times += times,
                Some(known) => *known = Row { times: known.times + times, ..row },
                None if times > 0 => {
                    unplaced += rows.try_push(row).err().map_or(0, |full| full.element().times)
                }
                None => {}
            }
        }
    }
    rows.sort_unstable_by_key(|row| core::cmp::Reverse(row.longest));
    writeln!(out, "  longest ns      times  CPU  place");
    for row in rows.iter().take(SHOWN) {
        let ns = clock::ticks_to_ns(row.longest);
        writeln!(out, "{ns:>12} {:>10} {:>4}  {}:{}", row.times, row.cpu, row.line.file(), row.line.line());
    }
    if unplaced > 0 {
        writeln!(out, "({unplaced} stretches of more places than there is room for)");
    }
    Ok(())
}

pub const TESTS: &[Test] = if IS_BUILT_IN {
    &[Test { name: "irqsoff::places_are_told_apart", run: places_are_told_apart }]
} else {
    &[]
};

/// Three stretches of two places: the second guard of a stretch is no place of its own, whatever guard ends last.
fn places_are_told_apart(_: &'static crate::boot::Boot) -> Result<(), Wrong> {
    use crate::machine::MACHINE;
    use rhumb_machine::Machine;

    let counted = |line: u32| {
        let pin = MACHINE.pin();
        let places = &percpu::of_pinned(pin.pinned()).irqs_off.places;
        let is_here =
            |place: &&Place| place.line().is_some_and(|at| at.file() == file!() && at.line() == line);
        places.iter().filter(is_here).map(|place| place.times.load(Relaxed)).sum::<u64>()
    };
    let line = line!();
    let stretches = || {
        for _ in 0..3 {
            let first = MACHINE.irq_off();
            let second = MACHINE.irq_off();
            drop(first);
            drop(second);
        }
    };
    let before = (counted(line + 3), counted(line + 4));
    stretches();
    let after = (counted(line + 3), counted(line + 4));
    ensure!(after.0 == before.0 + 3, "{} stretches were counted, not 3", after.0 - before.0);
    ensure!(after.1 == before.1, "the inner guard was counted");
    Ok(())
}
