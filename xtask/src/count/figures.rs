//! The kernel's rows and the plugin's report together: a table, a CSV file, profiles by function.

use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use rhumb_count::{Executed, Region, Report, Sample, Side};
use rhumb_mark::RegionId;

use super::EMPTY;
use super::functions::Names;
use crate::cli::CountOptions;

/// The first line of the CSV file.
pub(super) const CSV_HEAD: &str = "workload,cpus,subject,metric,unit,median,low,high\n";

/// All figures of a run.
pub(super) struct Figures {
    /// With how many CPUs.
    pub(super) cpus: u32,
    pub(super) measured: Vec<Measured>,
    notes: Vec<String>,
}

/// One region.
pub(super) struct Measured {
    pub(super) name: String,
    runs: u64,
    region: Region,
    /// Sums over all runs, from the kernel: table writes, flushes, remote flushes, interrupts.
    noise: [u64; 4],
    /// The instructions of other CPUs in all runs while they waited to be interrupted.
    waiting: Executed,
}

/// A row that the kernel printed.
#[derive(PartialEq, Eq, Debug)]
struct Row {
    name: String,
    id: RegionId,
    runs: u64,
    ticks: u64,
    noise: [u64; 4],
}

impl Row {
    /// Returns the row in a line of the console, if it is one.
    fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, id, runs, _least, ticks, noise @ ..] = words.as_slice() else { return None };
        let noise: Vec<u64> = noise.iter().map(|word| word.parse().ok()).collect::<Option<_>>()?;
        Some(Self {
            name: (*name).into(),
            id: RegionId::new(id.parse().ok()?)?,
            runs: runs.parse().ok()?,
            ticks: ticks.parse().ok()?,
            noise: noise.try_into().ok()?,
        })
    }
}

/// Median, lowest and highest of some numbers.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Summary {
    median: f64,
    low: f64,
    high: f64,
}

impl Summary {
    fn of(mut numbers: Vec<u64>) -> Self {
        numbers.sort_unstable();
        let at = |index: usize| numbers.get(index).copied().unwrap_or(0) as f64;
        let middle = numbers.len() / 2;
        let median = if numbers.len() % 2 == 1 {
            at(middle)
        } else {
            (at(middle.saturating_sub(1)) + at(middle)) / 2.0
        };
        Self { median, low: at(0), high: at(numbers.len().saturating_sub(1)) }
    }

    /// Returns the same number in all runs: a sum divided by them.
    fn mean(sum: u64, runs: u64) -> Self {
        let mean = sum as f64 / runs.max(1) as f64;
        Self { median: mean, low: mean, high: mean }
    }
}

/// A number that each sample has: its name in the CSV file, its unit, and where it is.
type Metric = (&'static str, &'static str, fn(&Sample) -> u64);

const METRICS: [Metric; 5] = [
    ("instructions", "instructions", |sample| sample.here.instructions),
    ("string_iterations", "iterations", |sample| sample.here.iterations),
    ("code_lines", "lines", |sample| sample.code_lines),
    ("elsewhere_instructions", "instructions", |sample| sample.elsewhere.instructions),
    ("elsewhere_string_iterations", "iterations", |sample| sample.elsewhere.iterations),
];

/// Those that are only known where memory was watched.
const MEMORY_METRICS: [Metric; 3] = [
    ("reads", "accesses", |sample| sample.reads),
    ("writes", "accesses", |sample| sample.writes),
    ("data_lines", "lines", |sample| sample.data_lines),
];

/// The kernel's own counters, in the order of its rows.
const NOISE: [(&str, &str); 4] = [
    ("table_writes", "writes"),
    ("flushes", "flushes"),
    ("remote_flushes", "rounds"),
    ("interrupts", "interrupts"),
];

impl Measured {
    fn summary(&self, metric: fn(&Sample) -> u64) -> Summary {
        Summary::of(self.region.samples.iter().map(metric).collect())
    }

    /// Returns all steps of all runs, on all CPUs.
    fn steps(&self) -> u64 {
        self.region.samples.iter().map(|sample| sample.here.steps() + sample.elsewhere.steps()).sum()
    }

    /// Of the CPU that executed the marks; `~` where the runs differ.
    pub(super) fn here(&self) -> String {
        let cell = self.cell(|sample| sample.here);
        if self.is_exact() { cell } else { format!("{cell} ~") }
    }

