//! The commands and options.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand};

use crate::machine::{Accelerator, Board, Boot, MAX_CPUS, MAX_XAPIC_CPUS, Machine, MemorySize};

/// Builds, runs and tests the Rhumb microkernel.
///
/// The commands install what they need, where they may, and say so; `doctor` shows what that would be.
#[derive(Parser, Debug)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Boot the kernel in QEMU, with its console on this terminal.
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunOptions),
    /// Build the kernel: an ELF file for `qemu -kernel` and for multiboot2 loaders.
    Build(BuildCommand),
    /// Run the host's tests, then the kernel's on many machines in QEMU.
    #[command(after_help = TEST_EXAMPLES)]
    Test(TestOptions),
    /// Measure allocators and changes of the direct map on this machine, side by side with others.
    #[command(after_help = BENCH_EXAMPLES, disable_help_subcommand = true)]
    #[command(
        override_usage = "cargo xtask bench <WHAT> [OPTIONS OF THE BENCHMARK]",
        subcommand_help_heading = "WHAT"
    )]
    Bench(BenchOptions),
    /// Count the instructions of the kernel's operations, exactly and repeatably.
    #[command(after_help = COUNT_EXAMPLES)]
    Count(CountOptions),
    /// Study whether a direct map in small pages matters: on this machine, and in Rhumb's kernel.
    #[command(disable_help_flag = true, override_usage = "cargo xtask study <WHAT> [OPTIONS OF THE STUDY]")]
    Study(StudyOptions),
    /// Check everything that must hold: format, lints, documentation, tests.
    Check,
    /// Make an ISO that boots on PC hardware, from CD or USB stick, under BIOS and UEFI.
    #[command(after_help = IMAGE_EXAMPLES)]
    Image(ImageOptions),
    /// Build the loadable modules into the RAM disk, and print its path.
    Modules(ModulesOptions),
    /// Show what this machine has for building and running, what is missing, and how it would be had.
    Doctor,
}

const BENCH_EXAMPLES: &str = "\
Examples:
  cargo xtask bench frames                         page-frame allocators: a table of medians and ratios
  cargo xtask bench frames --quick                 the same in a few minutes
  cargo xtask bench frames --csv frames.csv        and every figure as CSV
  cargo xtask bench slab                           object allocators, those of user space among them (C and C++: the
                                                   first build takes minutes)
  cargo xtask bench ranges                         allocators of ranges of addresses
  cargo xtask bench directmap                      ways of changing the direct map: real mappings, and counts for 1 to 8 CPUs
  cargo xtask bench scale                          counts of the data that 1 to 256 CPUs share: the same in each run
  cargo xtask bench frames --help                  all options of this benchmark";

/// `cargo xtask bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchOptions {
    #[command(subcommand)]
    pub(crate) family: BenchFamily,
}

/// The family to measure. Each is a subcommand without a help of its own, so that the benchmark gets `--help`, too.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchFamily {
    /// Allocators of page frames.
    #[command(disable_help_flag = true)]
    Frames(BenchArguments),
    /// Allocators of objects, those of user space among them.
    #[command(disable_help_flag = true)]
    Slab(BenchArguments),
    /// Allocators of ranges of addresses.
    #[command(disable_help_flag = true)]
    Ranges(BenchArguments),
    /// Ways of changing the direct map.
    #[command(disable_help_flag = true)]
    Directmap(BenchArguments),
    /// Counts of the data that CPUs share: locks, cache lines, magazines.
    #[command(disable_help_flag = true)]
    Scale(BenchArguments),
}

/// Options of a benchmark, which the benchmark reads itself.
#[derive(Debug, Args)]
pub(crate) struct BenchArguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl BenchFamily {
    /// Returns the name by which the benchmarks know the family, and the options for it.
    pub(crate) fn name_and_arguments(&self) -> (&'static str, &[String]) {
        let (name, options) = match self {
            Self::Frames(options) => ("frames", options),
            Self::Slab(options) => ("slab", options),
            Self::Ranges(options) => ("ranges", options),
            Self::Directmap(options) => ("directmap", options),
            Self::Scale(options) => ("scale", options),
        };
        (name, &options.arguments)
    }
}

const COUNT_EXAMPLES: &str = "\
Examples:
  cargo xtask count                                all regions, on one CPU
  cargo xtask count --list                         which there are
  cargo xtask count frames tables/walk             those that begin with frames/, and one more
  cargo xtask count calls --cpus 8 --all-cpus      and what the called CPUs execute meanwhile
  cargo xtask count directmap pool --cpus 1-8      a column for each number of CPUs
  cargo xtask count directmap --cpus 8 --busy      the same with CPUs that run, and are interrupted
  cargo xtask count tables --mem --functions       loads, stores, cache lines; instructions by function
  cargo xtask count --csv count.csv                every figure as CSV";

