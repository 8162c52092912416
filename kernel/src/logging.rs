//! The kernel's log: the klog crate's rings, this machine's clock, the serial console.
//!
//! Everything down to debug level is kept for `dmesg`; the console shows what the command line asks for. Lines of
//! different CPUs do not mix: one CPU at a time shows. A record logged by an interrupt that came while its own CPU was
//! showing is only kept.

use core::fmt::Write;
use core::sync::atomic::{
    AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

use log::LevelFilter;
use rhumb_klog::{Host, Log, Record, Records, Ring, Sink, Slot};
use rhumb_machine::CpuId;

use crate::arch::{clock, percpu};
use crate::console;
use crate::smp::call;

/// Records of the boot CPU and of whoever has no ring yet: a whole boot at debug level fits several times.
const BOOT_SLOTS: usize = 256;
/// Records of each other CPU, which have little to say.
pub const SLOTS_PER_CPU: usize = 16;

/// This machine, as the log sees it.
pub struct Here;

impl Host for Here {
    fn cpu(&self) -> CpuId {
        percpu::here().id()
    }

    fn now_ns(&self) -> u64 {
        clock::now_ns()
    }
}

/// The console, one line at a time.
pub struct Screen {
    /// The CPU that shows, plus 1; 0 while nobody does.
    owner: AtomicUsize,
}

impl Sink for Screen {
    fn write(&self, record: &Record) {
        let me = percpu::here().id().index() + 1;
        while self.owner.compare_exchange(0, me, Acquire, Relaxed).is_err() {
            if self.owner.load(Relaxed) == me {
                return;
            }
            call::serve_if_here();
            core::hint::spin_loop();
        }
        // The console takes everything.
        let _ = writeln!(console::Writer, "{record}");
        self.owner.store(0, Release);
    }
}

static SLOTS: [Slot; BOOT_SLOTS] = [const { Slot::new() }; BOOT_SLOTS];
static LOG: Log<Here, Screen> = Log::new(Here, Screen { owner: AtomicUsize::new(0) }, Ring::new(&SLOTS));

/// Makes this the log. Once, at boot.
pub fn init() {
    LOG.keep(LevelFilter::Debug);
    // It fails only where there is a log already, which is this one.
    let _ = LOG.install();
}

/// Shows records of this level and graver on the console.
pub fn show(level: LevelFilter) {
    LOG.show(level);
    LOG.keep(level.max(LevelFilter::Debug));
}

/// Gives a CPU its own ring.
pub fn attach(cpu: CpuId, ring: &'static Ring<'static>) {
    // Each CPU's area is made once; a second ring would only be left unused.
    let _ = LOG.attach(cpu, ring);
}

/// What is kept, of all CPUs, oldest first.
pub fn records() -> Records<'static, Here, Screen> {
    LOG.records()
}

/// How many records have been overwritten by later ones.
pub fn lost() -> u64 {
    LOG.lost()
}
