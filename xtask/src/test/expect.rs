//! Expectations of a test about the console's text.

use std::ops::RangeInclusive;

use crate::machine::MemorySize;

/// One thing that the output must show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Expect {
    /// This text, in any case of letters.
    Text(String),
    /// Not this text, in any case of letters.
    NoText(String),
    /// A line `NAME: N kB`, the sum over these names being in the range.
    Kib(&'static [&'static str], RangeInclusive<u64>),
    /// So many lines that hold this text, in any case of letters.
    Lines(usize, String),
    /// So many lines or more that hold this text, in any case of letters.
    AtLeast(usize, String),
    /// No line of more characters.
    Width(usize),
}

/// Demands that the output shows this text.
pub(crate) fn text(text: impl Into<String>) -> Expect {
    Expect::Text(text.into())
}

/// Demands that the output does not show this text.
pub(crate) fn no_text(text: impl Into<String>) -> Expect {
    Expect::NoText(text.into())
}

/// Demands that the named lines of `meminfo` sum up to an amount in this range.
pub(crate) fn kib(names: &'static [&'static str], range: RangeInclusive<u64>) -> Expect {
    Expect::Kib(names, range)
}

/// Demands that `count` lines of the output hold `text`.
pub(crate) fn lines(count: u32, text: impl Into<String>) -> Expect {
    Expect::Lines(count as usize, text.into())
}

/// Demands that `count` lines of the output or more hold `text`.
pub(crate) fn at_least(count: u32, text: impl Into<String>) -> Expect {
    Expect::AtLeast(count as usize, text.into())
}

/// Demands that no line of the output has more than `columns` characters.
pub(crate) const fn width(columns: usize) -> Expect {
    Expect::Width(columns)
}

/// Returns the range of all of `memory` in KiB, less at most `missing_percent` of it and `missing_mib` more.
pub(crate) fn nearly(memory: MemorySize, missing_percent: u64, missing_mib: u64) -> RangeInclusive<u64> {
    let kib = memory.bytes() >> 10;
    kib.saturating_sub(kib / 100 * missing_percent + (missing_mib << 10))..=kib
}

impl Expect {
    /// Returns the fault of `output`, or `None`.
    pub(crate) fn complaint(&self, output: &str) -> Option<String> {
        let has = |text: &str| output.to_lowercase().contains(&text.to_lowercase());
        match self {
            Self::Text(text) => (!has(text)).then(|| format!("expected, but not there: {text}")),
            Self::NoText(text) => has(text).then(|| format!("there, but must not be: {text}")),
            Self::Kib(names, range) => {
                let mut sum = 0;
                for name in *names {
                    let Some(value) = field_kib(output, name) else {
                        return Some(format!("expected a line `{name}: ... kB`"));
                    };
                    sum += value;
                }
                let (low, high) = (range.start(), range.end());
                let names = names.join(" + ");
                (!range.contains(&sum)).then(|| format!("{names} is {sum} kB, not within {low}..={high}"))
            }
            Self::Lines(count, text) => {
                let found = lines_with(output, text);
                (found != *count).then(|| format!("{found} lines with `{text}`, not {count}"))
            }
            Self::AtLeast(count, text) => {
                let found = lines_with(output, text);
                (found < *count).then(|| format!("{found} lines with `{text}`, not {count} or more"))
            }
            Self::Width(columns) => {
                let wide = output.lines().find(|line| line.trim_end().chars().count() > *columns);
                wide.map(|line| format!("wider than {columns} columns: {line}"))
            }
        }
    }
}

/// Returns how many lines hold `text`, in any case of letters.
fn lines_with(output: &str, text: &str) -> usize {
    let text = text.to_lowercase();
    output.lines().filter(|line| line.to_lowercase().contains(&text)).count()
}

/// Returns N of the line `NAME: N kB`.
fn field_kib(output: &str, name: &str) -> Option<u64> {
    let values = output.lines().filter_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'));
    values.filter_map(|value| value.trim().strip_suffix("kB")?.trim().parse().ok()).next()
}

#[cfg(test)]
mod tests;
