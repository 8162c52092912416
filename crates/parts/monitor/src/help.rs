//! `help`: the commands in a table, or all about one.

use crate::arguments::Arguments;
use crate::command::{Command, Commands, HELP};
use crate::error::CommandError;
use crate::output::Output;
use crate::suggest::nearest;
use crate::wrap::{Wrap, write_text};

pub(crate) const USAGE: &str = "[COMMAND]";
const SUMMARY: &str = "this table, or all about one command";
const REST: &str =
    "Separate commands by ';'. Filter what they print: | grep [-v] [-i] WORD, | head [N], | count.";
/// Said where the table has left out a usage.
const CUT: &str = "Where '...' is, 'help COMMAND' shows the arguments.";

/// Columns of name and usage in the table, at most. A usage that does not fit is left out, so that all summaries are in one
/// column, and lines of 100 columns have room for 70 characters of summary.
const WIDEST: usize = 26;

pub(crate) fn run<C>(
    commands: &Commands<C>,
    mut arguments: Arguments<'_>,
    out: &mut dyn Output,
) -> Result<(), CommandError> {
    let name = arguments.optional(|rest| rest.word("COMMAND"))?;
    arguments.end()?;
    match name {
        None => table(commands, out),
        Some(HELP) => entry(HELP, USAGE, SUMMARY, REST, out),
        Some(name) => {
            let Some(Command { name, usage, summary, help, .. }) = commands.find(name) else {
                let mut is_there = false;
                commands.for_each_changing(|command| {
                    if command.name == name && !is_there {
                        is_there = true;
                        entry(name, command.usage, command.summary, command.help, out);
                    }
                });
                if is_there {
                    return Ok(());
                }
                return Err(match nearest(name, commands.names()) {
                    Some(other) => {
                        CommandError::failed(format_args!("'{name}' is no command; did you mean '{other}'?"))
                    }
                    None => CommandError::failed(format_args!("'{name}' is no command")),
                });
            };
            entry(name, usage, summary, help, out);
        }
    }
    Ok(())
}

/// Writes all about a command, in lines of at most [`crate::wrap::COLUMNS`] characters.
fn entry(name: &str, usage: &str, summary: &str, help: &str, out: &mut dyn Output) {
    let mut head = Wrap::new(out);
    head.piece(name);
    if !usage.is_empty() {
        head.piece(" ");
        head.set_indent(name.len() + 1);
        usage.split_inclusive('|').for_each(|way| head.piece(way));
    }
    head.piece(":");
    head.words(summary);
    head.end();
    write_text(out, help);
}

/// A line of the table: name, usage, summary.
#[derive(Clone, Copy)]
struct Row<'a> {
    name: &'a str,
    usage: &'a str,
    summary: &'a str,
}

impl<'a> Row<'a> {
    /// Makes the row of a command, without a usage that is too wide.
    const fn of(name: &'a str, usage: &'a str, summary: &'a str) -> Self {
        let usage = if name.len() + 1 + usage.len() > WIDEST { "..." } else { usage };
        Self { name, usage, summary }
    }

    const fn width(&self) -> usize {
        self.name.len() + 1 + self.usage.len()
    }

    fn write(&self, column: usize, out: &mut dyn Output) {
        let padding = column.saturating_sub(self.width());
        writeln!(out, "  {} {}{:padding$}  {}", self.name, self.usage, "", self.summary);
    }
}

/// Writes a line for each command, in the order of their names.
fn table<C>(commands: &Commands<C>, out: &mut dyn Output) {
    let rows = commands
        .iter()
        .map(|command| Row::of(command.name, command.usage, command.summary))
        .chain([Row::of(HELP, USAGE, SUMMARY)]);
    let mut column = rows.clone().map(|row| row.width()).max().unwrap_or(0);
    let mut is_cut = rows.clone().any(|row| row.usage == "...");
    commands.for_each_changing(|command| {
        let row = Row::of(command.name, command.usage, command.summary);
        column = column.max(row.width().min(WIDEST));
        is_cut |= row.usage == "...";
    });
    let mut last = "";
    // Finding the next name each time costs a comparison per pair of commands and needs no memory for sorting.
    while let Some(row) = rows.clone().filter(|row| row.name > last).min_by_key(|row| row.name) {
        row.write(column, out);
        last = row.name;
    }
    commands.for_each_changing(|command| {
        Row::of(command.name, command.usage, command.summary).write(column, out);
    });
    if is_cut {
        writeln!(out, "{CUT}");
    }
    writeln!(out, "{REST}");
}
