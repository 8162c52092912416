//! Memory as rows of cells.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::Class;
use crate::format::bytes;
use crate::schema::{Extent, MemoryMap};

/// Cells of a row.
pub(super) const CELLS: u64 = 64;

/// The most rows of a picture.
const ROWS: u64 = 24;

/// The smallest cell: a large page.
const SMALLEST: u64 = 2 << 20;

/// Returns the bytes of a cell with which each of the maps has few rows.
pub(super) fn cell_bytes(maps: &[MemoryMap]) -> u64 {
    let mut cell = SMALLEST;
    while cell < 1 << 50 && maps.iter().any(|map| used_rows(&map.extents, cell) > ROWS) {
        cell *= 2;
    }
    cell
}

/// Returns the rows, first and last, that an extent touches; `None` where it is empty or has no place.
fn rows_of(extent: &Extent, cell: u64) -> Option<(u64, u64)> {
    let start = extent.start.filter(|_| extent.bytes > 0)?;
    let row = cell * CELLS;
    Some((start / row, start.saturating_add(extent.bytes - 1) / row))
}

/// Counts the rows that have memory.
fn used_rows(extents: &[Extent], cell: u64) -> u64 {
    let mut spans: Vec<(u64, u64)> = extents.iter().filter_map(|extent| rows_of(extent, cell)).collect();
    spans.sort_unstable();
    let mut next = 0;
    let mut used = 0u64;
    for (first, last) in spans {
        let first = first.max(next);
        if last >= first {
            used = used.saturating_add(last - first + 1);
            next = last.saturating_add(1);
        }
    }
    used
}

/// The parts of one cell: bytes by class.
type Parts = BTreeMap<Class, u64>;

/// A map as rows of cells.
pub(super) struct Sheet {
    cell: u64,
    /// The cells that have memory, by their number.
    cells: BTreeMap<u64, Parts>,
}

impl Sheet {
    /// Divides a map into cells of `cell` bytes.
    pub(super) fn of(map: &MemoryMap, cell: u64) -> Self {
        let mut cells: BTreeMap<u64, Parts> = BTreeMap::new();
        for extent in &map.extents {
            let Some(start) = extent.start.filter(|_| extent.bytes > 0) else { continue };
            let last = start.saturating_add(extent.bytes - 1);
            for number in start / cell..=last / cell {
                let (from, to) = (
                    start.max(number * cell),
                    last.min(number.saturating_mul(cell).saturating_add(cell - 1)),
                );
                let sum = cells.entry(number).or_default().entry(Class::of(extent.page_bytes)).or_default();
                *sum = sum.saturating_add(to - from + 1);
            }
        }
        Self { cell, cells }
    }

    /// Draws the sheet. Rows without memory are a narrow gap.
    pub(super) fn picture(&self, moment: &str) -> Markup {
        let mut tops: BTreeMap<u64, f64> = BTreeMap::new();
        let mut height = 0.0;
        for row in self.cells.keys().map(|cell| cell / CELLS) {
            if !tops.contains_key(&row) {
                let is_next = row == 0 || tops.contains_key(&(row - 1));
                height += if is_next || tops.is_empty() { 0.0 } else { 0.6 };
                tops.insert(row, height);
                height += 1.0;
            }
        }
        let runs = self.runs();
        html! {
            svg.sheet viewBox=(format!("0 0 {CELLS} {height}")) role="img" aria-label=(format!("Physical memory, {moment}")) {
                @for top in tops.values() { rect.hole x="0" y=(top) width=(CELLS) height="1" {} }
                @for run in &runs {
                    rect class=(run.class.name()) x=(trim(run.x)) y=(trim(tops.get(&run.row).copied().unwrap_or(0.0))) width=(trim(run.width)) height="1" {
                        title { (bytes(run.row as f64 * (self.cell * CELLS) as f64 + run.x * self.cell as f64)) }
                    }
                }
                g.cuts {
                    @for column in 1..CELLS { line x1=(column) x2=(column) y1="0" y2=(height) {} }
                    @for top in tops.values() { line x1="0" x2=(CELLS) y1=(top) y2=(top) {} }
                }
            }
        }
    }

    /// Returns the rectangles to draw: cells of a single class that are side by side are one.
    fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for (number, parts) in &self.cells {
            let (row, column) = (number / CELLS, (number % CELLS) as f64);
            let total: u64 = parts.values().fold(0, |sum, part| sum.saturating_add(*part));
            // Overlapping extents, and rounding, must not leave the cell.
            let whole = total.max(self.cell) as f64;
            let mut x = column;
            for (class, part) in parts {
                let width = *part as f64 / whole;
                match runs.last_mut() {
                    Some(last)
                        if last.row == row
                            && last.class == *class
                            && (last.x + last.width - x).abs() < 1e-9 =>
                    {
                        last.width += width;
                    }
                    _ => runs.push(Run { row, x, width, class: *class }),
                }
                x += width;
            }
        }
        runs
    }
}

/// A rectangle of one class in a row.
struct Run {
    row: u64,
    x: f64,
    width: f64,
    class: Class,
}

/// Writes a place with few digits.
fn trim(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