/// `cargo xtask count`.
#[derive(Args, Debug)]
pub(crate) struct CountOptions {
    /// Regions by their names or first parts of them [default: all].
    #[arg(value_name = "REGION", value_parser = region)]
    pub(crate) regions: Vec<String>,
    /// Virtual CPUs; or several numbers of them, as 1,2,4 or 1-8: a column for each.
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) cpus: CpuCounts,
    /// Have the other CPUs run instead of idling, so that they are interrupted.
    #[arg(long)]
    pub(crate) busy: bool,
    /// Count loads, stores and cache lines of data, too.
    #[arg(long = "mem")]
    pub(crate) memory: bool,
    /// Show what other CPUs execute while a region is open.
    #[arg(long)]
    pub(crate) all_cpus: bool,
    /// Show the functions of each region.
    #[arg(long)]
    pub(crate) functions: bool,
    /// Write every figure to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// Words for the kernel's command line.
    #[arg(long, value_name = "WORDS", default_value = "")]
    pub(crate) append: String,
    /// Say which regions there are; measure none.
    #[arg(long)]
    pub(crate) list: bool,
    #[command(flatten)]
    pub(crate) build: BuildOptions,
}

/// With how many CPUs to count: at least one number, ascending.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CpuCounts(Vec<u32>);

impl CpuCounts {
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().copied()
    }
}

impl FromStr for CpuCounts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |word: &str| match word.parse() {
            Ok(cpus @ 1..=MAX_XAPIC_CPUS) => Ok(cpus),
            Ok(cpus @ 1..) => Err(format!(
                "{cpus} CPUs cannot be counted: more than {MAX_XAPIC_CPUS} need x2APICs, of which QEMU cannot keep the \
                 timers while it counts"
            )),
            _ => Err(format!("`{word}` is no number of CPUs from 1 to {MAX_XAPIC_CPUS}")),
        };
        let mut counts = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            counts.extend(number(first)?..=number(last)?);
        }
        if counts.is_empty() || !counts.is_sorted_by(|one, next| one < next) {
            return Err(format!("`{text}` does not ascend, as numbers of CPUs do in 1,2,4 or 1-8"));
        }
        Ok(Self(counts))
    }
}

/// Returns a region's name: a text that would not be one word of one command on the kernel's console is refused here.
fn region(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_');
    if text.is_empty() || !text.chars().all(plain) {
        return Err(format!(
            "`{text}` is no region: a name has letters, digits, `/`, `-` and `_` (see --list)"
        ));
    }
    Ok(text.into())
}

/// `cargo xtask study`: the arguments are the study's own, `--help` among them.
#[derive(Args, Debug)]
pub(crate) struct StudyOptions {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<String>,
}

const RUN_EXAMPLES: &str = "\
Examples:
  cargo xtask run                                  a prompt; Ctrl-A x ends the machine, Ctrl-C is the kernel's
  cargo xtask run --cpus 8 --mem 1T --nodes 4      more than the host has: memory is sparse
  cargo xtask run --cpu qemu64                     a CPU without 1-GiB pages
  cargo xtask run --machine microvm                a machine without PCI; or pc
  cargo xtask run --append directmap=4k            words for the kernel's command line
  cargo xtask run --exec 'meminfo; maps audit'     run these commands and power off
  echo meminfo | cargo xtask run                   the same from a pipe

Exit status: 0 all commands succeeded; 1 one failed, or the kernel panicked; 124 out of time;\n128 + N signal N.";

const TEST_EXAMPLES: &str = "\
Examples:
  cargo xtask test                                 everything; the last line is the count
  cargo xtask test --filter kernel/                the kernel's tests only
  cargo xtask test --filter memory/1T              tests with this in their names
  cargo xtask test --kasan                         the kernel's tests, every memory access checked
  cargo xtask test --irqsoff                       the same, and how long interrupts are off
  cargo xtask test --tsan                          the host's tests with threads, under ThreadSanitizer
  cargo xtask test --list                          the names of all tests";

const IMAGE_EXAMPLES: &str = "\
Examples:
  cargo xtask image                                target/rhumb.iso
  cargo xtask image --lab                          the same with self-tests, stress and counting
  cargo xtask image --append nogbpages --output small.iso
  sudo dd if=target/rhumb.iso of=/dev/sdX bs=1M    onto a USB stick";

/// Which tests to run.
#[derive(Args, Debug, Default)]
pub(crate) struct TestOptions {
    /// Only tests with this text in their names.
    #[arg(long, value_name = "TEXT")]
    pub(crate) filter: Option<String>,
    /// Print the names of the tests; run none.
    #[arg(long)]
    pub(crate) list: bool,
    /// Run the kernel's tests on a kernel with the checker of memory accesses (KASAN), and the checker's own.
    #[arg(long)]
    pub(crate) kasan: bool,
    /// Run the kernel's tests on a kernel that traces how long interrupts are off, and the tracer's own.
    #[arg(long)]
    pub(crate) irqsoff: bool,
    /// Run the host's tests of code that CPUs share, and no others, under ThreadSanitizer, which finds data races.
    #[arg(long, conflicts_with_all = ["kasan", "irqsoff", "soak"])]
    pub(crate) tsan: bool,
    /// Run the tests that take minutes each, too.
    #[arg(long)]
    pub(crate) soak: bool,
}

