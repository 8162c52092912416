//! [`Output`]: the place that commands write to.
//!
//! No code could do more about a console that fails to take text, so writing returns nothing: `write!(out, ...);` and
//! `writeln!(out, ...);` work on an [`Output`] without a result to handle. Lines end in `\n`; the device adds the
//! carriage return where its terminal needs one.

use core::fmt;

use crate::error::CommandError;

/// A place to write text to, which may also ask the writer to stop.
pub trait Output {
    /// Writes `text`; lines end in `\n`.
    fn write_str(&mut self, text: &str);

    /// Tells whether the reader wants no more: Ctrl-C was typed since the line began, or a filter such as `head` has
    /// enough. A command that may run for long asks once per line it prints or step it takes, and returns
    /// [`crate::CommandError::Interrupted`] (or simply `Ok`) when it is so.
    fn interrupted(&self) -> bool {
        false
    }

    /// Prints formatted text: `write!` and `writeln!` call it.
    fn write_fmt(&mut self, arguments: fmt::Arguments<'_>) {
        // The adaptor below never fails; a Display that fails by itself has said what it could.
        let _ = fmt::write(&mut Adaptor(self), arguments);
    }
}

/// Lets `core::fmt` write to an [`Output`].
struct Adaptor<'out, O: Output + ?Sized>(&'out mut O);

impl<O: Output + ?Sized> fmt::Write for Adaptor<'_, O> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_str(text);
        Ok(())
    }
}

/// Writes a value that may have very many lines, up to the end of the line at which the reader wants no more.
///
/// # Errors
/// [`CommandError::Interrupted`]: the rest of the value was not written.
pub fn write_lines(out: &mut dyn Output, value: impl fmt::Display) -> Result<(), CommandError> {
    // A value that fails by itself has said what it could, as in `Output::write_fmt`.
    let _ = fmt::write(&mut Lines(out), format_args!("{value}"));
    if out.interrupted() { Err(CommandError::Interrupted) } else { Ok(()) }
}

/// Fails at the end of a line where the reader wants no more.
struct Lines<'out>(&'out mut dyn Output);

impl fmt::Write for Lines<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_str(text);
        if text.ends_with('\n') && self.0.interrupted() { Err(fmt::Error) } else { Ok(()) }
    }
}
