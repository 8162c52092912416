//! The report of a run: an aligned table with the ratio to the best competitor in each row, and a CSV file.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::stats::{Better, Summary};

/// The name of our own subject; others of ours have a hyphen and more behind it.
pub(crate) const OURS: &str = "rhumb";

/// The name of the subject that shows what is possible and takes no part in the comparison.
pub(crate) const FLOOR: &str = "floor";

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
}

impl Figure {
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

    /// Something that a reader of the table has to know.
    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Returns all of them.
    pub(crate) fn figures(&self) -> &[Figure] {
        &self.figures
    }

    #[cfg(test)]
    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Writes all figures to `path`.
    pub(crate) fn write_csv(&self, path: &Path) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        self.csv(&mut file)?;
        file.flush()
    }

    fn csv(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "workload,cpus,subject,metric,unit,median,low,high")?;
        for figure in &self.figures {
            let Figure { workload, cpus, subject, metric, unit, summary, .. } = figure;
            let Summary { median, low, high } = summary;
            writeln!(out, "{workload},{cpus},{subject},{metric},{unit},{median:.3},{low:.3},{high:.3}")?;
        }
        Ok(())
    }

    /// Subjects in the order in which they first came.
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
    fn rows(&self) -> Vec<Vec<&Figure>> {
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

/// Returns the best figure of a row that is not ours, and how many times better ours is.
fn comparison<'row>(row: &[&'row Figure]) -> (Option<&'row Figure>, Option<f64>) {
    let others = row.iter().filter(|figure| !is_ours(figure.subject) && figure.subject != FLOOR);
    let best = others.copied().min_by(|a, b| {
        let order = a.summary.median.total_cmp(&b.summary.median);
        if a.better == Better::Lower { order } else { order.reverse() }
    });
    let ours = row.iter().find(|figure| figure.subject == OURS);
    let ratio = best.zip(ours).and_then(|(best, ours)| {
        let (theirs, ours) = (best.summary.median, ours.summary.median);
        let (over, under) = if best.better == Better::Lower { (theirs, ours) } else { (ours, theirs) };
        (under > 0.0).then(|| over / under)
    });
    (best, ratio)
}

/// Three significant digits, and no more than a table can hold.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 1.0 => format!("{value:.3}"),
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// Returns a median and half of its spread, in per cent.
fn cell(summary: &Summary) -> String {
    let spread = (summary.high - summary.low) / 2.0 / summary.median * 100.0;
    if spread.is_finite() {
        format!("{} ±{spread:.0}%", number(summary.median))
    } else {
        number(summary.median)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subjects = self.subjects();
        let mut lines = vec![
            ["workload", "cpus", "metric", "unit"]
                .into_iter()
                .chain(subjects.iter().copied())
                .chain(["best other", "rhumb is"])
                .map(str::to_owned)
                .collect::<Vec<_>>(),
        ];
        for row in self.rows() {
            // Counts of failures are worth a line where there is one.
            if row.iter().all(|figure| figure.summary.high == 0.0) {
                continue;
            }
            let first = row[0];
            let mut line = vec![
                first.workload.clone(),
                first.cpus.to_string(),
                first.metric.to_owned(),
                first.unit.to_owned(),
            ];
            line.extend(subjects.iter().map(|&subject| {
                row.iter()
                    .find(|figure| figure.subject == subject)
                    .map_or("-".into(), |figure| cell(&figure.summary))
            }));
            let (best, ratio) = comparison(&row);
            line.push(best.map_or("-", |figure| figure.subject).to_owned());
            line.push(ratio.map_or("-".into(), |ratio| format!("{}x", number(ratio))));
            lines.push(line);
        }
        write_aligned(f, &lines)?;
        if self.figures.len() > self.rows().len() {
            writeln!(
                f,
                "\nmedian ± half of (highest - lowest); \"rhumb is\" so many times better than the best other"
            )?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}

/// Columns as wide as their widest cell; the first three to the left, the others to the right.
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