    /// Returns the instructions of other CPUs besides waiting, for each run. The mean where they waited, since that is
    /// known of all runs together.
    pub(super) fn elsewhere(&self) -> String {
        if self.waiting == Executed::default() {
            return self.cell(|sample| sample.elsewhere);
        }
        let Summaries { instructions, iterations } = self.work_elsewhere();
        if iterations > 0.0 {
            format!("{} + {}", number(instructions), number(iterations))
        } else {
            number(instructions)
        }
    }

    fn work_elsewhere(&self) -> Summaries {
        let sum = |of: fn(Executed) -> u64| {
            let all: u64 = self.region.samples.iter().map(|sample| of(sample.elsewhere)).sum();
            (all - of(self.waiting)) as f64 / self.runs.max(1) as f64
        };
        Summaries { instructions: sum(|e| e.instructions), iterations: sum(|e| e.iterations) }
    }

    /// Returns the kernel's own counters, a run, in the order of [`NOISE`].
    pub(super) fn counters(&self) -> [String; 4] {
        self.noise.map(|sum| number(sum as f64 / self.runs.max(1) as f64))
    }

    /// `81`, or `1,716 + 49` where there are string iterations.
    fn cell(&self, side: fn(&Sample) -> Executed) -> String {
        let of = |number: fn(Executed) -> u64| {
            Summary::of(self.region.samples.iter().map(|sample| number(side(sample))).collect()).median
        };
        let (instructions, iterations) = (of(|e| e.instructions), of(|e| e.iterations));
        if iterations > 0.0 {
            format!("{} + {}", number(instructions), number(iterations))
        } else {
            number(instructions)
        }
    }

    /// Tells whether all runs were the same, or from where to where they went.
    fn spread(&self) -> String {
        let Summary { low, high, .. } = self.summary(|sample| sample.here.steps());
        if self.is_exact() { "exact".into() } else { format!("{}..{}", number(low), number(high)) }
    }

    fn is_exact(&self) -> bool {
        let first = self.region.samples.first().map(|sample| sample.here);
        self.region.samples.iter().all(|sample| Some(sample.here) == first)
    }
}

/// Two numbers that belong together.
struct Summaries {
    instructions: f64,
    iterations: f64,
}

impl Figures {
    /// Joins the kernel's output on its console with the plugin's report: with how many CPUs, and how many
    /// ticks an instruction takes, as a shift.
    ///
    /// # Errors
    /// The two do not speak of the same regions and runs.
    pub(super) fn join(
        console: &str,
        report: &Report,
        options: &CountOptions,
        (cpus, shift): (u32, u32),
    ) -> Result<Self> {
        let rows: Vec<Row> = console.lines().filter_map(Row::parse).collect();
        let empty = rows.iter().find(|row| row.name == EMPTY).context("the kernel measured nothing")?;
        let overhead = (empty.ticks >> shift) as f64 / empty.runs.max(1) as f64;
        let mut figures = Self { cpus, measured: Vec::new(), notes: Vec::new() };
        let unmeasured: Vec<String> = unmeasured(console).collect();
        if !unmeasured.is_empty() {
            figures.notes.push(format!("not measured: {}", unmeasured.join(", ")));
        }
        for row in &rows {
            let region =
                report.region(row.id).with_context(|| format!("the plugin saw no marks of {}", row.name))?;
            ensure!(
                region.samples.len() as u64 == row.runs,
                "{}: the kernel ran it {} times, the plugin saw {}",
                row.name,
                row.runs,
                region.samples.len()
            );
            let measured = Measured {
                name: if options.busy { format!("{}/busy", row.name) } else { row.name.clone() },
                runs: row.runs,
                region: region.clone(),
                noise: row.noise,
                waiting: Executed::default(),
            };
            let by_clock = (row.ticks >> shift) as f64 - overhead * row.runs as f64;
            if by_clock != measured.steps() as f64 {
                figures.notes.push(format!(
                    "{}: {} by the plugin, {by_clock} by the clock, in all runs: it waited, or the count is wrong",
                    row.name,
                    measured.steps()
                ));
            }
            if row.name != EMPTY || options.regions.is_empty() || options.regions.iter().any(|r| r == EMPTY) {
                figures.measured.push(measured);
            }
        }
        Ok(figures)
    }

    /// Looks up the instructions of other CPUs that were kept busy, and counts their waiting apart.
    pub(super) fn set_waiting_apart(&mut self, names: &Names) -> Result<()> {
        for measured in &mut self.measured {
            measured.waiting = names.waiting(&measured.region.places)?;
        }
        Ok(())
    }

