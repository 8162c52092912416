//! The commands of modules at the prompt.

use core::fmt::Write;

use arrayvec::ArrayString;
use rhumb_module_abi::types::{CommandEntry, Out, Text as AbiText};
use rhumb_monitor::{Arguments, ChangingCommands, CommandError, Description, Output, Text};

use super::error::{MAX_MODULES, ModuleError};
use super::header::{Checked, text};
use super::registry::Use;

/// The number that a command returns which a person has ended.
const INTERRUPTED: u32 = 2;

/// The longest line of arguments: longer than any line of the prompt.
const LINE_BYTES: usize = 512;

/// The surroundings of a call into a module: where it prints, and why it failed.
pub(super) struct Call<'a> {
    out: &'a mut dyn Output,
    failure: Text<112>,
}

impl<'a> Call<'a> {
    pub(super) fn new(out: &'a mut dyn Output) -> Self {
        Self { out, failure: Text::of("it does not say why") }
    }

    /// Returns what the module gets, for the length of a call.
    pub(super) fn as_out(&mut self) -> *mut Out {
        (&raw mut *self).cast()
    }

    /// Returns the call that a module names.
    ///
    /// # Safety
    /// `out` is [`Call::as_out`] of a call that runs, and no other reference to it is used meanwhile.
    pub(super) unsafe fn of<'b>(out: *mut Out) -> &'b mut Call<'b> {
        // SAFETY: the pointer leads to a `Call`, which lives as long as the call into the module.
        unsafe { &mut *out.cast::<Call<'b>>() }
    }

    pub(super) fn write(&mut self, text: &str) {
        self.out.write_str(text);
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.out.interrupted()
    }

    pub(super) fn fail(&mut self, reason: &str) {
        self.failure = Text::of(reason);
    }

    pub(super) fn failure(&self) -> Text<112> {
        self.failure
    }
}

/// Finds a command that another module has already.
pub(super) fn check(header: &Checked) -> Result<(), ModuleError> {
    let names = || header.commands().iter().map(|command| text(command.name));
    for (index, name) in names().enumerate() {
        if names().take(index).any(|other| other == name) || find(name).is_some() {
            return Err(ModuleError::Command(Text::of(name)));
        }
    }
    Ok(())
}

/// Returns the command of this name, with a use of its module.
fn find(name: &str) -> Option<(Use, &'static CommandEntry)> {
    (0..MAX_MODULES).find_map(|index| {
        let user = Use::of(index)?;
        let command = user.header().commands().iter().find(|command| text(command.name) == name)?;
        Some((user, command))
    })
}

/// The commands of all live modules.
pub struct ModuleCommands;

impl<C> ChangingCommands<C> for ModuleCommands {
    fn for_each(&self, each: &mut dyn FnMut(Description<'_>)) {
        for user in (0..MAX_MODULES).filter_map(Use::of) {
            for command in user.header().commands() {
                each(Description {
                    name: text(command.name),
                    usage: text(command.usage),
                    summary: text(command.summary),
                    help: text(command.help),
                });
            }
        }
    }

    fn run(
        &self,
        name: &str,
        _: &mut C,
        arguments: Arguments<'_>,
        out: &mut dyn Output,
    ) -> Option<Result<(), CommandError>> {
        let (_user, command) = find(name)?;
        let Some(run) = command.run else { return Some(Err(CommandError::failed("it has no function"))) };
        let mut words = ArrayString::<LINE_BYTES>::new();
        if write!(words, "{arguments}").is_err() {
            return Some(Err(CommandError::failed("its arguments are too long")));
        }
        let mut call = Call::new(out);
        // SAFETY: the module's function, which the header's version says is of this type; the module has a user until it has
        // returned; the words and the place where it prints live as long as the call.
        let status = unsafe { run(AbiText::lent(&words), call.as_out()) };
        Some(match status {
            0 => Ok(()),
            INTERRUPTED => Err(CommandError::Interrupted),
            _ => Err(CommandError::failed(call.failure())),
        })
    }
}
