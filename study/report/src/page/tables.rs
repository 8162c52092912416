//! Tables: those of the study, and those of its figures.

use maud::{Markup, html};

use crate::format::{UNKNOWN, quantity, sentence};
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
                    @for row in body { tr { @for (index, cell) in row.iter().enumerate() { td.num[index >= words] { (cell) } } } }
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
            @if table.rows.is_empty() {
                p.none { "No rows." }
            } @else if table.rows.len() <= SHOWN {
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
                                @if !column.unit.is_empty() && column.unit != "bytes" && !column.name.ends_with(&column.unit) {
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
                                td.num[is_numeric(index)] { (text(cell, table.columns.get(index))) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Tells whether a column's numbers are names, which are not grouped by thousands.
fn has_names(column: &Column) -> bool {
    let name = column.name.to_lowercase();
    column.unit.is_empty()
        && name
            .split(|c: char| !c.is_alphanumeric())
            .any(|word| matches!(word, "pid" | "id" | "inode" | "uid" | "fd" | "container"))
}

fn text(cell: &Cell, column: Option<&Column>) -> String {
    let unit = column.map_or("", |column| &column.unit);
    match cell {
        Cell::Number(number) if column.is_some_and(has_names) && number.is_finite() => number.to_string(),
        // The column's head has the unit, but for sizes, which have one each.
        Cell::Number(number) => quantity(*number, if unit == "bytes" { unit } else { "" }),
        Cell::Text(text) => text.clone(),
        Cell::Unknown(()) => UNKNOWN.to_owned(),
    }
}
