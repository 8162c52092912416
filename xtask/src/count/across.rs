//! One table of several runs: a column for each number of CPUs.

use super::figures::{Figures, Measured, aligned};

/// The figures that have a row of their own, by heading and how a cell is made.
type Row = (&'static str, fn(&Measured) -> String);

const ROWS: [Row; 6] = [
    ("instructions", Measured::here),
    ("elsewhere", Measured::elsewhere),
    ("table writes", |measured| measured.counters()[0].clone()),
    ("flushes", |measured| measured.counters()[1].clone()),
    ("remote", |measured| measured.counters()[2].clone()),
    ("interrupts", |measured| measured.counters()[3].clone()),
];

/// Returns the regions of all runs, in their order. Rows that are nothing but 0 are left out; `-` is where a run did
/// not have the region.
pub(super) fn table(runs: &[Figures]) -> String {
    let head = ["region".to_string(), String::new()];
    let columns = runs.iter().map(|run| match run.cpus {
        1 => "1 CPU".into(),
        cpus => format!("{cpus} CPUs"),
    });
    let mut lines = vec![head.into_iter().chain(columns).collect::<Vec<_>>()];
    // The run with the most CPUs has all regions that any has.
    for region in runs.last().map_or(&[][..], |run| &run.measured) {
        let cells = |cell: fn(&Measured) -> String| -> Vec<String> {
            let found =
                |run: &Figures| run.measured.iter().find(|measured| measured.name == region.name).map(cell);
            runs.iter().map(|run| found(run).unwrap_or_else(|| "-".into())).collect()
        };
        let mut name = region.name.clone();
        for (heading, cell) in ROWS {
            let cells = cells(cell);
            if heading == ROWS[0].0 || cells.iter().any(|cell| cell != "0" && cell != "-") {
                lines.push([std::mem::take(&mut name), heading.into()].into_iter().chain(cells).collect());
            }
        }
    }
    aligned(&lines)
}
