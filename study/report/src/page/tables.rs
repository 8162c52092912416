//! Tables: those of the study, and those of its figures.

use maud::{Markup, html};

use crate::format::{SHARE, UNKNOWN, moment, quantity, sentence, unit_bytes};
use crate::schema::{Cell, Column, Table};

/// The most rows that a table shows before its reader asks for more.
const SHOWN: usize = 15;

/// Returns the sentence below a figure.
pub(super) fn caption(text: &str) -> Markup {
    html! {
        @if !text.trim().is_empty() { figcaption { (sentence(text)) } }
    }
}

/// Returns the table of a figure, folded. The first `words` columns are words, the rest numbers.
pub(crate) fn rows(head: &[&str], words: usize, body: Vec<Vec<String>>) -> Markup {
    html! { details { summary { "The figures as a table" } (table(head, words, body)) } }
}

/// Returns a table whose first `words` columns are words, and the rest numbers.
pub(crate) fn table(head: &[&str], words: usize, body: Vec<Vec<String>>) -> Markup {
    html! {
        div.scroll tabindex="0" {
            table {
                thead { tr { @for (index, name) in head.iter().enumerate() { th.num[index >= words] scope="col" { (name) } } } }
                tbody {
                    @for row in body { tr { @for (index, cell) in row.iter().enumerate() { td.num[index >= words].long[is_long(cell)] { (cell) } } } }
                }
            }
        }
    }
}

/// Returns the figure of a table of the study, which is the `index`th.
pub(super) fn figure(table: &Table, index: usize) -> Markup {
    html! {
        figure.wide-table id=(format!("table-{index}")) {
            h3 { (table.title) }
            @if table.rows.len() <= SHOWN {
                (block(table, &table.rows))
            } @else {
                (block(table, &table.rows[..SHOWN]))
                details {
                    summary { "All " (table.rows.len()) " rows" }
                    (block(table, &table.rows))
                }
            }
            (caption(&table.caption))
        }
    }
}

fn block(table: &Table, shown: &[Vec<Cell>]) -> Markup {
    let is_number = |column: usize| {
        let mut cells = shown.iter().filter_map(|row| row.get(column));
        cells.any(|cell| matches!(cell, Cell::Number(_)))
    };
    let numeric: Vec<bool> = (0..table.columns.len()).map(is_number).collect();
    let is_numeric = |index: usize| numeric.get(index).copied().unwrap_or(false);
    html! {
        div.scroll tabindex="0" {
            table {
                thead {
                    tr {
                        @for (index, column) in table.columns.iter().enumerate() {
                            th.num[is_numeric(index)] scope="col" {
                                (column.name)
                                @if !column.unit.is_empty() && !is_in_cells(&column.unit) && !column.name.ends_with(&column.unit) {
                                    ", " (column.unit)
                                }
                            }
                        }
                    }
                }
                tbody {
                    @for row in shown {
                        tr {
                            @for (index, cell) in row.iter().enumerate() {
                                @let text = text(cell, table.columns.get(index));
                                td.num[is_numeric(index)].long[is_long(&text)] { (text) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Tells whether a text needs a wide column, even where that makes the table wider than a phone.
fn is_long(text: &str) -> bool {
    text.len() > 40
}

/// The unit of moments.
const SINCE: &str = "s since 1970";

/// Whole numbers below this one may be the names of processes, and are not grouped by thousands.
const NAMES: f64 = 1e7;

/// Tells whether each cell of a column has its unit: sizes, which are scaled, shares and moments. Other columns have it
/// in their head.
fn is_in_cells(unit: &str) -> bool {
    unit_bytes(unit).is_some() || unit == SHARE || unit == SINCE
}

fn text(cell: &Cell, column: Option<&Column>) -> String {
    let unit = column.map_or("", |column| &column.unit);
    match cell {
        Cell::Number(number) if unit.is_empty() && *number == number.trunc() && number.abs() < NAMES => {
            format!("{}{}", if *number < 0.0 { "−" } else { "" }, number.abs())
        }
        Cell::Number(number) if unit == SINCE && *number >= 0.0 => moment(*number as u64),
        Cell::Number(number) => quantity(*number, if is_in_cells(unit) { unit } else { "" }),
        Cell::Text(text) => text.clone(),
        Cell::Unknown(()) => UNKNOWN.to_owned(),
    }
}