/// The contents of a kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Contents {
    /// The kernel alone.
    Product,
    /// Its laboratory, too: self-tests, stress, counting, faults on purpose.
    WithLab,
}

/// Which kernel to build.
#[derive(Args, Debug)]
pub(crate) struct BuildCommand {
    /// Build the laboratory in: self-tests, stress, counting, faults on purpose.
    #[arg(long)]
    lab: bool,
    #[command(flatten)]
    pub(crate) build: BuildOptions,
}

impl BuildCommand {
    pub(crate) fn contents(&self) -> Contents {
        contents(self.lab)
    }
}

fn contents(lab: bool) -> Contents {
    if lab { Contents::WithLab } else { Contents::Product }
}

/// Which image to make.
#[derive(Args, Debug)]
pub(crate) struct ImageOptions {
    /// Put the laboratory on it, too: self-tests, stress, counting, faults on purpose.
    #[arg(long)]
    lab: bool,
    /// The image [default: rhumb.iso in the target directory].
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Words for the kernel's command line.
    #[arg(long, value_name = "WORDS", default_value = "")]
    pub(crate) append: String,
    #[command(flatten)]
    pub(crate) build: BuildOptions,
}

impl ImageOptions {
    pub(crate) fn contents(&self) -> Contents {
        contents(self.lab)
    }
}

/// Which RAM disk to make.
#[derive(Args, Debug)]
pub(crate) struct ModulesOptions {
    /// Make that of the kernel's tests: with a module for tests, and with files that are no modules.
    #[arg(long)]
    pub(crate) tests: bool,
}

/// How to build the kernel.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct BuildOptions {
    /// Build with debug assertions and little optimisation.
    #[arg(long)]
    pub(crate) dev: bool,
    /// Build with the checker of memory accesses (KASAN): slower, and stops at the first forbidden one.
    #[arg(long)]
    pub(crate) kasan: bool,
    /// Build with the tracer of stretches with interrupts off: the command irqsoff.
    #[arg(long)]
    pub(crate) irqsoff: bool,
}

/// The machine to boot on, and the commands to run there.
#[derive(Args, Debug)]
pub(crate) struct RunOptions {
    /// Virtual CPUs, at most 1,024; more than 255 need QEMU 9.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_CPUS)))]
    cpus: u32,
    /// Memory, such as 64M, 1G or 1T; it may exceed the host's.
    #[arg(long, value_name = "SIZE", default_value = "1G")]
    mem: MemorySize,
    /// NUMA nodes, which share memory and CPUs evenly.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    nodes: u32,
    /// Which of QEMU's machines.
    #[arg(long, value_enum, default_value_t)]
    machine: Board,
    /// CPU model and features in QEMU's words, such as qemu64, max,-pdpe1gb or max,la57.
    #[arg(long, value_name = "MODEL", default_value = "max")]
    cpu: String,
    /// The executor of the guest: kvm only where you ask for it.
    #[arg(long, value_enum, default_value_t)]
    accel: Accelerator,
    /// Words for the kernel's command line.
    #[arg(long, value_name = "WORDS", default_value = "")]
    pub(crate) append: String,
    /// End the machine after this many seconds, with exit status 124.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,
    /// Run these prompt commands, separated by `;`, print what they print, and power off.
    #[arg(long, value_name = "COMMANDS")]
    pub(crate) exec: Option<String>,
    /// The initial RAM disk, a tar archive [default: the loadable modules of this tree]; none boots without.
    #[arg(long, value_name = "FILE")]
    pub(crate) ram_disk: Option<PathBuf>,
    /// Boot the kernel without its laboratory, as `build` and `image` make it.
    #[arg(long)]
    product: bool,
    #[command(flatten)]
    pub(crate) build: BuildOptions,
}

impl RunOptions {
    pub(crate) fn contents(&self) -> Contents {
        contents(!self.product)
    }

    /// Returns the machine that these options describe.
    ///
    /// # Errors
    /// QEMU has no such machine.
    pub(crate) fn machine(&self) -> Result<Machine> {
        let (board, most) = (self.machine.name(), self.machine.max_cpus());
        ensure!(self.cpus <= most, "{board} has at most {most} CPUs, not {}", self.cpus);
        ensure!(
            self.machine != Board::Microvm || self.nodes == 1,
            "{board} has one node, not {}",
            self.nodes
        );
        Ok(Machine {
            cpus: self.cpus,
            memory: self.mem,
            nodes: self.nodes,
            memoryless_nodes: 0,
            board: self.machine,
            cpu_model: self.cpu.clone(),
            accelerator: self.accel,
            boot: Boot::Direct,
            ..Machine::default()
        })
    }
}

/// Returns a number of seconds above 0, whole or not.
fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| format!("`{text}` is no number of seconds"))?;
    let duration =
        Duration::try_from_secs_f64(number).map_err(|_| format!("`{text}` seconds cannot be waited for"))?;
    if duration.is_zero() { Err(format!("`{text}` seconds leave no time to boot")) } else { Ok(duration) }
}

#[cfg(test)]
mod tests;
