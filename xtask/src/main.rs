//! Builds, runs and tests Rhumb: the one tool for people.
//!
//! | module | subject |
//! |---|---|
//! | [`cli`] | commands and options |
//! | [`build`], [`symbols`] | the kernel's ELF file; the names in it for backtraces |
//! | [`kasan`], [`tsan`] | instrumenting the kernel; instrumenting the host's tests |
//! | [`modules`], [`ram_disk`] | loadable modules; the archive that the kernel finds them in |
//! | [`image`] | the ISO |
//! | [`machine`], [`qemu`] | the virtual machine that a person asks for; QEMU's arguments for it |
//! | [`console`] | one QEMU from start to end |
//! | [`run`], [`terminal`] | `cargo xtask run`: prompt, pipes, exit status; a terminal in raw mode |
//! | [`test`] | the host's tests, and the kernel's on a matrix of machines |
//! | [`check`], [`text`] | format, lints, documentation, tests; links, names, words of pages and comments |
//! | [`count`] | instructions of marked regions |
//! | [`bench`], [`study`] | the benchmarks; the study of the direct map |
//! | [`doctor`], [`host`] | the tools that this machine has and lacks, shown; looked for |
//! | [`setup`] | getting the tools that a command needs |
//! | [`paths`], [`progress`] | the places of files; one line that says which step takes so long |
//!
//! A command asks [`setup`] for what it needs, then does its work; nothing is installed for a command that is not run.

/// Writes a line to standard error. Where nothing reads it any more, the line is lost and the command goes on.
macro_rules! tell {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

mod bench;
mod build;
mod check;
mod cli;
mod console;
mod count;
mod doctor;
mod host;
mod image;
mod kasan;
mod machine;
mod modules;
mod paths;
mod programs;
mod progress;
mod qemu;
mod ram_disk;
mod run;
mod setup;
mod study;
mod symbols;
mod terminal;
mod test;
mod text;
mod tsan;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Build(options) => build::command(&options),
        Command::Run(options) => run::command(&options),
        Command::Test(options) => test::command(&options),
        Command::Bench(options) => bench::command(&options),
        Command::Count(options) => count::command(&options),
        Command::Study(options) => study::command(&options),
        Command::Check => check::command(),
        Command::Image(options) => image::command(&options),
        Command::Modules(options) if options.tests => test::disk::command(),
        Command::Modules(_) => ram_disk::command(),
        Command::Doctor => doctor::command(),
    };
    outcome.unwrap_or_else(|error| {
        tell!("error: {error:#}");
        ExitCode::FAILURE
    })
}
