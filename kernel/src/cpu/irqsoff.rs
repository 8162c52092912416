//! The tracer of stretches with interrupts off: the longest, by the place that turned them off.
//!
//! A stretch begins where the CPU's first [`IrqGuard`](rhumb_machine::IrqGuard) is made while interrupts are on, or
//! where an interrupt's handler begins, and ends where interrupts come on again. Its place is a line of source: that of
//! the guard (for a lock, the line that takes the lock), or the handler's. Time is the TSC's: under `-icount` a tick is
//! an instruction. On a host that shares its processors the longest stretch may be one in which the host ran something
//! else; many runs, or `-icount`, tell.
//!
//! Each CPU writes its own table, with interrupts off, by plain loads and stores, and allocates nothing. A non-maskable
//! interrupt in the middle of an update may cost one stretch.
//!
//! All of it is compiled in by the feature `irqsoff` alone (`--irqsoff`); without it tables are empty, and no
//! instruction is left of [`Trace::begin`] and [`Trace::end`]. The name is that of Linux's tracer.

use core::panic::Location;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Relaxed};

use crate::arch::tsc::ticks;

/// Whether stretches are traced.
pub const IS_BUILT_IN: bool = cfg!(feature = "irqsoff");

/// Places that a CPU tells apart: some hundred lines of the kernel turn interrupts off. Stretches past that are counted
/// as not placed.
const PLACES: usize = if IS_BUILT_IN { 256 } else { 0 };

/// The stretches that began at one place on one CPU.
pub struct Place {
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

    /// Returns the line; `None` of a place that no stretch has taken.
    pub fn line(&self) -> Option<&'static Location<'static>> {
        // SAFETY: only `Trace::slot` writes the pointer, from a reference that lives permanently.
        unsafe { self.line.load(Relaxed).as_ref() }
    }

    /// Returns the longest stretch, in ticks of the TSC.
    pub fn longest(&self) -> u64 {
        self.longest.load(Relaxed)
    }

    /// Returns how many stretches began there.
    pub fn times(&self) -> u64 {
        self.times.load(Relaxed)
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
    /// Returns a trace of nothing.
    pub const fn new() -> Self {
        Self {
            line: AtomicPtr::new(core::ptr::null_mut()),
            since: AtomicU64::new(0),
            places: [const { Place::new() }; PLACES],
            unplaced: AtomicU64::new(0),
        }
    }

    /// Begins a stretch: the CPU has turned interrupts off at `line`; they were on.
    #[inline(always)]
    pub fn begin(&self, line: &'static Location<'static>) {
        if IS_BUILT_IN {
            self.line.store(core::ptr::from_ref(line).cast_mut(), Relaxed);
            self.since.store(ticks(), Relaxed);
        }
    }

    /// Ends the stretch: the CPU is about to turn interrupts on.
    #[inline(always)]
    pub fn end(&self) {
        if IS_BUILT_IN {
            self.note(ticks());
        }
    }

    /// Begins the stretch of an interrupt's handler at the caller's line; it ends when the result is dropped.
    #[inline(always)]
    #[track_caller]
    pub fn handler(&self) -> Handler<'_> {
        self.begin(Location::caller());
        Handler(self)
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

    /// Returns the places that have been told apart, and those not taken yet.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Returns how many stretches began at places past those that there is room for.
    pub fn unplaced(&self) -> u64 {
        self.unplaced.load(Relaxed)
    }

    /// Returns the slot of a line, taken where it has none yet.
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
    pub fn reset(&self) {
        self.places.iter().for_each(|place| {
            place.longest.store(0, Relaxed);
            place.times.store(0, Relaxed);
        });
        self.unplaced.store(0, Relaxed);
    }
}

/// The stretch of an interrupt's handler, which the CPU began with interrupts off.
pub struct Handler<'a>(&'a Trace);

impl Drop for Handler<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.end();
    }
}
