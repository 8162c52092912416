//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  rhumb-study linux who                            the holders that break this kernel's direct map, in two seconds
  rhumb-study linux --quick                        this kernel's system calls and programs, without breaking anything
  rhumb-study linux --break 10% --yes-until-reboot break 10 % of the direct map, and measure before and after
  rhumb-study hosted --quick                       pages of 1 GiB, 2 MiB and 4 KiB under kernel-like work, in 3 minutes
  cargo xtask study kernel --quick                 Rhumb's kernel in QEMU: exact counts, and misses of modelled caches
  rhumb-study compare here/study.json there        two machines side by side; with --out DIR, as a page, too

A study writes study.html (a page to look at), study.json and study.csv into its folder. The exit status is 0 if all
went well, 1 if nothing could be measured, 2 for a wrong command line, 3 if a built-in control failed, so that the
figures prove nothing, and 130 if the study was interrupted; what was measured until then is in the folder.";

/// Does it matter on this machine if the kernel's direct map is broken into small pages?
#[derive(Debug, Parser)]
#[command(name = "rhumb-study", version, arg_required_else_help = true, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) run: Run,
}

/// A study with its own options, and those of every study that measures.
#[derive(Args, Debug)]
pub(crate) struct Measuring<Options: Args> {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(flatten)]
    pub(crate) shared: Shared,
}

/// Options of every study that measures.
#[derive(Args, Debug)]
pub(crate) struct Shared {
    /// The folder for results, and for everything else that the study writes [default: rhumb-study/KIND-TIME].
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Take about 3 minutes, at the price of wider intervals.
    #[arg(long)]
    pub(crate) quick: bool,
    /// A name for this machine in the report, instead of its CPU's.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Begin random orders here, to repeat a study [default: the time].
    #[arg(long, value_name = "NUMBER", value_parser = seed)]
    pub(crate) seed: Option<u64>,
}

/// The study to run.
#[derive(Debug, Subcommand)]
pub(crate) enum Run {
    /// Measure the running kernel's direct map, whole and, if you agree, broken; or show the holders that break it.
    Linux(Linux),
    /// Measure Rhumb's memory core on the real TLB, with a direct map of pages of 1 GiB, 2 MiB and 4 KiB.
    Hosted(Measuring<rhumb_study_hosted::Options>),
    /// Count in Rhumb's kernel, in QEMU, and model translation caches; `cargo xtask study kernel` builds all it needs.
    Kernel(Measuring<rhumb_study_kernel::Options>),
    /// Set the results of several machines, kernels or runs side by side.
    Compare(Compare),
}

/// `linux`, alone or with `who`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Linux {
    #[command(subcommand)]
    pub(crate) part: Option<LinuxPart>,
    #[command(flatten)]
    pub(crate) measuring: Measuring<rhumb_study_linux::Options>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LinuxPart {
    /// Show the holders that break this kernel's direct map, and what they block.
    Who(Who),
}

/// `linux who`.
#[derive(Args, Debug)]
pub(crate) struct Who {
    #[command(flatten)]
    pub(crate) options: rhumb_study_linux::who::Options,
    /// Write a page, JSON and CSV into this folder, too [default: the terminal only].
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// A name for this machine in the report, instead of its CPU's.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
}

/// `compare`.
#[derive(Args, Debug)]
pub(crate) struct Compare {
    /// Results of studies of one kind: the files that they wrote as study.json, or their folders.
    #[arg(required = true, num_args = 2.., value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Write a page, compare.html, into this folder, too [default: the terminal only].
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

/// Parses where random orders begin.
fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is no whole number from 0 to {}", u64::MAX))
}
