//! The report of a run: an aligned table with the ratio to the best competitor in each row, and a CSV file.
//!
//! A time below the clock's resolution has no value: the table says `<N`, the CSV file leaves its values empty and has
//! N in the column `resolution`, and there is no ratio with it.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::stats::{Better, Summary};

/// The name of our own subject; others of ours have a hyphen and more behind it.
pub(crate) const OURS: &str = "rhumb";

/// The name of the subject that shows what is possible and takes no part in the comparison.
pub(crate) const FLOOR: &str = "floor";

/// Returns how many CPUs these are, in words.
pub(crate) fn of_cpus(cpus: usize) -> String {
    if cpus == 1 { "1 CPU".to_owned() } else { format!("{cpus} CPUs") }
}

/// One figure of one subject, over all rounds.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    pub(crate) workload: String,
    pub(crate) cpus: usize,
    pub(crate) subject: &'static str,
    pub(crate) metric: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
    pub(crate) summary: Summary,
    /// The smallest value that can be told from nothing; 0 where each value is one.
    pub(crate) resolution: f64,
}

impl Figure {
    /// Tells whether the median is a value, rather than below the resolution of its measurement.
    pub(crate) fn is_resolved(&self) -> bool {
        self.summary.median >= self.resolution
    }

    fn same_row(&self, other: &Self) -> bool {
        (self.workload.as_str(), self.cpus, self.metric) == (&other.workload, other.cpus, other.metric)
    }
}

/// All figures, in the order in which they were measured.
#[derive(Default, Debug)]
pub(crate) struct Report {
    figures: Vec<Figure>,
    notes: Vec<String>,
}

impl Report {
    pub(crate) fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// Adds a line below the table that its reader needs.
    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Returns all figures.
    pub(crate) fn figures(&self) -> &[Figure] {
        &self.figures
    }

    #[cfg(test)]
    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Writes all figures to the file that the command line names, if it names one.
    ///
    /// # Errors
    /// The file's name, and the host's error.
    pub(crate) fn save(&self, path: Option<&Path>) -> Result<(), String> {
        let write =
            |path: &Path| self.write_csv(path).map_err(|error| format!("{}: {error}", path.display()));
        path.map_or(Ok(()), write)
    }

    /// Writes all figures to `path`.
    fn write_csv(&self, path: &Path) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        self.csv(&mut file)?;
        file.flush()
    }

    fn csv(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "workload,cpus,subject,metric,unit,median,low,high,resolution")?;
        for figure in &self.figures {
            let Figure { workload, cpus, subject, metric, unit, summary, resolution, .. } = figure;
            // Empty, which a script can tell from 0, where there is no value.
            let value = |value: f64| {
                if value < *resolution { String::new() } else { format!("{value:.3}") }
            };
            let [median, low, high] = [summary.median, summary.low, summary.high].map(value);
            let resolution = if *resolution > 0.0 { format!("{resolution:.3}") } else { String::new() };
            writeln!(out, "{workload},{cpus},{subject},{metric},{unit},{median},{low},{high},{resolution}")?;
        }
        Ok(())
    }

    /// Returns the subjects in the order in which they first came.
    fn subjects(&self) -> Vec<&'static str> {
        let mut subjects = Vec::new();
        for figure in &self.figures {
            if !subjects.contains(&figure.subject) {
                subjects.push(figure.subject);
            }
        }
        subjects
    }

    /// Returns the figures of each row: the same workload, CPUs and metric.
    pub(crate) fn rows(&self) -> Vec<Vec<&Figure>> {
        let mut rows: Vec<Vec<&Figure>> = Vec::new();
        for figure in &self.figures {
            match rows.iter_mut().find(|row| row[0].same_row(figure)) {
                Some(row) => row.push(figure),
                None => rows.push(vec![figure]),
            }
        }
        rows
    }
}

