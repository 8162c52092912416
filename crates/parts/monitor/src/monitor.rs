//! [`Monitor`]: the prompt. Bytes of a console go in; commands run; their output comes out.

use crate::batch::{Batch, BatchEvent, LineError};
use crate::command::{Alias, ChangingCommands, Command, Commands};
use crate::editor::{Editor, Event};
use crate::output::Output;
use crate::run::{InContext, Outcome};

/// The kind of user: a person or a script.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// A person at a terminal: prompt, echo, editing.
    Interactive,
    /// A file or a pipe: nothing is printed but what the commands print.
    Batch,
}

/// The effect of a byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Nothing ran.
    Waiting,
    /// A line ran (perhaps an empty one).
    Ran(Outcome),
    /// The input is at its end; the outcome of its last line, which no newline ended.
    End(Outcome),
}

/// A prompt with its commands. About 7 KiB, no allocation, usable in a `static` behind the kernel's lock.
pub struct Monitor<C: 'static> {
    commands: Commands<C>,
    mode: Mode,
    editor: Editor,
    batch: Batch,
    failures: u32,
}

impl<C> Monitor<C> {
    /// Returns a monitor that runs `commands` and shows `prompt` to people.
    pub const fn new(prompt: &'static str, commands: Commands<C>, mode: Mode) -> Self {
        Self { commands, mode, editor: Editor::new(prompt), batch: Batch::new(), failures: 0 }
    }

    /// Sets commands behind those that the monitor has been made with, instead of those that were set before; before
    /// [`Monitor::start`].
    pub const fn set_more_commands(&mut self, more: &'static [Command<C>]) {
        self.commands.set_more(more);
    }

    /// Sets the commands that come and go, behind all others; before [`Monitor::start`].
    pub const fn set_changing_commands(&mut self, changing: &'static dyn ChangingCommands<C>) {
        self.commands.set_changing(changing);
    }

    /// Sets other ways to type commands, instead of those that were set before; before [`Monitor::start`].
    pub const fn set_aliases(&mut self, aliases: &'static [Alias]) {
        self.commands.set_aliases(aliases);
    }

    /// Changes the kind of user; before [`Monitor::start`].
    pub const fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
    }

    /// Sets how wide the terminal is; 80 columns until then.
    pub const fn set_columns(&mut self, columns: usize) {
        self.editor.set_columns(columns);
    }

    /// Shows the first prompt.
    pub fn start(&mut self, out: &mut dyn Output) {
        if self.mode == Mode::Interactive {
            self.editor.begin(out);
        }
    }

    /// Takes one byte; runs the line that it ends, and shows the next prompt. Bytes that are typed while a command runs
    /// are fed afterwards, except a Ctrl-C that [`Output::interrupted`] has told.
    pub fn feed(&mut self, byte: u8, context: &mut C, out: &mut dyn Output) -> Progress {
        match self.mode {
            Mode::Interactive => self.feed_editor(byte, context, out),
            Mode::Batch => self.feed_batch(byte, context, out),
        }
    }

    /// Prints other output (a line of the log) above the line being edited.
    pub fn interject(&mut self, out: &mut dyn Output, say: impl FnOnce(&mut dyn Output)) {
        if self.mode == Mode::Batch {
            return say(out);
        }
        self.editor.erase(out);
        say(out);
        self.editor.repaint(out);
    }

    /// Runs a line that was not typed here: that of the kernel's command line, say.
    pub fn run_line(&mut self, line: &str, context: &mut C, out: &mut dyn Output) -> Outcome {
        let outcome = run(&self.commands, Ok(line), context, out);
        self.count(outcome)
    }

    /// Returns how many commands have failed so far: the exit status of a batch run tells it.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    fn feed_editor(&mut self, byte: u8, context: &mut C, out: &mut dyn Output) -> Progress {
        let progress = match self.editor.feed(byte, &InContext(&self.commands, context), out) {
            Event::Pending => return Progress::Waiting,
            Event::EndOfInput => return Progress::End(Outcome::default()),
            Event::Abandoned => Progress::Waiting,
            Event::Line => {
                let outcome = run(&self.commands, self.editor.line(), context, out);
                Progress::Ran(self.count(outcome))
            }
        };
        self.editor.begin(out);
        progress
    }

    fn feed_batch(&mut self, byte: u8, context: &mut C, out: &mut dyn Output) -> Progress {
        let event = self.batch.feed(byte);
        if event == BatchEvent::Pending {
            return Progress::Waiting;
        }
        let outcome = run(&self.commands, self.batch.line(), context, out);
        let outcome = self.count(outcome);
        if event == BatchEvent::End { Progress::End(outcome) } else { Progress::Ran(outcome) }
    }

    fn count(&mut self, outcome: Outcome) -> Outcome {
        self.failures = self.failures.saturating_add(outcome.failures);
        outcome
    }
}

/// Runs a line, and ends the line that its last command printed.
fn run<C>(
    commands: &Commands<C>,
    line: Result<&str, LineError>,
    context: &mut C,
    out: &mut dyn Output,
) -> Outcome {
    let mut out = EndsLines { out, is_at_start: true };
    let outcome = match line {
        Ok(line) => commands.run_line(line, context, &mut out),
        Err(error) => {
            writeln!(out, "line: {error}");
            Outcome { commands: 1, failures: 1, interrupted: false }
        }
    };
    out.end_line();
    outcome
}

/// Knows whether the last line was ended, so that a prompt never lands behind or upon what a command printed.
struct EndsLines<'out> {
    out: &'out mut dyn Output,
    is_at_start: bool,
}

impl EndsLines<'_> {
    fn end_line(&mut self) {
        if !self.is_at_start {
            self.write_str("\n");
        }
    }
}

impl Output for EndsLines<'_> {
    fn write_str(&mut self, text: &str) {
        if let Some(last) = text.bytes().last() {
            self.is_at_start = last == b'\n';
        }
        self.out.write_str(text);
    }

    fn interrupted(&self) -> bool {
        self.out.interrupted()
    }
}
