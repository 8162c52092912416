//! Results that are no comparison: curves, bars, pictures of memory, tables.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::number;

/// A value at a place, with its interval.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Point {
    /// The place.
    #[serde(deserialize_with = "number::one")]
    pub x: f64,
    /// The value: a median.
    #[serde(deserialize_with = "number::one")]
    pub y: f64,
    /// The lower end of the interval, or the first quartile; `y` for a count.
    #[serde(deserialize_with = "number::one")]
    pub low: f64,
    /// The upper end of the interval, or the third quartile; `y` for a count.
    #[serde(deserialize_with = "number::one")]
    pub high: f64,
}

/// One line of a curve.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Its points, by ascending place.
    pub points: Vec<Point>,
}

/// Values over a number.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Curve {
    /// A name that is the same on every machine and in every version.
    pub id: String,
    /// The heading.
    pub title: String,
    /// The horizontal axis, with its unit: "busy CPUs".
    pub x_label: String,
    /// The vertical axis, with its unit: "ns for each page".
    pub y_label: String,
    /// Whether the horizontal axis is best drawn by powers of two.
    pub x_by_powers: bool,
    /// The lines.
    pub series: Vec<Series>,
    /// One sentence below it: what to see.
    pub caption: String,
}

/// One bar, of one part or several.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Bar {
    /// Its name.
    pub name: String,
    /// Its parts, in the order of [`Bars::parts`].
    #[serde(deserialize_with = "number::list")]
    pub values: Vec<f64>,
}

/// Values by name, each of one part or several that are stacked.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Bars {
    /// A name that is the same on every machine and in every version.
    pub id: String,
    /// The heading.
    pub title: String,
    /// The unit of all values.
    pub unit: String,
    /// The names of the parts.
    pub parts: Vec<String>,
    /// The bars.
    pub bars: Vec<Bar>,
    /// One sentence below it: what to see.
    pub caption: String,
}

/// A part of physical memory that is mapped alike.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Extent {
    /// Where it begins; `None` where only its size is known.
    pub start: Option<u64>,
    /// Its size in bytes.
    pub bytes: u64,
    /// The size of the pages that map it, in bytes; `None` where it is not mapped.
    pub page_bytes: Option<u64>,
}

/// Physical memory by the size of the pages that map it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct MemoryMap {
    /// The moment: "before", "after 10 % were broken".
    pub moment: String,
    /// Its parts: by ascending place where places are known.
    pub extents: Vec<Extent>,
    /// Where this is known from: "/proc/meminfo".
    pub source: String,
}

impl MemoryMap {
    /// Returns the bytes that each size of page maps, the smallest pages first, and memory that is not mapped last.
    pub fn by_page(&self) -> Vec<(Option<u64>, u64)> {
        let mut sums: BTreeMap<(bool, Option<u64>), u64> = BTreeMap::new();
        for extent in &self.extents {
            let sum = sums.entry((extent.page_bytes.is_none(), extent.page_bytes)).or_default();
            *sum = sum.saturating_add(extent.bytes);
        }
        sums.retain(|_, bytes| *bytes > 0);
        sums.into_iter().map(|((_, page), bytes)| (page, bytes)).collect()
    }
}

/// A cell of a table.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cell {
    /// A number, in the column's unit.
    Number(f64),
    /// Words.
    Text(String),
    /// Nothing is known.
    Unknown(()),
}

/// A column of a table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// The unit of its numbers: "ns", "bytes", "share" of parts of 1, which are shown in per cent, "" where there is none.
    pub unit: String,
}

impl Column {
    /// Makes a column of its name and its unit.
    pub fn new(name: impl Into<String>, unit: impl Into<String>) -> Self {
        Self { name: name.into(), unit: unit.into() }
    }

    /// Makes columns of their names and units.
    pub fn list(columns: &[(&str, &str)]) -> Vec<Self> {
        columns.iter().map(|(name, unit)| Self::new(*name, *unit)).collect()
    }
}

/// Rows of cells.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Table {
    /// A name that is the same on every machine and in every version.
    pub id: String,
    /// The heading.
    pub title: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its rows: a cell for each column.
    pub rows: Vec<Vec<Cell>>,
    /// One sentence below it: what to see.
    pub caption: String,
}