/// Tells whether the subject is ours.
fn is_ours(subject: &str) -> bool {
    subject.strip_prefix(OURS).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Our figure of a row beside the best of the others.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Comparison {
    /// One of the two is not there, or is zero.
    None,
    /// One of them is below the clock's resolution.
    Unresolved,
    /// Ours is so many times as good as that of the subject.
    Ratio(f64, &'static str),
}

impl Comparison {
    fn of(row: &[&Figure]) -> Self {
        let others = || row.iter().filter(|figure| !is_ours(figure.subject) && figure.subject != FLOOR);
        let Some(ours) = row.iter().find(|figure| figure.subject == OURS) else { return Self::None };
        let Some(best) = others().min_by(|a, b| ours.better.order(a.summary.median, b.summary.median)) else {
            return Self::None;
        };
        if !ours.is_resolved() || others().any(|figure| !figure.is_resolved()) {
            return Self::Unresolved;
        }
        let (theirs, value) = (best.summary.median, ours.summary.median);
        let (over, under) = if ours.better == Better::Lower { (theirs, value) } else { (value, theirs) };
        if over > 0.0 && under > 0.0 { Self::Ratio(over / under, best.subject) } else { Self::None }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("-"),
            Self::Unresolved => f.write_str("unresolved"),
            Self::Ratio(ratio, subject) => write!(f, "{}x {subject}", number(*ratio)),
        }
    }
}

/// Writes three significant digits, and no more than a table can hold.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 1.0 => format!("{value:.3}"),
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// Returns a median and half of its spread, in per cent; `<N` where it is below the resolution N.
fn cell(figure: &Figure) -> String {
    let summary = &figure.summary;
    if !figure.is_resolved() {
        return format!("<{}", number(figure.resolution));
    }
    let spread = (summary.high - summary.low) / 2.0 / summary.median * 100.0;
    if spread.is_finite() {
        format!("{} ±{spread:.0}%", number(summary.median))
    } else {
        number(summary.median)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Counts of failures are worth a line where there is one; a time that has no value is one.
        let mut rows = self.rows();
        rows.retain(|row| row.iter().any(|figure| figure.summary.high != 0.0 || !figure.is_resolved()));
        let subjects = self.subjects();
        let comparisons: Vec<Comparison> = rows.iter().map(|row| Comparison::of(row)).collect();
        let has = |kind: fn(&Comparison) -> bool| comparisons.iter().any(kind);
        let is_compared = has(|comparison| *comparison != Comparison::None);
        let head = ["workload", "cpus", "metric", "unit"].into_iter().chain(subjects.iter().copied());
        let mut lines =
            vec![head.chain(is_compared.then_some("rhumb against")).map(str::to_owned).collect::<Vec<_>>()];
        for (row, comparison) in rows.iter().zip(&comparisons) {
            let first = row[0];
            let mut line = vec![
                first.workload.clone(),
                first.cpus.to_string(),
                first.metric.to_owned(),
                first.unit.to_owned(),
            ];
            line.extend(subjects.iter().map(|&subject| {
                row.iter().find(|figure| figure.subject == subject).map_or("-".into(), |figure| cell(figure))
            }));
            line.extend(is_compared.then(|| comparison.to_string()));
            lines.push(line);
        }
        write_aligned(f, &lines)?;
        if !rows.is_empty() {
            writeln!(f, "\nmedian ± half of (highest - lowest)")?;
        }
        if is_compared {
            writeln!(
                f,
                "\"rhumb against\": so many times as good as the best of the others that ran, by name"
            )?;
        }
        if rows.iter().flatten().any(|figure| !figure.is_resolved()) {
            writeln!(f, "<N: below the clock's resolution, so that it has no value and no ratio")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}

/// Writes columns as wide as their widest cell; the first three to the left, the others to the right.
fn write_aligned(f: &mut fmt::Formatter<'_>, lines: &[Vec<String>]) -> fmt::Result {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for line in lines {
        let cells: Vec<String> = line
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, &width))| match column {
                0 | 2 | 3 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            })
            .collect();
        writeln!(f, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
