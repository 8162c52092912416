//! How a line of commands runs, and how Tab completes it.

use core::fmt;

use crate::command::{Commands, Complete, HELP};
use crate::complete::{Candidates, Completer};
use crate::error::{ArgumentError, CommandError};
use crate::filter::{FILTERS, FILTERS_MOST, Filter, Pipeline};
use crate::help;
use crate::output::Output;
use crate::suggest::nearest;
use crate::words::{Parts, has_open_quote, split_word};

/// The outcome of a line.
#[must_use = "a failed command is what a batch run exits non-zero for"]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// Commands that ran or were refused.
    pub commands: u32,
    /// Those of them that failed, were misused or are unknown.
    pub failures: u32,
    /// Whether Ctrl-C ended the line early.
    pub interrupted: bool,
}

impl<C> Commands<C> {
    /// Runs a line: commands separated by `;`, each with its filters. A command that fails is reported on one line,
    /// `name: what was wrong`, and the next one runs; Ctrl-C ends the line.
    pub fn run_line(&self, line: &str, context: &mut C, out: &mut dyn Output) -> Outcome {
        let mut outcome = Outcome::default();
        if has_open_quote(line) {
            writeln!(out, "line: a quote (\") is not closed");
            return Outcome { commands: 1, failures: 1, interrupted: false };
        }
        for part in Parts::new(line, ';') {
            if part.starts_with('#') {
                break;
            }
            if part.is_empty() {
                continue;
            }
            outcome.commands += 1;
            outcome.failures += u32::from(!self.run_filtered(part, context, out));
            if out.interrupted() {
                outcome.interrupted = true;
                break;
            }
        }
        outcome
    }

    /// Runs one command with its filters; tells whether all went well. Complaints go past the filters.
    fn run_filtered(&self, text: &str, context: &mut C, out: &mut dyn Output) -> bool {
        let mut parts = Parts::new(text, '|');
        let command = parts.next().unwrap_or_default();
        let result = match parse_filters(parts) {
            Err(complaint) => Err(complaint),
            Ok(filters) if filters[0].is_none() => self.run_command(command, context, out),
            Ok(filters) => {
                let mut pipeline = Pipeline::new(filters, out);
                let result = self.run_command(command, context, &mut pipeline);
                pipeline.finish();
                result
            }
        };
        if let Err(complaint) = &result {
            writeln!(out, "{complaint}");
        }
        result.is_ok()
    }

    #[expect(clippy::result_large_err, reason = "a complaint is made once for each line that is typed")]
    fn run_command<'line>(
        &self,
        text: &'line str,
        context: &mut C,
        out: &mut dyn Output,
    ) -> Result<(), Complaint<'line>> {
        let Some((name, arguments)) = self.parse(text) else { return Err(Complaint::NoCommand) };
        let (usage, result) = match self.find(name) {
            Some(command) if command.usage.is_empty() && !arguments.is_empty() => {
                ("", arguments.end().map_err(CommandError::from))
            }
            Some(command) => (command.usage, (command.run)(context, arguments, out)),
            None if name == HELP => (help::USAGE, help::run(self, arguments, out)),
            None => match self.changing.and_then(|changing| changing.run(name, context, arguments, out)) {
                Some(result) => ("", result),
                None => return Err(Complaint::Unknown { name, nearest: nearest(name, self.names()) }),
            },
        };
        match result {
            // Either Ctrl-C, which the caller sees by itself, or a filter that wants no more: nothing went wrong.
            Ok(()) | Err(CommandError::Interrupted) => Ok(()),
            Err(error) => Err(Complaint::Command { name, usage, error }),
        }
    }
}

#[expect(clippy::result_large_err, reason = "a complaint is made once for each line that is typed")]
fn parse_filters<'line>(
    parts: Parts<'line>,
) -> Result<[Option<Filter<'line>>; FILTERS_MOST], Complaint<'line>> {
    let mut filters = [None; FILTERS_MOST];
    for (index, part) in parts.enumerate() {
        let slot = filters.get_mut(index).ok_or(Complaint::TooManyFilters)?;
        let name = split_word(part).map_or("|", |(name, _)| name);
        *slot = Some(Filter::parse(part).map_err(|error| Complaint::Filter { name, error })?);
    }
    Ok(filters)
}

/// The complaint about a command that did not do its work: always `name: what was wrong`.
enum Complaint<'line> {
    NoCommand,
    TooManyFilters,
    Filter { name: &'line str, error: ArgumentError },
    Unknown { name: &'line str, nearest: Option<&'static str> },
    Command { name: &'line str, usage: &'static str, error: CommandError },
}

impl fmt::Display for Complaint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCommand => f.write_str("line: no command before '|'"),
            Self::TooManyFilters => write!(f, "line: more than {FILTERS_MOST} filters"),
            Self::Filter { name, error } => write!(f, "{}: {error}", Typed(name)),
            Self::Unknown { name, nearest: Some(other) } => {
                write!(f, "{}: unknown command; did you mean '{other}'?", Typed(name))
            }
            Self::Unknown { name, nearest: None } => {
                write!(f, "{}: unknown command; 'help' lists them", Typed(name))
            }
            Self::Command { name, usage, error } => {
                write!(f, "{name}: {error}")?;
                match error {
                    CommandError::Usage(_) if !usage.is_empty() => write!(f, " (usage: {name} {usage})"),
                    _ => Ok(()),
                }
            }
        }
    }
}

/// A name as it was typed: one that is empty was `""`.
struct Typed<'line>(&'line str);

impl fmt::Display for Typed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "\"\"" } else { self.0 })
    }
}

/// Completes with these commands in this context.
pub(crate) struct InContext<'a, C: 'static>(pub(crate) &'a Commands<C>, pub(crate) &'a C);

impl<C> Completer for InContext<'_, C> {
    fn complete(&self, before: &str, candidates: &mut Candidates<'_>) {
        let last = |text, separator| Parts::new(text, separator).last().unwrap_or_default();
        let command = last(before, ';');
        if Parts::new(command, '|').count() > 1 {
            if last(command, '|').is_empty() {
                candidates.offer_all(FILTERS.iter().copied());
            }
            return;
        }
        let names = self.0.names();
        let Some((name, arguments)) = self.0.parse(command) else {
            candidates.offer_all(names);
            self.0.for_each_changing(|command| candidates.offer(command.name));
            return;
        };
        match self.0.find(name).map(|command| &command.complete) {
            Some(Complete::Words(words)) if arguments.is_empty() => {
                candidates.offer_all(words.iter().copied())
            }
            Some(Complete::With(offer)) => offer(self.1, arguments, candidates),
            None if name == HELP && arguments.is_empty() => {
                candidates.offer_all(names);
                self.0.for_each_changing(|command| candidates.offer(command.name));
            }
            _ => {}
        }
    }
}
