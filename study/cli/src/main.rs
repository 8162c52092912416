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

use std::process::ExitCode;
use std::{env, fs, io};

use anyhow::Result;
use clap::Parser;
use rhumb_study_linux::who;
use rhumb_study_report::Study;
use rhumb_study_system::{Pace, Session, keeper};

use args::{Cli, Linux, LinuxPart, Measuring, Run, Shared, Who};

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
    match &cli.run {
        Run::Linux(Linux { part: Some(LinuxPart::Who(who)), .. }) => look(who),
        Run::Linux(Linux { part: None, measuring: Measuring { options, shared } }) => {
            measure("linux", shared, |session| Ok(rhumb_study_linux::run(options, session)?))
        }
        Run::Hosted(Measuring { options, .. }) if options.list => {
            output::print(&rhumb_study_hosted::list())?;
            Ok(ExitCode::SUCCESS)
        }
        Run::Hosted(Measuring { options, shared }) => {
            measure("hosted", shared, |session| Ok(rhumb_study_hosted::run(options, session)?))
        }
        Run::Kernel(Measuring { options, shared }) => {
            measure("kernel", shared, |session| Ok(rhumb_study_kernel::run(options, session)?))
        }
        Run::Compare(options) => output::compare(&options.files, options.out.as_deref()),
    }
}

/// Runs a study that measures, and writes its results.
fn measure(kind: &str, shared: &Shared, run: impl FnOnce(&Session) -> Result<Study>) -> Result<ExitCode> {
    let session = output::begin(shared, kind, KEEPER)?;
    match run(&session) {
        Ok(study) => output::finish(&study, &session),
        Err(error) => {
            // A folder without results is of no use. One that has other files stays as it is.
            let _ = fs::remove_dir(&session.out);
            Err(error)
        }
    }
}

/// Shows the holders. They are shown by `who` itself; files are written only where the user says.
fn look(options: &Who) -> Result<ExitCode> {
    let out = options.out.clone().unwrap_or_default();
    let session = output::session(out, Pace::Full, None, options.name.clone())?;
    let study = who::run(&options.options, &session)?;
    if options.out.is_some() {
        output::save(&study, &session)?;
    }
    Ok(output::status(&study))
}
