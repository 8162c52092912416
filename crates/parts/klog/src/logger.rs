//! [`Log`]: the back end of the `log` facade: one ring per CPU, one console.

use core::ops::Range;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use ::log::{LevelFilter, Metadata};
use once_cell::race::OnceRef;
use rhumb_machine::{CpuId, MAX_CPUS};

use crate::record::Record;
use crate::ring::Ring;

/// The log's view of the machine. Called from any context, also before a CPU's data exist: it then answers
/// [`CpuId::BOOT`] and the best time it has.
pub trait Host: Send + Sync {
    /// Returns the CPU that runs the caller. An answer that is out of date a moment later does no harm.
    fn cpu(&self) -> CpuId;

    /// Returns the nanoseconds since boot.
    fn now_ns(&self) -> u64;
}

/// Where records are shown as they are logged: the console.
pub trait Sink: Send + Sync {
    /// Shows `record`, which is in its ring already if it is kept. Called from any context: it never waits, neither for
    /// a lock that the interrupted code may hold nor for another CPU, but leaves the record to a later reader of the
    /// ring (a [`Turn`](crate::Turn) tells which). It does not log.
    fn write(&self, record: &Record);
}

/// A ring is attached to this CPU already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AlreadyAttached(pub CpuId);

impl core::fmt::Display for AlreadyAttached {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "CPU {} has a log ring already", self.0)
    }
}

impl core::error::Error for AlreadyAttached {}

/// The log of a kernel, made for a `static`:
///
/// ```
/// # use rhumb_klog::{Host, Log, Record, Ring, Sink, Slot};
/// # use rhumb_machine::CpuId;
/// # struct Kernel;
/// # impl Host for Kernel { fn cpu(&self) -> CpuId { CpuId::BOOT } fn now_ns(&self) -> u64 { 123_456_789 } }
/// # impl Sink for Kernel { fn write(&self, record: &Record) { println!("{record}") } }
/// static SLOTS: [Slot; 256] = [const { Slot::new() }; 256];
/// static LOG: Log<Kernel, Kernel> = Log::new(Kernel, Kernel, Ring::new(&SLOTS));
///
/// LOG.install().unwrap();
/// log::info!("direct map: {} of 1 GiB", 32);
/// assert_eq!(LOG.records().next().unwrap().to_string(), "[    0.123456] direct map: 32 of 1 GiB");
/// ```
pub struct Log<H, S> {
    host: H,
    console: S,
    boot: Ring<'static>,
    rings: [OnceRef<'static, Ring<'static>>; MAX_CPUS],
    /// Past the last CPU that has a ring of its own: readers look no further.
    ring_end: AtomicUsize,
    /// How many records were written to the rings of each group: readers look at those alone whose number has changed.
    written: [AtomicU64; GROUPS],
    kept: AtomicUsize,
    shown: AtomicUsize,
}

impl<H: Host, S: Sink> Log<H, S> {
    /// Returns a log that keeps records in `boot` until CPUs have rings of their own. Keeps and shows `Info` and
    /// graver.
    pub const fn new(host: H, console: S, boot: Ring<'static>) -> Self {
        Self {
            host,
            console,
            boot,
            rings: [const { OnceRef::new() }; MAX_CPUS],
            ring_end: AtomicUsize::new(0),
            written: [const { AtomicU64::new(0) }; GROUPS],
            kept: AtomicUsize::new(LevelFilter::Info as usize),
            shown: AtomicUsize::new(LevelFilter::Info as usize),
        }
    }

    /// Becomes the logger behind `log`'s macros; fails if there is one.
    pub fn install(&'static self) -> Result<(), ::log::SetLoggerError> {
        ::log::set_logger(self)?;
        self.publish_level();
        Ok(())
    }

    /// Gives `cpu` a ring of its own. CPUs without one, the boot CPU among them, share the first.
    pub fn attach(&self, cpu: CpuId, ring: &'static Ring<'static>) -> Result<(), AlreadyAttached> {
        self.rings[cpu.index()].set(ring).map_err(|()| AlreadyAttached(cpu))?;
        self.ring_end.fetch_max(cpu.index() + 1, Ordering::Release);
        Ok(())
    }

