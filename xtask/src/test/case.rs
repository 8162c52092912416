//! A kernel test: a machine, commands for its monitor, and the output and end that they must have.

use std::time::Duration;

use super::expect::Expect;
use crate::cli::Contents;
use crate::machine::{Board, Boot, Machine, MemorySize, Serial};

/// How the run must end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ends {
    /// All commands succeed.
    Succeeding,
    /// A command fails.
    Failing,
    /// The kernel panics, and says so.
    Panicking,
    /// The kernel says that it cannot run there.
    Refusing,
    /// The machine turns off by itself, and the exit port hears nothing.
    TurnedOff,
}

/// The end of a screen's text when its lines have been typed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Seen {
    /// The prompt; the machine is turned off there.
    Prompt,
    /// The kernel's last words; it has halted, and nothing turns it off.
    Halted,
}

/// Keys that are pressed on a machine with a screen, which is compared after each line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScreenTest {
    /// The mode that GRUB sets, in its words.
    pub(crate) graphics: &'static str,
    /// Bits of a pixel in that mode.
    pub(crate) pixel_bits: u8,
    /// The keys by QEMU's names, separated by blanks; each line ends with a command's end.
    pub(crate) lines: &'static [&'static str],
    /// The text on the screen at the end, where there is no serial line that would tell it.
    pub(crate) answer: Option<&'static str>,
    pub(crate) ends: Seen,
}

/// How long a test takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Length {
    /// Seconds: it is always run.
    Seconds,
    /// Minutes: only with `--soak`.
    Minutes,
}

/// One kernel test.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) machine: Machine,
    pub(crate) contents: Contents,
    /// Whether there is a RAM disk: that of [`super::disk`]. An ISO has one in any case.
    pub(crate) has_ram_disk: bool,
    /// Words for the kernel's command line.
    pub(crate) append: String,
    /// The commands for the monitor.
    pub(crate) commands: Vec<String>,
    pub(crate) ends: Ends,
    pub(crate) expectations: Vec<Expect>,
    pub(crate) limit: Duration,
    pub(crate) length: Length,
    /// Whether the kernel must take a step that it calls impossible; in any other case, none may be taken.
    pub(crate) takes_impossible_step: bool,
    /// When this text has come, QEMU's monitor gets this command, once.
    pub(crate) injection: Option<(&'static str, &'static str)>,
    /// The kernel's prompt is interactive, and keys are pressed there.
    pub(crate) screen: Option<ScreenTest>,
}

impl Case {
    /// Returns `kernel/NAME`: these commands on the usual machine, all of which succeed.
    pub(crate) fn new(name: impl AsRef<str>, commands: &str) -> Self {
        Self {
            name: format!("kernel/{}", name.as_ref()),
            machine: Machine::default(),
            contents: Contents::WithLab,
            has_ram_disk: false,
            append: String::new(),
            commands: crate::run::split(commands),
            ends: Ends::Succeeding,
            expectations: Vec::new(),
            // A machine boots in half a second on a quiet host; a busy one with two cores is another matter.
            limit: Duration::from_secs(240),
            length: Length::Seconds,
            takes_impossible_step: false,
            injection: None,
            screen: None,
        }
    }

    /// Boots the kernel alone, as it is given away.
    pub(crate) fn product(mut self) -> Self {
        self.contents = Contents::Product;
        self
    }

    /// Gives the machine the RAM disk of the tests.
    pub(crate) fn ram_disk(mut self) -> Self {
        self.has_ram_disk = true;
        self
    }

    pub(crate) fn cpus(mut self, cpus: u32) -> Self {
        self.machine.cpus = cpus;
        self
    }

    pub(crate) fn memory(mut self, memory: MemorySize) -> Self {
        self.machine.memory = memory;
        self
    }

    pub(crate) fn nodes(mut self, nodes: u32) -> Self {
        self.machine.nodes = nodes;
        self
    }

    /// Leaves the last nodes, so many of them, without memory.
    pub(crate) fn memoryless(mut self, nodes: u32) -> Self {
        self.machine.memoryless_nodes = nodes;
        self
    }

    /// Takes another of QEMU's boards.
    pub(crate) fn board(mut self, board: Board) -> Self {
        self.machine.board = board;
        self
    }

    pub(crate) fn cpu(mut self, model: &str) -> Self {
        self.machine.cpu_model = model.into();
        self
    }

    pub(crate) fn serial(mut self, serial: Serial) -> Self {
        self.machine.serial = serial;
        self
    }

    /// Adds words for QEMU, separated by blanks.
    pub(crate) fn devices(mut self, words: &'static str) -> Self {
        self.machine.devices = words;
        self
    }

    /// Gives QEMU's monitor `command` when the console has shown `text`.
    pub(crate) fn when(mut self, text: &'static str, command: &'static str) -> Self {
        self.injection = Some((text, command));
        self
    }

    /// Presses keys at an interactive prompt and compares the screen.
    pub(crate) fn screen(mut self, test: ScreenTest) -> Self {
        self.screen = Some(test);
        self
    }

    pub(crate) fn boot(mut self, boot: Boot) -> Self {
        self.machine.boot = boot;
        // Firmware takes its time under emulation.
        self.limit = Duration::from_secs(300);
        self
    }

    /// Allows the case so many seconds, on a busy host.
    pub(crate) fn within(mut self, seconds: u64) -> Self {
        self.limit = Duration::from_secs(seconds);
        self
    }

    /// Runs the case only with `--soak`, and allows it `minutes`.
    pub(crate) fn soak(mut self, minutes: u64) -> Self {
        self.length = Length::Minutes;
        self.within(minutes * 60)
    }

    /// Demands that the kernel takes a step that it calls impossible.
    pub(crate) fn takes_impossible_step(mut self) -> Self {
        self.takes_impossible_step = true;
        self
    }

    pub(crate) fn append(mut self, words: &str) -> Self {
        self.append = words.into();
        self
    }

    pub(crate) fn ends(mut self, ends: Ends) -> Self {
        self.ends = ends;
        self
    }

    pub(crate) fn expect(mut self, expectations: impl IntoIterator<Item = Expect>) -> Self {
        self.expectations.extend(expectations);
        self
    }
}
