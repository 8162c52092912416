//! `help`: the commands in a table, or all about one.

use crate::arguments::Arguments;
use crate::command::{Command, Commands, HELP};
use crate::error::CommandError;
use crate::output::Output;
use crate::suggest::nearest;

pub(crate) const USAGE: &str = "[COMMAND]";
const SUMMARY: &str = "this table, or all about one command";
const REST: &str =
    "Separate commands by ';'. Filter what they print: | grep [-v] [-i] WORD, | head [N], | count.";

/// Beyond this width of name and usage, a summary moves out of the column rather than every other one to the right.
const WIDEST: usize = 32;

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

fn entry(name: &str, usage: &str, summary: &str, help: &str, out: &mut dyn Output) {
    let gap = if usage.is_empty() { "" } else { " " };
    writeln!(out, "{name}{gap}{usage}: {summary}");
    if !help.is_empty() {
        writeln!(out, "{}", help.trim_end());
    }
}

/// Writes a line for each command, in the order of their names.
fn table<C>(commands: &Commands<C>, out: &mut dyn Output) {
    let rows = commands
        .iter()
        .map(|command| (command.name, command.usage, command.summary))
        .chain([(HELP, USAGE, SUMMARY)]);
    let width_of = |(name, usage, _): (&str, &str, &str)| name.len() + 1 + usage.len();
    let widest = rows.clone().map(width_of).filter(|&width| width <= WIDEST).max().unwrap_or(0);
    let mut last = "";
    // Finding the next name each time costs a comparison per pair of commands and needs no memory for sorting.
    while let Some(row) = rows.clone().filter(|(name, ..)| *name > last).min_by_key(|(name, ..)| *name) {
        let (name, usage, summary) = row;
        let padding = widest.saturating_sub(width_of(row));
        writeln!(out, "  {name} {usage}{:padding$}  {summary}", "");
        last = name;
    }
    commands.for_each_changing(|command| {
        let row = (command.name, command.usage, command.summary);
        let padding = widest.saturating_sub(width_of(row));
        writeln!(out, "  {} {}{:padding$}  {}", row.0, row.1, "", row.2);
    });
    writeln!(out, "{REST}");
}
