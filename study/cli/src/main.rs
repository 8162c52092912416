//! `rhumb-study`: does it matter on this machine if the direct map is broken into small pages?
//!
//! | module | owns |
//! |---|---|
//! | `args` | the command line |
//! | `output` | the folder of results, the summary, the exit status |
//!
//! A word that is no command of the user's, `keeper`, starts the second process that undoes a study's changes: see
//! `rhumb_study_system::keeper`.
#![forbid(unsafe_code)]

mod args;
mod output;

use std::env;
use std::io;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use rhumb_study_linux::who;
use rhumb_study_system::keeper;

use args::{Cli, LinuxPart, Run};

/// The word that starts the keeper.
const KEEPER: &str = "keeper";

fn main() -> ExitCode {
    if env::args_os().skip(1).eq([KEEPER]) {
        return match keeper::keep(io::stdin().lock()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("rhumb-study: the machine is not as it was before the study: {error}");
                ExitCode::FAILURE
            }
        };
    }
    run(&Cli::parse()).unwrap_or_else(|error| {
        eprintln!("rhumb-study: {error:#}");
        ExitCode::FAILURE
    })
}

/// Runs a command, and returns the exit status.
fn run(cli: &Cli) -> Result<ExitCode> {
    let shared = &cli.shared;
    match &cli.run {
        Run::Linux(linux) => match &linux.part {
            LinuxPart::Who(options) => {
                let session = output::plain(shared)?;
                let study = who::run(options, &session)?;
                // It has printed its own summary, and writes files only where the user says.
                if shared.out.is_some() {
                    output::save(&study, &session)?;
                }
                Ok(output::status(&study))
            }
        },
        Run::Hosted(options) if options.list => {
            output::print(&rhumb_study_hosted::list())?;
            Ok(ExitCode::SUCCESS)
        }
        Run::Hosted(options) => {
            let session = output::begin(shared, "hosted", KEEPER)?;
            output::finish(&rhumb_study_hosted::run(options, &session)?, &session)
        }
        Run::Kernel(options) => {
            let session = output::begin(shared, "kernel", KEEPER)?;
            output::finish(&rhumb_study_kernel::run(options, &session)?, &session)
        }
        Run::Compare(options) => output::compare(&options.files, shared.out.as_deref()),
    }
}
