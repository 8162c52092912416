//! The folder of results, the summary, and the exit status.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use rhumb_study_report::verdict::Tone;
use rhumb_study_report::{Ending, Study, verdict, write};
use rhumb_study_system::Session;

use crate::args::Shared;

/// The exit status of a study whose controls failed.
const CONTROLS_FAILED: u8 = 3;

/// The exit status of a study that was interrupted, as a shell gives it to a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Begins a run that changes nothing of the machine.
///
/// # Errors
/// The system takes no handler of signals.
pub(crate) fn plain(shared: &Shared) -> Result<Session> {
    let seed = shared.seed.unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_micros() as u64)
    });
    let out = shared.out.clone().unwrap_or_default();
    Session::begin(out, shared.quick, seed, shared.name.clone()).context("no handler of signals can be set")
}

/// Writes a study's files, and says where they are.
///
/// # Errors
/// The files or the terminal cannot be written.
pub(crate) fn save(study: &Study, session: &Session) -> Result<()> {
    let written = write(study, &session.out)?;
    session.say(format!("The page to look at: {}", written.page.display()));
    Ok(())
}

/// Returns the exit status of a study.
pub(crate) fn status(study: &Study) -> ExitCode {
    if matches!(study.ending, Ending::Interrupted(_)) {
        INTERRUPTED.into()
    } else if verdict(study).tone == Tone::Void {
        CONTROLS_FAILED.into()
    } else {
        ExitCode::SUCCESS
    }
}