    /// Keeps records of this level and graver.
    pub fn keep(&self, level: LevelFilter) {
        self.kept.store(level as usize, Ordering::Relaxed);
        self.publish_level();
    }

    /// Shows records of this level and graver on the console.
    pub fn show(&self, level: LevelFilter) {
        self.shown.store(level as usize, Ordering::Relaxed);
        self.publish_level();
    }

    /// Tells whether records of this level are shown on the console.
    pub fn is_shown(&self, level: ::log::Level) -> bool {
        level as usize <= self.shown.load(Ordering::Relaxed)
    }

    /// Logs a message past the filters of `log`'s macros, not past those of this log.
    pub fn log(&self, level: ::log::Level, target: &str, message: core::fmt::Arguments<'_>) {
        let is_kept = level as usize <= self.kept.load(Ordering::Relaxed);
        let is_shown = level as usize <= self.shown.load(Ordering::Relaxed);
        if !is_kept && !is_shown {
            return;
        }
        let cpu = self.host.cpu();
        let record = Record::new(self.host.now_ns(), cpu, level, target, message);
        if is_kept {
            self.keep_record(&record);
        }
        if is_shown {
            self.console.write(&record);
        }
    }

    /// Returns how many records were kept and are gone: overwritten by later ones.
    pub fn lost(&self) -> u64 {
        self.rings().map(Ring::lost).sum()
    }

    /// Returns the console, which can be asked to show records that it could not show when they were logged.
    pub const fn console(&self) -> &S {
        &self.console
    }

    pub(crate) const fn host(&self) -> &H {
        &self.host
    }

    /// Returns the ring with this number: 0 is the shared one, `n + 1` that of CPU `n`.
    pub(crate) fn ring(&self, number: usize) -> Option<&Ring<'static>> {
        match number.checked_sub(1) {
            None => Some(&self.boot),
            Some(cpu) => self.rings.get(cpu)?.get(),
        }
    }

    /// Returns the numbers of all rings that there are, and a few of rings that there are not.
    pub(crate) fn ring_numbers(&self) -> Range<usize> {
        0..self.ring_end.load(Ordering::Acquire) + 1
    }

    fn rings(&self) -> impl Iterator<Item = &Ring<'static>> {
        self.ring_numbers().filter_map(|number| self.ring(number))
    }

    /// Returns how many records were written to the rings of each group.
    pub(crate) fn written(&self) -> impl Iterator<Item = u64> {
        let groups = self.ring_numbers().end.div_ceil(GROUP_RINGS);
        self.written.iter().take(groups).map(|written| written.load(Ordering::Acquire))
    }

    fn keep_record(&self, record: &Record) {
        let own = record.cpu().index() + 1;
        let (number, ring) = self.ring(own).map_or((0, &self.boot), |ring| (own, ring));
        ring.write(record);
        // Release: a reader that sees the number finds the record.
        self.written[number / GROUP_RINGS].fetch_add(1, Ordering::Release);
    }

    fn publish_level(&self) {
        let most = self.kept.load(Ordering::Relaxed).max(self.shown.load(Ordering::Relaxed));
        let level = LevelFilter::iter().find(|&level| level as usize == most);
        ::log::set_max_level(level.unwrap_or(LevelFilter::Off));
    }
}

/// The most rings: the shared one, and one for each CPU.
pub(crate) const RINGS: usize = MAX_CPUS + 1;
/// Rings of a group: a reader looks at so many for a record, and so many CPUs share the line of a count.
pub(crate) const GROUP_RINGS: usize = 64;
/// Groups of rings, the last of which may be smaller.
pub(crate) const GROUPS: usize = RINGS.div_ceil(GROUP_RINGS);

impl<H: Host, S: Sink> ::log::Log for Log<H, S> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let most = self.kept.load(Ordering::Relaxed).max(self.shown.load(Ordering::Relaxed));
        metadata.level() as usize <= most
    }

    fn log(&self, record: &::log::Record<'_>) {
        self.log(record.level(), record.target(), *record.args());
    }

    fn flush(&self) {}
}
