//! One run of the program: the options that all studies share, the bar of progress, and the wish to end.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use rhumb_method::{Plan, Watch};
use rhumb_study_report::schema::{SCHEMA, VERSION};
use rhumb_study_report::{Ending, Kind, Study};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::facts;
use crate::keeper::Keeper;

/// How long a study takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// Minutes.
    Quick,
    /// As long as precise results need.
    Full,
}

/// One run of the program.
#[derive(Debug)]
pub struct Session {
    /// The folder for everything that the study writes.
    pub out: PathBuf,
    /// Whether the study is to take minutes rather than what it needs.
    pub quick: bool,
    /// Where random orders begin.
    pub seed: u64,
    /// A name for the machine, if the user gave one.
    pub name: Option<String>,
    ending: Arc<AtomicBool>,
    quiet: bool,
    keeper: Option<Keeper>,
    began: Instant,
}

impl Session {
    /// Begins a run. From here on Ctrl-C, SIGTERM and SIGHUP end the measurement that runs, rather than the process; a
    /// second Ctrl-C ends the process.
    ///
    /// # Errors
    /// The system's, where it takes no handler.
    pub fn begin(out: PathBuf, pace: Pace, seed: u64, name: Option<String>) -> std::io::Result<Self> {
        let ending = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&ending))?;
            signal_hook::flag::register(signal, Arc::clone(&ending))?;
        }
        let quick = pace == Pace::Quick;
        Ok(Self { out, quick, seed, name, ending, quiet: false, keeper: None, began: Instant::now() })
    }

    /// Returns a session for tests: it writes to `out`, takes no signals, and shows nothing.
    pub fn quiet(out: PathBuf) -> Self {
        let ending = Arc::new(AtomicBool::new(false));
        Self {
            out,
            quick: true,
            seed: 1,
            name: None,
            ending,
            quiet: true,
            keeper: None,
            began: Instant::now(),
        }
    }

    /// Has a keeper undo this run's changes of the machine, however the run ends.
    #[must_use]
    pub fn kept_by(mut self, keeper: Keeper) -> Self {
        self.keeper = Some(keeper);
        self
    }

    /// Returns the keeper, if there is one: the first argument of [`Change`](crate::Change).
    pub fn keeper(&self) -> Option<&Keeper> {
        self.keeper.as_ref()
    }

    /// Tells whether the user or the system wants the study to end. Loops that take more than a second look here.
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// Ends the study as a signal does.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// Returns a study of this machine in which nothing is measured yet.
    pub fn begin_study(&self, kind: Kind) -> Study {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Study {
            schema: SCHEMA.to_owned(),
            version: VERSION,
            program: concat!("rhumb-study ", env!("CARGO_PKG_VERSION")).to_owned(),
            kind,
            command: command(),
            began_unix_s: since.saturating_sub(self.began.elapsed()).as_secs(),
            took_s: 0.0,
            seed: self.seed,
            ending: Ending::Whole,
            machine: facts::machine(self.name.as_deref()),
            noise: None,
            controls: Vec::new(),
            comparisons: Vec::new(),
            curves: Vec::new(),
            bars: Vec::new(),
            maps: Vec::new(),
            tables: Vec::new(),
            omissions: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Writes into the study how long this run took, and whether it was interrupted. Each experiment calls this last.
    pub fn end_study(&self, study: &mut Study) {
        study.took_s = self.began.elapsed().as_secs_f64();
        if self.is_ending() {
            study.ending = Ending::Interrupted("The user or the system ended the study.".to_owned());
        }
    }

    /// Returns the plan of a trial: the wanted precision as a share of the baseline, and a bound on its time.
    pub fn plan(&self, precision: f64, budget: Duration) -> Plan {
        Plan {
            precision,
            // As few as can tell an effect among 68 comparisons.
            rounds_at_least: 12,
            rounds_at_most: if self.quick { 40 } else { 200 },
            warm_up: 1,
            budget,
            confidence: 0.95,
            seed: self.seed,
        }
    }

    /// Shows on the terminal that a piece of work begins.
    pub fn task(&self, name: impl Into<String>) -> Task<'_> {
        let target = if self.quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        self.task_on(target, name.into())
    }

    fn task_on(&self, target: ProgressDrawTarget, name: String) -> Task<'_> {
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(style("{spinner} {wide_msg} {elapsed}"));
        bar.set_message(name);
        bar.tick();
        Task { bar, session: self }
    }

    /// Says a sentence above the bar of progress.
    pub fn say(&self, text: impl AsRef<str>) {
        if !self.quiet {
            eprintln!("{}", text.as_ref());
        }
    }
}

/// A piece of work that is shown while it runs.
#[derive(Debug)]
pub struct Task<'a> {
    bar: ProgressBar,
    session: &'a Session,
}

impl Task<'_> {
    /// Shows how much of the work is done. Work of which there is none is not shown.
    pub fn set(&self, done: u64, of: u64) {
        if of == 0 {
            return;
        }
        if self.bar.length() != Some(of) {
            let with_bar = style("{wide_msg} [{bar:16}] {pos}/{len} {elapsed}{left}");
            self.bar.set_style(with_bar.with_key("left", left));
            self.bar.set_length(of);
        }
        self.bar.set_position(done);
    }
}

impl Watch for Task<'_> {
    fn is_cancelled(&self) -> bool {
        self.session.is_ending()
    }

    fn round(&self, done: u32, at_most: u32) {
        self.set(done.into(), at_most.into());
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Returns the command line, with the last part of each path that begins at the root: the rest says much of a machine
/// and nothing of the study.
fn command() -> Vec<String> {
    let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    words
        .map(|word| match (word.starts_with('/'), word.rsplit('/').find(|part| !part.is_empty())) {
            (true, Some(last)) => last.to_owned(),
            _ => word,
        })
        .collect()
}

/// Writes how long the work goes on, where its beginning tells.
fn left(state: &ProgressState, out: &mut dyn fmt::Write) {
    if state.pos() > 0 && !state.eta().is_zero() {
        // A terminal that takes no words has no use for them.
        let _ = write!(out, " (about {:#} more)", HumanDuration(state.eta()));
    }
}

/// Returns a style. A template that the crate refuses is a fault of this file, and gives its default.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests;