    /// Returns the notes that a reader needs beside the figures.
    pub(super) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns the table for people: medians a run.
    pub(super) fn table(&self, options: &CountOptions) -> String {
        let mut head = vec!["region", "instructions", "spread", "code lines"];
        if options.memory {
            head.extend(["data lines", "reads", "writes"]);
        }
        if options.all_cpus {
            head.push("elsewhere");
        }
        head.extend(["table writes", "flushes", "remote", "interrupts"]);
        let mut lines = vec![head.into_iter().map(String::from).collect::<Vec<_>>()];
        for measured in &self.measured {
            let median = |metric: fn(&Sample) -> u64| number(measured.summary(metric).median);
            let mut line = vec![
                measured.name.clone(),
                measured.cell(|sample| sample.here),
                measured.spread(),
                median(|sample| sample.code_lines),
            ];
            if options.memory {
                let memory = [MEMORY_METRICS[2], MEMORY_METRICS[0], MEMORY_METRICS[1]];
                line.extend(memory.map(|(_, _, metric)| median(metric)));
            }
            if options.all_cpus {
                line.push(measured.elsewhere());
            }
            line.extend(measured.counters());
            lines.push(line);
        }
        aligned(&lines)
    }

    /// Returns one list a region: its functions, most instructions first, a run.
    pub(super) fn profiles(&self, names: &Names, options: &CountOptions) -> String {
        let mut text = String::new();
        for measured in &self.measured {
            for (side, title) in [(Side::Here, ""), (Side::Elsewhere, ", on other CPUs")] {
                let functions = match names.add_up(&measured.region.places, side) {
                    Ok(functions) if side == Side::Here || options.all_cpus => functions,
                    _ => continue,
                };
                if functions.is_empty() {
                    continue;
                }
                let _ = writeln!(text, "\n{}{title}", measured.name);
                let a_run = |sum: u64| number(sum as f64 / measured.runs.max(1) as f64);
                for (name, executed) in functions {
                    let mut cell = a_run(executed.instructions);
                    if executed.iterations > 0 {
                        cell += &format!(" + {}", a_run(executed.iterations));
                    }
                    let _ = writeln!(text, "{cell:>16}  {name}");
                }
            }
        }
        text
    }

    /// Returns all figures as lines of the project's CSV.
    pub(super) fn csv(&self, options: &CountOptions) -> String {
        let mut text = String::new();
        for measured in &self.measured {
            let memory = if options.memory { &MEMORY_METRICS[..] } else { &[] };
            let of_samples = METRICS
                .iter()
                .chain(memory)
                .map(|(metric, unit, of)| (*metric, *unit, measured.summary(*of)));
            let of_kernel = NOISE
                .iter()
                .zip(measured.noise)
                .map(|((metric, unit), sum)| (*metric, *unit, Summary::mean(sum, measured.runs)));
            let work = measured.work_elsewhere();
            let of_others = [
                ("elsewhere_work_instructions", "instructions", work.instructions),
                ("elsewhere_work_string_iterations", "iterations", work.iterations),
            ]
            .map(|(metric, unit, mean)| (metric, unit, Summary { median: mean, low: mean, high: mean }));
            for (metric, unit, Summary { median, low, high }) in of_samples.chain(of_others).chain(of_kernel)
            {
                let _ = writeln!(
                    text,
                    "{},{},rhumb,{metric},{unit},{median:.3},{low:.3},{high:.3}",
                    measured.name, self.cpus
                );
            }
        }
        text
    }
}

/// Returns the regions that the kernel could not measure.
fn unmeasured(console: &str) -> impl Iterator<Item = String> {
    console.lines().filter_map(|line| {
        let (region, why) = line.split_once("not measured: ")?;
        let name = region.split_whitespace().next()?;
        Some(format!("{name} ({why})"))
    })
}

/// Returns a whole number as it is, with its thousands apart; any other with two digits.
fn number(value: f64) -> String {
    if value.fract() != 0.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Columns as wide as their widest cell; the first to the left, the others to the right.
pub(super) fn aligned(lines: &[Vec<String>]) -> String {
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(String::len).max();
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().enumerate().map(|(column, cell)| {
            let width = width(column).unwrap_or(0);
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    text
}

#[cfg(test)]
mod tests;
