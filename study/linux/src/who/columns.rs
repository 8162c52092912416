//! The holders' rows as columns, of which a narrow terminal shows the most important ones.

#[cfg(test)]
mod tests;

use super::rows::Row;
use super::show::{age, cut, even_size, plain};

/// A column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Column {
    Pid,
    Inner,
    User,
    Command,
    Descriptors,
    Mappings,
    Size,
    Touched,
    Age,
    Container,
}

use Column::{Age, Command, Container, Descriptors, Inner, Mappings, Pid, Size, Touched, User};

/// All columns in their order.
const ALL: [Column; 10] = [Pid, Inner, User, Command, Descriptors, Mappings, Size, Touched, Age, Container];

/// The columns that a narrow terminal lacks: the first of them goes first.
const DROPPED: [Column; 5] = [Container, Inner, User, Mappings, Descriptors];

impl Column {
    fn title(self) -> &'static str {
        match self {
            Pid => "PID",
            Inner => "INNER",
            User => "USER",
            Command => "COMMAND",
            // The sign after it is that of shared files.
            Descriptors => "FD ",
            Mappings => "MAP",
            Size => "SIZE",
            Touched => "TOUCHED",
            Age => "AGE",
            Container => "CONTAINER",
        }
    }

    fn width(self) -> usize {
        match self {
            Pid | Inner => 7,
            User => 10,
            Command => 15,
            Descriptors => 6,
            Mappings => 3,
            Size | Touched => 9,
            Age => 8,
            Container => 12,
        }
    }

    /// Returns a text of the column's width.
    fn cell(self, text: &str) -> String {
        let width = self.width();
        match self {
            User | Command | Container => format!("{:<width$}", cut(text, width)),
            _ => format!("{text:>width$}"),
        }
    }

    fn value(self, row: &Row, now_unix_s: f64) -> String {
        match self {
            Pid => row.pid.to_string(),
            Inner => row.inner_pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            User => plain(&row.user),
            Command => plain(&row.command),
            Descriptors => format!("{}{}", row.descriptors, if row.shared_files > 0 { "s" } else { " " }),
            Mappings => row.mappings.to_string(),
            Size => even_size(row.bytes),
            Touched => row.touched_bytes.map_or_else(|| "?".to_owned(), even_size),
            Age => row.since_unix_s.map_or_else(|| "?".to_owned(), |since| age(now_unix_s - since)),
            Container => row.container.as_deref().map_or_else(|| "-".to_owned(), plain),
        }
    }

    /// Explains a title that does not explain itself.
    fn meaning(self) -> Option<&'static str> {
        match self {
            Inner => Some("INNER: the number in the process's own name space."),
            Descriptors => Some("FD: descriptors."),
            Mappings => Some("MAP: mappings."),
            Touched => Some("TOUCHED: what has left the direct map."),
            Age => Some("AGE: of the oldest file."),
            _ => None,
        }
    }
}

/// The columns that are shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Columns(Vec<Column>);

impl Columns {
    /// Chooses columns for rows, so that a line has at most `width` signs, if that can be. The size, the touched bytes and
    /// the age are always there.
    pub(super) fn of(rows: &[Row], width: usize) -> Self {
        let mut shown = ALL.to_vec();
        shown.retain(|column| match column {
            Inner => rows.iter().any(|row| row.inner_pid.is_some()),
            Container => rows.iter().any(|row| row.container.is_some()),
            _ => true,
        });
        for dropped in DROPPED {
            let needed: usize = shown.iter().map(|column| column.width() + 1).sum();
            if needed <= width + 1 {
                break;
            }
            shown.retain(|column| *column != dropped);
        }
        Self(shown)
    }

    /// Returns the heading.
    pub(super) fn heading(&self) -> String {
        self.joined(|column| column.title().to_owned())
    }

    /// Returns a holder's line.
    pub(super) fn line(&self, row: &Row, now_unix_s: f64) -> String {
        self.joined(|column| column.value(row, now_unix_s))
    }

    /// Explains the columns that do not explain themselves, and the sign of shared files if `rows` have one.
    pub(super) fn legend(&self, rows: &[Row]) -> String {
        let is_shared = self.0.contains(&Descriptors) && rows.iter().any(|row| row.shared_files > 0);
        let sign =
            is_shared.then_some("s: another process holds one of the files, too; the total counts it once.");
        self.0.iter().filter_map(|column| column.meaning()).chain(sign).collect::<Vec<_>>().join(" ")
    }

    fn joined(&self, text: impl Fn(Column) -> String) -> String {
        let cells: Vec<String> = self.0.iter().map(|column| column.cell(&text(*column))).collect();
        cells.join(" ").trim_end().to_owned()
    }
}
