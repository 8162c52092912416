//! `study linux who`: the holders that break the running kernel's direct map.
//!
//! | module | owns |
//! |---|---|
//! | [`survey`](mod@survey) | all that is known at one moment |
//! | `scan` | all processes: secret memory, guest memory, BPF programs |
//! | `bpf` | the kernel's own list of BPF programs |
//! | `blocks` | whether secret memory keeps the machine from hibernating |
//! | `reasons` | settings that break the map |
//! | [`rows`](mod@rows) | holders in the order in which all outputs show them |
//! | `show`, `columns` | numbers, foreign names and rows for the terminal |
//! | `study`, `text`, `metrics`, `watch` | outputs |

mod blocks;
mod bpf;
mod columns;
mod metrics;
mod reasons;
pub mod rows;
#[cfg(test)]
mod sample;
mod scan;
pub(crate) mod show;
pub(crate) mod study;
pub mod survey;
#[cfg(test)]
mod tests;
mod text;
mod watch;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rhumb_study_report::{Kind, Screen, Study};
use rhumb_study_system::Session;

use self::survey::Picture;
use self::watch::Place;
use crate::error::Error;
use crate::proc::Root;

/// Options of `study linux who`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Print the study as JSON instead of text.
    #[arg(long, conflicts_with_all = ["watch", "openmetrics"])]
    pub json: bool,
    /// Look again every so many seconds; `q` ends it. Where the output is no terminal, a line is written each time.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", value_parser = seconds)]
    pub watch: Option<Duration>,
    /// End `--watch` after so many looks.
    #[arg(long, value_name = "N", requires = "watch", value_parser = clap::value_parser!(u64).range(1..))]
    pub rounds: Option<u64>,
    /// Write metrics as OpenMetrics, which readers of Prometheus' text format take as well, to a file, whole or not at all;
    /// `-` is standard output. With `--watch`, they are written each time; after `-` the lines go to standard error.
    #[arg(long, value_name = "FILE")]
    pub openmetrics: Option<PathBuf>,
    /// Search processes for at most so many seconds.
    #[arg(long, value_name = "SECONDS", default_value = "1.5", value_parser = seconds)]
    pub limit: Duration,
}

/// Parses a positive number of seconds.
fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no number of seconds between 0.1 and 86400");
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    if (0.1..=86_400.0).contains(&seconds) { Ok(Duration::from_secs_f64(seconds)) } else { Err(wrong()) }
}

/// Looks at the holders, and shows them as the options say.
///
/// # Errors
/// [`Error::Unreadable`] without `/proc`; [`Error::Unwritable`] where the output cannot be written.
pub fn run(options: &Options, session: &Session) -> Result<Study, Error> {
    let mut study = session.begin_study(Kind::Who);
    let root = Root::system();
    let survey = match options.watch {
        Some(interval) => {
            // Metrics on standard output leave no room there for a screen or for lines.
            let is_taken = options.openmetrics.as_deref() == Some(Path::new("-"));
            let place = if is_taken { Place::Error } else { Place::Output };
            watch::watch(session, interval, options.rounds, place, || {
                let survey = survey::survey(&root, options.limit, Picture::Left)?;
                let is_read = match &options.openmetrics {
                    Some(path) => metrics::write(&metrics::metrics(&survey), path)?,
                    None => true,
                };
                Ok((survey, is_read))
            })?
        }
        None => survey::survey(&root, options.limit, Picture::Wanted)?,
    };
    study::fill(&mut study, &survey);
    session.end_study(&mut study);
    if options.watch.is_some() {
        return Ok(study);
    }
    let text = match &options.openmetrics {
        Some(path) => {
            metrics::write(&metrics::metrics(&survey), path)?;
            return Ok(study);
        }
        None if options.json => {
            let json = serde_json::to_string_pretty(&study);
            json.map_err(|error| Error::Measurement(format!("the study has no JSON form: {error}")))? + "\n"
        }
        None => text::text(&survey, Screen::of_stdout().width),
    };
    print(&mut io::stdout(), &text)?;
    Ok(study)
}

/// Writes a text at once, and tells whether the output still has a reader: one such as `head` goes when it has seen
/// enough, which is no error.
fn print(out: &mut dyn Write, text: &str) -> Result<bool, Error> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(why) if why.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(why) => Err(Error::unwritable("standard output", why)),
    }
}
