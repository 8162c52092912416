//! The prompt: bytes of the console go in, commands run, text comes out.
//!
//! The machinery is the monitor crate's; here are the commands, a file for each subject:
//!
//! | module | commands |
//! |---|---|
//! | [`memory`] | `meminfo`, `memmap`, `maps`, `walk` |
//! | [`peek`] | `peek` |
//! | [`audit`] | `maps audit` |
//! | [`frames`] | `buddyinfo`, `zoneinfo`, `frames` |
//! | [`objects`] | `slabinfo`, `slabs` |
//! | [`directmap`] | `directmap` |
//! | [`code`] | `code` |
//! | [`long_map`] | `longmap` |
//! | [`kernel_map`] | `kmap`, `vmallocinfo` |
//! | [`pageable`] | `pageable` |
//! | [`kmem`] | `kmem` |
//! | [`cpus`] | `cpus`, `cpuid`, `uptime` |
//! | `speculation` | `cpus speculation` |
//! | [`threads`] | `ps` |
//! | [`vmstat`] | `vmstat` |
//! | [`bpf`] | `bpf` |
//! | [`random`] | no command, but the random numbers of some |
//! | [`irqsoff`], `kasan` | findings of these two, in kernels built with them |
//! | [`log`] | `dmesg` |
//! | [`ram_disk`] | `ls` |
//! | `modules` | `modules`, `insmod`, `rmmod` |
//! | [`stop`] | `poweroff`, `reboot`, `panic` |
//!
//! Commands of the laboratory are added by `main`.
//!
//! In batch mode (for scripts) there is no prompt; one ENQ byte (0x05) tells the other side that the kernel reads,
//! since bytes that arrive before the UART is programmed are lost. At the end of input the machine turns off, and the
//! exit port says whether every command succeeded.

pub mod audit;
mod bpf;
mod code;
mod cpus;
pub mod directmap;
pub mod frames;
mod irqsoff;
#[cfg(feature = "kasan")]
mod kasan;
mod kernel_map;
mod kmem;
mod log;
mod long_map;
mod memory;
mod modules;
pub mod objects;
mod pageable;
mod peek;
mod ram_disk;
pub mod random;
mod speculation;
mod stop;
mod threads;
pub mod vmstat;

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rhumb_monitor::{Alias, Command, Commands, Mode, Monitor, Output, Progress};
use spin::Mutex;

use crate::cpu::clock;
use crate::facts::Boot;
use crate::mm;
use crate::modules::commands::ModuleCommands;
use crate::modules::ticks;
use crate::platform::power::{self, Outcome};
use crate::platform::{console, logging, screen};
use crate::task::{self, idle};

/// As a terminal has them of which nothing is known.
const TERMINAL_COLUMNS: usize = 80;
const PROMPT: &str = "rhumb> ";
/// Tells a script's side that the kernel reads its input.
const READY: &str = "\x05";

/// The context of the commands.
pub struct Kernel {
    pub boot: &'static Boot,
}

const COMMANDS: Commands<Kernel> = Commands::new(&[
    memory::COMMANDS,
    peek::COMMANDS,
    frames::COMMANDS,
    objects::COMMANDS,
    directmap::COMMANDS,
    code::COMMANDS,
    long_map::COMMANDS,
    kernel_map::COMMANDS,
    pageable::COMMANDS,
    kmem::COMMANDS,
    cpus::COMMANDS,
    threads::COMMANDS,
    vmstat::COMMANDS,
    bpf::COMMANDS,
    irqsoff::COMMANDS,
    log::COMMANDS,
    ram_disk::COMMANDS,
    modules::COMMANDS,
    stop::COMMANDS,
    #[cfg(feature = "kasan")]
    kasan::COMMANDS,
]);

/// A command has asked for the end: what follows it is not run.
static ENDS: AtomicBool = AtomicBool::new(false);
/// And for a new start.
static RESTARTS: AtomicBool = AtomicBool::new(false);

/// The sequel of the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    TurnOff,
    Restart,
}

/// Ends once the running command has returned, so that the outcome tells how all that was run went.
pub fn end(then: Then) {
    RESTARTS.store(then == Then::Restart, Relaxed);
    ENDS.store(true, Relaxed);
}

/// Static, since it is larger than a stack should hold.
static MONITOR: Mutex<Monitor<Kernel>> = Mutex::new(Monitor::new(PROMPT, COMMANDS, Mode::Interactive));

/// The console as commands see it.
struct Console;

impl Output for Console {
    fn write_str(&mut self, text: &str) {
        console::write(text);
    }

    fn interrupted(&self) -> bool {
        ENDS.load(Relaxed) || console::is_interrupted()
    }
}

/// Waits for a byte at the prompt: tidies up, and waits until an interrupt has come or `alarm_ns` have passed; not at
/// all where `is_ready` says so.
pub fn wait(mut is_ready: impl FnMut() -> bool, alarm_ns: Option<u64>) {
    idle::tidy_up();
    if mm::objects::trim_if_due() {
        mm::kernel_map::trim();
        mm::direct_map::table_supply::free_kept_if_quiet();
    }
    if task::console::wait(&mut is_ready, alarm_ns).is_ok() {
        return;
    }
    // There are no threads.
    idle::wait_for_interrupt(|| {
        let is_ready = is_ready();
        // With interrupts off: an alarm that came before the halt would be missed, and be the last.
        if !is_ready && let Some(ns) = alarm_ns {
            clock::arm_ns(ns);
        }
        is_ready
    });
}

/// Commands beside those of this module, and other ways to type them.
pub struct More {
    pub commands: &'static [Command<Kernel>],
    pub aliases: &'static [Alias],
}

/// Reads and runs commands, these and `more`, until the input ends, then turns the machine off.
pub fn run(boot: &'static Boot, more: More) -> ! {
    let mut monitor = MONITOR.lock();
    monitor.set_more_commands(more.commands);
    monitor.set_aliases(more.aliases);
    monitor.set_changing_commands(&ModuleCommands);
    // The line editor keeps to the narrower of the screen and the terminal at the serial line's other end.
    if let Some(columns) = screen::columns().filter(|&columns| columns < TERMINAL_COLUMNS) {
        monitor.set_columns(columns);
    }
    let mut kernel = Kernel { boot };
    let out = &mut Console;
    if boot.options.batch {
        monitor.set_mode(Mode::Batch);
        out.write_str(READY);
    } else {
        out.write_str("\nType 'help' for the commands, Tab to complete, Ctrl-D to turn the machine off.\n");
    }
    monitor.start(out);
    loop {
        logging::show_waiting();
        ticks::run_due();
        let Some(byte) = console::read() else {
            // No idle trimming in batch mode: the input never pauses for long, and runs must be repeatable.
            let next_trim = (!boot.options.batch).then(mm::objects::ns_to_next_trim);
            let alarm = next_trim.into_iter().chain(ticks::ns_to_next()).chain([console::poll_ns()]).min();
            wait(console::has_input, alarm);
            continue;
        };
        console::clear_interrupt();
        let progress = monitor.feed(byte, &mut kernel, out);
        if matches!(progress, Progress::End(_)) || ENDS.load(Relaxed) {
            // A person has read what failed; a script is told by the exit status.
            let all_well = !boot.options.batch || monitor.failures() == 0;
            let outcome = if all_well { Outcome::Success } else { Outcome::Failed };
            if RESTARTS.load(Relaxed) {
                power::reset(boot.options.batch.then_some(outcome));
            }
            power::off(outcome);
        }
    }
}
