//! One way to print figures: `/proc/meminfo`'s lines, human sizes, tables, hex dumps.

use core::fmt::{self, Display, Write};

use crate::output::Output;
use crate::text::Text;

/// Writes a line in the style of `/proc/meminfo`, in the same columns: `MemTotal:       16384 kB`. A kB is 1024 bytes,
/// as there; `bytes` is rounded down.
pub fn meminfo_line(out: &mut dyn Output, name: &str, bytes: u64) {
    // Linux pads the name and its colon to 16 columns and the number to 8; a longer name takes from the number's.
    let width = 22usize.saturating_sub(name.len());
    writeln!(out, "{name}: {:width$} kB", bytes / 1024);
}

/// Writes a line in the style of `/proc/vmstat`: `name value`.
pub fn counter_line(out: &mut dyn Output, name: &str, value: u64) {
    writeln!(out, "{name} {value}");
}

/// Bytes as a person says them: `512 B`, `4 KiB`, `1.5 GiB`. One decimal where it is not whole. Pads as a string does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Human(pub u64);

impl Display for Human {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let mut power = if self.0 == 0 { 0 } else { self.0.ilog2() / 10 };
        let tenths = |power: u32| {
            let unit = 1u128 << (10 * power);
            (u128::from(self.0) * 10 + unit / 2) / unit
        };
        // 1023.96 KiB is 1 MiB to one decimal.
        if tenths(power) >= 10_240 {
            power += 1;
        }
        let (whole, tenth) = (tenths(power) / 10, tenths(power) % 10);
        let unit = UNITS[power as usize];
        let is_whole = self.0.is_multiple_of(1 << (10 * power));
        let text: Text<16> = if is_whole {
            Text::of(format_args!("{whole} {unit}"))
        } else {
            Text::of(format_args!("{whole}.{tenth} {unit}"))
        };
        text.fmt(f)
    }
}

/// The side to which a column's cells are aligned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A column of a [`Table`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Column {
    /// Its head.
    pub title: &'static str,
    /// The side to which its cells are aligned.
    pub align: Align,
    /// Its least width; its title's is the least in any case.
    pub width: usize,
}

impl Column {
    /// Returns a column of words.
    pub const fn left(title: &'static str, width: usize) -> Self {
        Self { title, align: Align::Left, width }
    }

    /// Returns a column of numbers.
    pub const fn right(title: &'static str, width: usize) -> Self {
        Self { title, align: Align::Right, width }
    }
}

/// Rows under a head, aligned. Widths are given beforehand, so that rows can be printed as they are found; a cell that
/// is wider than its column is printed whole and pushes its row.
///
/// ```
/// # use rhumb_monitor::{Column, Output, Table};
/// # struct Console(String);
/// # impl Output for Console { fn write_str(&mut self, text: &str) { self.0.push_str(text) } }
/// # let mut console = Console(String::new());
/// const COLUMNS: &[Column] = &[Column::left("name", 8), Column::right("pages", 6)];
/// let mut table = Table::new(&mut console, COLUMNS);
/// table.row(&[&"kernel", &512]);
/// # assert_eq!(console.0, "name       pages\nkernel       512\n");
/// ```
pub struct Table<'a> {
    out: &'a mut dyn Output,
    columns: &'a [Column],
}

impl<'a> Table<'a> {
    /// Prints the head.
    pub fn new(out: &'a mut dyn Output, columns: &'a [Column]) -> Self {
        let mut table = Self { out, columns };
        table.cells(columns.iter().map(|column| &column.title as &dyn Display));
        table
    }

    /// Prints a row. Cells past the last column are printed as they are.
    pub fn row(&mut self, cells: &[&dyn Display]) {
        self.cells(cells.iter().copied());
    }

    /// Tells whether the reader wants no more rows.
    pub fn interrupted(&self) -> bool {
        self.out.interrupted()
    }

    fn cells<'c>(&mut self, cells: impl Iterator<Item = &'c dyn Display>) {
        // Padding is owed until something follows it: no row ends in blanks.
        let mut owed = 0;
        for (index, cell) in cells.enumerate() {
            let column = self.columns.get(index).copied().unwrap_or(Column::left("", 0));
            let width = column.width.max(column.title.len());
            let printed = printed_width(cell);
            let padding = width.saturating_sub(printed);
            let (before, after) = if column.align == Align::Right { (padding, 0) } else { (0, padding) };
            owed += before + if index == 0 { 0 } else { 2 };
            if printed > 0 {
                write!(self.out, "{:owed$}{cell}", "");
                owed = 0;
            }
            owed += after;
        }
        self.out.write_str("\n");
    }
}

/// Returns how many columns `value` takes.
fn printed_width(value: &dyn Display) -> usize {
    struct Counter(usize);
    impl Write for Counter {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 += crate::view::width(text);
            Ok(())
        }
    }
    let mut counter = Counter(0);
    let _ = write!(counter, "{value}");
    counter.0
}

/// Bytes in a row of a dump.
const ROW_BYTES: usize = 16;

/// Prints `bytes` as `hexdump -C` does, the first of them labelled with `address`; a run of equal rows is a `*`.
pub fn hexdump(out: &mut dyn Output, address: u64, bytes: &[u8]) {
    let mut last: Option<&[u8]> = None;
    let mut is_run = false;
    let mut label = address;
    for row in bytes.chunks(ROW_BYTES) {
        if out.interrupted() {
            return;
        }
        if last == Some(row) {
            if !is_run {
                out.write_str("*\n");
            }
            is_run = true;
        } else {
            hexdump_row(out, label, row);
            is_run = false;
        }
        last = Some(row);
        label = label.wrapping_add(row.len() as u64);
    }
    writeln!(out, "{label:016x}");
}

fn hexdump_row(out: &mut dyn Output, address: u64, row: &[u8]) {
    write!(out, "{address:016x} ");
    for column in 0..ROW_BYTES {
        let gap = if column == ROW_BYTES / 2 { "  " } else { " " };
        match row.get(column) {
            Some(byte) => write!(out, "{gap}{byte:02x}"),
            None => write!(out, "{gap}  "),
        }
    }
    out.write_str("  |");
    for &byte in row {
        let shown = if matches!(byte, 0x20..0x7f) { char::from(byte) } else { '.' };
        write!(out, "{shown}");
    }
    out.write_str("|\n");
}
