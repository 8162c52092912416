//! What CPUs share, counted: each workload on 1 to 256 CPUs in turns, in a build with `--cfg rhumb_counted`.
//!
//! Times say how a design scales where there are cores. Counts say it anywhere, exactly, and the same in each run: visits
//! to locks that CPUs share, cache lines that another CPU has written since, and magazines that another CPU had before.

use std::fmt::Write;
use std::ops::Add;
use std::process::ExitCode;

use rhumb_hosted::CorePinning;
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};

use crate::args::Options;
use crate::driver::{self, Better, Sample};
use crate::report::{OURS, Report};
use crate::team::Member;
use crate::{frames, slab};

/// The numbers of CPUs.
pub(crate) const CPUS: [usize; 5] = [1, 4, 16, 64, 256];

/// Workloads of the other commands that have no operations to count: they measure times or memory.
const UNCOUNTED: [&str; 6] = ["latency", "latency-burst", "healing", "compaction", "init@1G", "held"];

/// Operations of a CPU in one turn: few, so that the CPUs' work is mixed, and no divisor of a magazine's size.
const TURN: usize = 7;

/// What a CPU shared with others in a timed phase; sums over CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Shared {
    pub(crate) visits: u64,
    pub(crate) lines: u64,
    pub(crate) moved: u64,
}

impl Add for Shared {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            visits: self.visits + other.visits,
            lines: self.lines + other.lines,
            moved: self.moved + other.moved,
        }
    }
}

impl Shared {
    /// Returns what this CPU did since the last call; nothing in a build that does not count.
    #[inline(always)]
    pub(crate) fn take() -> Self {
        #[cfg(rhumb_counted)]
        {
            let counts = rhumb_sync::counted::take();
            Self { visits: counts.lock_visits, lines: counts.foreign_lines, moved: counts.moved }
        }
        #[cfg(not(rhumb_counted))]
        Self::default()
    }

    /// Returns after how many operations a CPU looks at the others: it gives way to them where it is counted.
    #[inline(always)]
    pub(crate) fn stride(stride: usize) -> usize {
        if cfg!(rhumb_counted) { stride.min(TURN) } else { stride }
    }

    /// Ends a turn, where CPUs run in turns.
    #[inline(always)]
    pub(crate) fn end_turn(member: &Member<'_>) {
        if cfg!(rhumb_counted) {
            member.give_way();
        }
    }

    /// Returns the figures of so many operations; `None` in a build that does not count.
    pub(crate) fn samples(self, operations: usize) -> Option<Vec<Sample>> {
        let per_1000 = |metric, count: u64| Sample {
            metric,
            unit: "/1000",
            better: Better::Lower,
            value: 1000.0 * count as f64 / operations.max(1) as f64,
        };
        cfg!(rhumb_counted).then(|| {
            vec![
                per_1000("visits", self.visits),
                per_1000("lines", self.lines),
                per_1000("moved", self.moved),
            ]
        })
    }
}

/// `rhumb-bench scale`.
pub(crate) fn run(options: &Options) -> ExitCode {
    if !cfg!(rhumb_counted) {
        eprintln!("rhumb-bench: this build counts nothing; `cargo xtask bench scale` makes one that does");
        return ExitCode::FAILURE;
    }
    stay_here();
    let finished = report(options).and_then(|report| {
        print!("{}", table(&report));
        match &options.csv {
            Some(path) => report.write_csv(path).map_err(|error| format!("{}: {error}", path.display())),
            None => Ok(()),
        }
    });
    match finished {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rhumb-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns where the host runs the CPUs' threads: each on a core of its own, or, where one of them runs at a time, all on
/// one, so that a turn ends without waking another core.
pub(crate) fn pinning() -> CorePinning {
    if cfg!(rhumb_counted) { CorePinning::Free } else { CorePinning::OneEach }
}

/// Keeps this thread, and those that it starts, on the core that it runs on now.
fn stay_here() {
    let mut here = CpuSet::new();
    here.set(sched_getcpu());
    // A host that refuses makes it slow, not wrong.
    let _ = sched_setaffinity(None, &here);
}

/// Runs each workload of frames and objects on each number of CPUs.
fn report(options: &Options) -> Result<Report, String> {
    let mut all = Vec::new();
    for &cpus in &options.cpus {
        // So many operations that the same number is done in all, and enough of them by each CPU.
        let share_per_mille = (20 / cpus).max(2);
        let mut options = options.clone();
        options.cpus = vec![cpus];
        options.mem_bytes = vec![1 << 30];
        options.share_per_mille = share_per_mille;
        options.rounds = 1;
        let groups = [frames::groups(&options), slab::groups_here(&options)];
        for groups in groups {
            all.extend(groups.map_err(|error| error.to_string())?);
        }
    }
    for group in &mut all {
        group.cases.retain(|case| case.subject == OURS);
    }
    all.retain(|group| {
        !UNCOUNTED.iter().any(|name| group.workload.starts_with(name)) && !group.cases.is_empty()
    });
    Ok(driver::run(all, options))
}

/// Returns the table: a line for each workload and number of CPUs.
fn table(report: &Report) -> String {
    let mut text = format!(
        "{:<16}{:>5}{:>14}{:>14}{:>14}\n{:<21}{:>14}{:>14}{:>14}\n",
        "per 1,000", "CPUs", "lock visits", "foreign lines", "magazines", "operations", "", "", "moved"
    );
    let figure = |workload: &str, cpus, metric| {
        let found = report.figures().iter().find(|figure| {
            (figure.workload.as_str(), figure.cpus, figure.metric) == (workload, cpus, metric)
        });
        found.map_or(f64::NAN, |figure| figure.summary.median)
    };
    for row in report.figures().iter().filter(|figure| figure.metric == "visits") {
        let [visits, lines, moved] =
            ["visits", "lines", "moved"].map(|metric| figure(&row.workload, row.cpus, metric));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:<16}{:>5}{visits:>14.2}{lines:>14.2}{moved:>14.2}", row.workload, row.cpus);
    }
    text
}
