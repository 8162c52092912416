//! The folder of results, the summary, and the exit status.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use rhumb_study_report::compare::names_of;
use rhumb_study_report::verdict::Tone;
use rhumb_study_report::{Ending, Screen, Study, compare as compare_studies, read, summary, verdict, write};
use rhumb_study_system::{Keeper, Pace, Session};
use time::OffsetDateTime;

use crate::args::Shared;

/// The exit status of a study whose controls failed.
const CONTROLS_FAILED: u8 = 3;

/// The exit status of a study that was interrupted, as a shell gives it to a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// As much as the files of a large report have, in bytes.
const REPORT_BYTES: usize = 1 << 20;

/// Begins a run with a folder for its results, and a keeper: this program, under the word `keeper`.
///
/// # Errors
/// The folder cannot be made or used, or no second process can be started.
pub(crate) fn begin(shared: &Shared, kind: &str, keeper: &str) -> Result<Session> {
    let out = match &shared.out {
        Some(out) => out.clone(),
        None => PathBuf::from("rhumb-study").join(format!("{kind}-{}", now())),
    };
    fs::create_dir_all(&out).with_context(|| format!("the folder {} cannot be made", out.display()))?;
    // Before minutes of work, rather than after them.
    tempfile::tempfile_in(&out).and_then(|mut file| file.write_all(&[0; REPORT_BYTES])).with_context(
        || {
            // A folder without results is of no use. One that has other files stays as it is.
            let _ = fs::remove_dir(&out);
            format!(
                "no report can be written into {}: free some space there, or name another folder with --out",
                out.display()
            )
        },
    )?;
    let mut command = Command::new("/proc/self/exe");
    // The folder that this process began in may be removed while the keeper is there.
    command.arg(keeper).current_dir("/");
    let keeper = Keeper::start(command).context("the process that is to undo changes cannot be started")?;
    let pace = if shared.quick { Pace::Quick } else { Pace::Full };
    Ok(session(out, pace, shared.seed, shared.name.clone())?.kept_by(keeper))
}

/// Begins a run that changes nothing of the machine. Without a seed, the time is one.
///
/// # Errors
/// The system takes no handler of signals.
pub(crate) fn session(out: PathBuf, pace: Pace, seed: Option<u64>, name: Option<String>) -> Result<Session> {
    let seed = seed.unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_micros() as u64)
    });
    Session::begin(out, pace, seed, name).context("no handler of signals can be set")
}

/// Writes a study's files, shows its summary, and returns the exit status.
///
/// # Errors
/// The files or the terminal cannot be written.
pub(crate) fn finish(study: &Study, session: &Session) -> Result<ExitCode> {
    // The summary first: where the disk has become full meanwhile, it is all that is left of the study.
    print(&format!("{}\n", summary(study, Screen::of_stdout()).trim_end()))?;
    let written = write(study, &session.out)?;
    print(&format!(
        "\n{}\n{}\n{}\n{}\n",
        line("The page to look at", &written.page),
        line("For `compare`", &written.json),
        line("Each sample", &written.samples),
        line("Each effect", &written.effects),
    ))?;
    Ok(status(study))
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

/// Shows several studies side by side, and writes a page of them into a folder if there is one.
///
/// # Errors
/// A file is no study, they cannot be compared, or the page cannot be written.
pub(crate) fn compare(files: &[PathBuf], out: Option<&Path>) -> Result<ExitCode> {
    let studies = files.iter().map(|path| read(path));
    let compared = compare_studies(&studies.collect::<Result<Vec<_>, _>>()?, &names_of(files))?;
    print(&format!("{}\n", compared.summary(Screen::of_stdout()).trim_end()))?;
    if let Some(out) = out {
        print(&format!("\n{}\n", line("The page to look at", &compared.write(out)?)))?;
    }
    Ok(ExitCode::SUCCESS)
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

/// Prints text. A reader that has seen enough, such as `head`, is no error.
///
/// # Errors
/// The system's.
pub(crate) fn print(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("standard output cannot be written"),
    }
}

fn line(name: &str, path: &Path) -> String {
    format!("{:23}{}", format!("{name}:"), path.display())
}

/// Returns the time, as a part of a folder's name that sorts by time.
fn now() -> String {
    let now = OffsetDateTime::now_utc();
    let (date, clock) = (now.date(), now.time());
    let month = u8::from(date.month());
    let (hour, minute, second) = clock.as_hms();
    format!("{}-{month:02}-{:02}-{hour:02}{minute:02}{second:02}", date.year(), date.day())
}
