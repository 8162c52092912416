//! The kernel's log: the klog crate's rings, this machine's clock, the console.
//!
//! Everything down to debug level is kept for `dmesg`; the console shows what the command line asks for. One CPU at a
//! time shows, out of the rings, what all have logged ([`Turn`]), so lines do not mix, and no CPU waits for another. A
//! record that is logged with interrupts off (in a handler, under a lock) is only kept: a line takes milliseconds. It
//! is shown when a CPU next logs with interrupts on, idles, or ends a command; and in any case before the machine
//! stops.

use core::fmt::{self, Write};
use core::panic::Location;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use log::LevelFilter;
use rhumb_klog::{Host, Log, Record, Records, Ring, Sink, Slot, Turn};
use rhumb_machine::{CpuId, impossible};
use spin::mutex::SpinMutex;
use x86_64::instructions::interrupts;

use super::console;
use crate::cpu::area::LOG_SLOTS;
use crate::cpu::{area, clock};

/// Records of the boot CPU and of each CPU that has no ring yet: a whole boot at debug level fits several times.
const BOOT_SLOTS: usize = 256;
/// Places that cannot be reached are logged up to this many times: half of what a CPU's own ring keeps.
const IMPOSSIBLE_LOGGED: u64 = LOG_SLOTS as u64 / 2;

/// This machine, as the log sees it.
pub struct Here;

impl Host for Here {
    fn cpu(&self) -> CpuId {
        area::cpu_now()
    }

    fn now_ns(&self) -> u64 {
        clock::now_ns()
    }
}

/// The console.
pub struct Console;

impl Sink for Console {
    fn write(&self, _: &Record) {
        TURN.ask();
        if interrupts::are_enabled() || !LEAVES_LINES.load(Relaxed) {
            show_waiting();
        }
    }
}

static TURN: Turn = Turn::new();
/// How far the console has come in the rings. Locked by the CPU whose turn it is alone.
static SHOWN: SpinMutex<Records<'static, Here, Console>> = SpinMutex::new(Records::from_the_first(&LOG));
/// Whether lines that are logged with interrupts off wait: not while the kernel comes up with interrupts off.
static LEAVES_LINES: AtomicBool = AtomicBool::new(false);

/// Lets lines that are logged with interrupts off wait, from now on.
pub fn leave_lines() {
    LEAVES_LINES.store(true, Relaxed);
}

/// Shows what has been logged and waits for it. One load where nothing does.
pub fn show_waiting() {
    TURN.run(|| {
        let Some(mut shown) = SHOWN.try_lock() else { return };
        shown.refresh();
        for record in shown.by_ref().filter(|record| LOG.is_shown(record.level())) {
            // The console takes everything.
            let _ = writeln!(console::Writer, "{record}");
        }
    });
}

static SLOTS: [Slot; BOOT_SLOTS] = [const { Slot::new() }; BOOT_SLOTS];
static LOG: Log<Here, Console> = Log::new(Here, Console, Ring::new(&SLOTS));

/// Makes this the log. Once, at boot.
pub fn init() {
    LOG.keep(LevelFilter::Debug);
    impossible::set_handler(&(log_impossible as impossible::Handler));
    if LOG.install().is_err() {
        impossible!("there is a log already");
    }
}

/// Logs a place that cannot be reached and was: the kernel goes on. The first of them tell the story; the rest are
/// counted alone, so that a place that is reached over and over (by the log itself, too) leaves room for other records.
fn log_impossible(why: fmt::Arguments<'_>, place: &'static Location<'static>) {
    if impossible::count() <= IMPOSSIBLE_LOGGED {
        log::error!("this cannot be: {why} ({}:{})", place.file(), place.line());
    }
}

/// Shows records of this level and graver on the console.
pub fn show(level: LevelFilter) {
    LOG.show(level);
    LOG.keep(level.max(LevelFilter::Debug));
}

/// Gives a CPU its own ring.
pub fn attach(cpu: CpuId, ring: &'static Ring<'static>) {
    if LOG.attach(cpu, ring).is_err() {
        impossible!("CPU {} has a ring already: its area is made once", cpu);
    }
}

/// Returns the records of all CPUs, oldest first.
pub fn records() -> Records<'static, Here, Console> {
    LOG.records()
}

/// Writes the last `MOST` records that the console was not to show. A report on a short stack may ask.
pub fn write_unshown<const MOST: usize>(out: &mut dyn Write) -> core::fmt::Result {
    let mut unshown = LOG.newest::<MOST>(|record| !LOG.is_shown(record.level())).peekable();
    if unshown.peek().is_some() {
        writeln!(out, "the last records of the log that were not shown:")?;
    }
    unshown.try_for_each(|record| writeln!(out, "  {record}"))
}

/// Returns how many records have been overwritten by later ones.
pub fn lost() -> u64 {
    LOG.lost()
}
