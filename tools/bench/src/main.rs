//! Measures Rhumb's allocators side by side with others, interleaved in one run.
//!
//! ```text
//!   rhumb-bench frames --csv frames.csv
//!
//!   for each workload, for each number of CPUs:            a group
//!       round 1:  rhumb, frame-alloc, bitmap, ...          each on a fresh allocator
//!       round 2:  frame-alloc, bitmap, ..., rhumb          the order moves on
//!       ...                                                then medians with lowest and highest
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`args`] | the command line |
//! | [`driver`] | groups of cases, run interleaved; progress |
//! | [`clock`] | the time-stamp counter, calibrated, its own cost known |
//! | [`goals`] | the figures that Rhumb wants to reach, judged where the named competitors ran |
//! | [`report`] | the table with ratios, the CSV file |
//! | [`stats`] | medians, spreads, percentiles |
//! | [`team`] | a workload on several CPUs of a hosted machine at once |
//! | [`frames`] | page-frame allocators: subjects and workloads |
//! | [`slab`] | object allocators: subjects and workloads |
//! | [`ranges`] | allocators of ranges: subjects and workloads |
//! | [`directmap`] | ways of changing the direct map |
//! | [`scale`], [`shared`] | the data that CPUs share, counted in a build of its own |
//! | [`machine`] | the cost of pinning on the hosted machine |
//!
//! Principles: the needs of a workload (random numbers, victims, space for results) are met before the timed part, in
//! which only the subjects allocate. Subjects differ by type, not by a virtual call. Times on a shared
//! machine are noise around a truth: only ratios of one run count.

mod args;
mod clock;
mod directmap;
mod driver;
mod frames;
mod goals;
mod machine;
mod ranges;
mod report;
mod scale;
mod shared;
mod slab;
mod stats;
mod team;

use std::process::ExitCode;

use args::{Command, Options};

fn main() -> ExitCode {
    match Options::from_command_line() {
        Ok(None) => {
            print!("{}", args::HELP);
            ExitCode::SUCCESS
        }
        Ok(Some(options)) => run(&options),
        Err(error) => {
            eprint!("rhumb-bench: {error}\n\n{}", args::HELP);
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> ExitCode {
    let groups = match options.command {
        Command::Frames => frames::groups(options),
        Command::DirectMap => directmap::groups(options),
        Command::Machine => machine::groups(options),
        Command::Slab => slab::groups(options),
        Command::Ranges => ranges::groups(options),
        Command::SlabCase => return one_case(options),
        Command::Scale => return ended(scale::run(options)),
    };
    let finished = groups.map_err(|error| error.to_string()).and_then(|groups| {
        let load_before = load_average();
        let mut report = driver::run(groups, options);
        report.note(format!("{load_before} processes ran on this machine before, {} after", load_average()));
        if options.command == Command::Slab {
            let (pages, host) = (options.pages_word(), large_pages());
            report.note(format!(
                "managed memory in {pages} pages (--pages); the host gives large ones: {host}"
            ));
        }
        if options.rounds == 1 {
            report.note("one round shows no spread".to_owned());
        }
        println!("{report}");
        let judged = goals::judged(&report, goals_of(options.command));
        if !judged.is_empty() {
            let run = if options.is_quick() { "goals, on a fifth of the work" } else { "goals" };
            println!("{run}:\n{judged}");
        }
        report.save(options.csv.as_deref())
    });
    ended(finished)
}

/// Says why the command failed, if it did.
fn ended(finished: Result<(), String>) -> ExitCode {
    match finished {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rhumb-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the goals of a family.
fn goals_of(command: Command) -> &'static [goals::Goal] {
    match command {
        Command::Frames => &frames::goals::GOALS,
        Command::Slab => &slab::goals::GOALS,
        Command::Ranges => &ranges::goals::GOALS,
        Command::SlabCase | Command::DirectMap | Command::Machine | Command::Scale => &[],
    }
}

/// Returns a case of [`slab`], in the process that its parent started for it.
fn one_case(options: &Options) -> ExitCode {
    match slab::child::run(options) {
        Ok(samples) => {
            print!("{samples}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("rhumb-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the host's setting for large pages; "?" where it does not say.
fn large_pages() -> String {
    let text = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    let chosen = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    chosen.map_or("?", |(word, _)| word).to_owned()
}

/// Returns how many processes ran or waited for a CPU over the last minute; "?" where the host does not say.
fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().filter(|load| !load.is_empty()).unwrap_or("?").to_owned()
}
