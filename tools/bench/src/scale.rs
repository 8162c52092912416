//! `scale`: each workload on 1 to 256 CPUs in turns, and the data that they share, counted in a build with
//! `--cfg rhumb_counted`.
//!
//! Times say how a design scales where there are cores. Counts say it anywhere, exactly, and the same in each run:
//! visits to locks that CPUs share, cache lines that another CPU has written since the last access, and
//! magazines that another CPU had loaded before. One round is enough, because each round counts the same. The allocators
//! have come to rest before. CPUs have memory and live objects of their own, so that more CPUs have more.

use std::fmt::Write;

use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};

use crate::args::Options;
use crate::driver;
use crate::report::{OURS, Report};
use crate::{frames, ranges, slab};

/// How much is done of the work that the other commands do, in thousandths: counts vary by no chance, so that fewer
/// operations do.
const WORK_PER_MILLE: usize = 250;

/// Workloads of the other commands that have no operations to count: they measure times or memory.
const UNCOUNTED: [&str; 6] = ["latency", "latency-burst", "healing", "compaction", "init", "held"];

/// Runs `rhumb-bench scale`.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    if !cfg!(rhumb_counted) {
        return Err("this build counts nothing; `cargo xtask bench scale` makes one that does".to_owned());
    }
    stay_here();
    let report = report(options)?;
    print!("{}", table(&report));
    report.save(options.csv.as_deref())
}

/// Keeps this thread, and those that it starts, on the core that it runs on now.
fn stay_here() {
    let mut here = CpuSet::new();
    here.set(sched_getcpu());
    // A host that refuses makes it slow, not wrong.
    let _ = sched_setaffinity(None, &here);
}

/// Runs each workload of frames, objects and ranges on each number of CPUs.
fn report(options: &Options) -> Result<Report, String> {
    let mut all = Vec::new();
    for &cpus in &options.cpus {
        // All CPUs together do a fixed number of operations, but no CPU does so few that its magazines stay as they are.
        let share_per_mille = (1000 / cpus).max(8);
        let mut options = options.clone();
        options.cpus = vec![cpus];
        options.work_per_mille = options.work_per_mille * WORK_PER_MILLE / 1000;
        options.share_per_mille = share_per_mille;
        let groups = [frames::groups(&options), slab::groups_here(&options), ranges::groups(&options)];
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

#[cfg(all(test, rhumb_counted))]
mod tests;
