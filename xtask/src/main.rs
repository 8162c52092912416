//! Builds, runs and tests Rhumb: the one tool for people.
//!
//! ```text
//!   cli       commands and options         main     which module answers
//!   host      what this machine has        setup    what is missing, and getting it
//!   build     the kernel's ELF file        symbols  names for its backtraces
//!   kasan     instrumenting it             tsan     instrumenting the host's tests
//!   machine   which virtual machine        qemu     QEMU's arguments for it
//!   console   one QEMU from start to end   run      `cargo xtask run`: terminal, pipes, exit status
//!   image     the ISO                      test     host tests and the matrix of machines
//!   doctor    what is there, what is not   check    format, clippy, docs, tests
//!   bench     the benchmarks           count    instructions of marked regions
//!   text      links, names, words of pages and comments
//! ```
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
mod paths;
mod progress;
mod qemu;
mod run;
mod setup;
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
        Command::Check => check::command(),
        Command::Image(options) => image::command(&options),
        Command::Doctor => doctor::command(),
    };
    outcome.unwrap_or_else(|error| {
        tell!("error: {error:#}");
        ExitCode::FAILURE
    })
}
