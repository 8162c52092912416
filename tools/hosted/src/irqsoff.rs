//! How long interrupts are off, by the place that turned them off.
//!
//! A stretch begins where the CPU's first guard is made ([`Machine::irq_off`](crate::Machine::irq_off)) and ends with
//! its last guard. Its place is the line that made the first guard. Time is that of the thread, so that a host that
//! lets another thread run meanwhile adds nothing; reading the clock adds some 200 ns to each stretch.
//!
//! ```
//! # use rhumb_hosted::{HostedMachine, Machine};
//! # use rhumb_machine::CpuId;
//! # let machine = HostedMachine::builder().cpus(1).ram_bytes(1 << 20).build().unwrap();
//! machine.enter(CpuId::BOOT, |cpu| {
//!     let (_, stretches) = cpu.trace_irqs_off(|| {
//!         let _short = machine.irq_off();
//!     });
//!     for stretch in &stretches {
//!         println!("{stretch}");
//!     }
//!     assert_eq!(stretches.len(), 1);
//! }).unwrap();
//! ```
//!
//! A test of what is bounded compares a count with a count, never a time with a limit: say, that the longest stretch
//! over 64 GiB is that over 1 GiB, by many repetitions of both.
//!
//! Without the crate's feature `interrupts` nothing is traced.

use core::fmt;
use core::panic::Location;
use core::ptr::NonNull;

use rhumb_machine::impossible;

use crate::thread::{OnStack, THIS, ThisThread};

/// The stretches with interrupts off that began at one place.
#[derive(Clone, Copy, Debug)]
pub struct IrqsOff {
    /// The line that turned interrupts off.
    pub place: &'static Location<'static>,
    /// The longest stretch, in nanoseconds.
    pub longest_ns: u64,
    /// How many stretches there were.
    pub times: u64,
}

impl fmt::Display for IrqsOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ns at most, {} times, from {}", self.longest_ns, self.times, self.place)
    }
}

/// One stretch with interrupts off.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    /// The line that turned interrupts off.
    pub place: &'static Location<'static>,
    /// Its length, in nanoseconds.
    pub ns: u64,
}

/// A trace under way, on the stack of [`run`].
#[derive(Debug, Default)]
struct Tracer {
    begun: Option<(&'static Location<'static>, u64)>,
    places: Vec<IrqsOff>,
    /// Every stretch, where they are wanted one by one.
    each: Option<Vec<Stretch>>,
}

/// The address of a [`Tracer`]: it is reachable only while [`run`] has not returned.
type Tracing = NonNull<Tracer>;

/// Returns for how many nanoseconds this thread has run.
fn thread_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is ours and whole. The clock is there on each Linux; were it not, all times would be 0.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Notes that interrupts, which were on, are about to be turned off.
#[inline(always)]
pub(crate) fn begin(this: &ThisThread, place: &'static Location<'static>) {
    if let Some(tracing) = this.tracer.get() {
        with(this, tracing.cast(), |tracer| tracer.begun = Some((place, thread_ns())));
    }
}

/// Interrupts have been turned on.
#[inline(always)]
pub(crate) fn end(this: &ThisThread) {
    if let Some(tracing) = this.tracer.get() {
        with(this, tracing.cast(), Tracer::note);
    }
}

#[cold]
#[inline(never)]
fn with(this: &ThisThread, mut tracing: Tracing, work: impl FnOnce(&mut Tracer)) {
    // A storm's handler that strikes here is not traced: it finds the cell empty.
    this.tracer.set(None);
    // SAFETY: `run` keeps the tracer alive while it is in the thread's cell, where it was just now; it has been taken
    // out of the cell, so that no other code reaches it until the line below puts it back.
    work(unsafe { tracing.as_mut() });
    this.tracer.set(Some(tracing.cast()));
}

impl Tracer {
    fn note(&mut self) {
        let Some((place, since)) = self.begun.take() else { return };
        let ns = thread_ns().saturating_sub(since);
        if let Some(each) = &mut self.each {
            return each.push(Stretch { place, ns });
        }
        match self.places.iter_mut().find(|known| known.place == place) {
            Some(known) => {
                known.longest_ns = known.longest_ns.max(ns);
                known.times += 1;
            }
            None => self.places.push(IrqsOff { place, longest_ns: ns, times: 1 }),
        }
    }
}

/// Puts a tracer, or none, into the thread's cell when dropped, also when code panics.
struct Restore(Option<OnStack>);

impl Drop for Restore {
    fn drop(&mut self) {
        THIS.with(|this| this.tracer.set(self.0));
    }
}

/// Runs `body` with each stretch of this thread measured: the longest of each place, the longest of all first.
pub(crate) fn traced<T>(body: impl FnOnce() -> T) -> (T, Vec<IrqsOff>) {
    let (result, Tracer { mut places, .. }) = run(Tracer::default(), body);
    places.sort_by_key(|place| core::cmp::Reverse(place.longest_ns));
    (result, places)
}

/// Runs `body` with each stretch of this thread measured, in the order in which they came.
pub(crate) fn traced_each<T>(body: impl FnOnce() -> T) -> (T, Vec<Stretch>) {
    let (result, tracer) = run(Tracer { each: Some(Vec::new()), ..Tracer::default() }, body);
    (result, tracer.each.unwrap_or_else(|| impossible!("the tracer was made with a list" => Vec::new())))
}

fn run<T>(mut tracer: Tracer, body: impl FnOnce() -> T) -> (T, Tracer) {
    let tracing = NonNull::from(&mut tracer);
    let result = {
        let _before = Restore(THIS.with(|this| this.tracer.replace(Some(tracing.cast()))));
        body()
    };
    // SAFETY: the pointer is that of the local above; it is in no cell any more.
    let tracer = core::mem::take(unsafe { &mut *tracing.as_ptr() });
    (result, tracer)
}
