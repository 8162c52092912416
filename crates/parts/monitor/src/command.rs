//! [`Command`]: one command of the prompt; [`Commands`]: all of them.

use crate::arguments::Arguments;
use crate::complete::Candidates;
use crate::error::CommandError;
use crate::output::Output;

/// The name of the command that is always there.
pub(crate) const HELP: &str = "help";

/// The function behind a command: it gets the context, the words after the name, and where to print.
pub type Run<C> = fn(&mut C, Arguments<'_>, &mut dyn Output) -> Result<(), CommandError>;

/// A command of the prompt. `C` is what it acts on: the kernel, a model, anything.
pub struct Command<C: 'static> {
    /// The word that is typed.
    pub name: &'static str,
    /// Its arguments, such as `ADDR [SIZE]`; where this is empty, arguments are refused before it runs.
    pub usage: &'static str,
    /// One line of at most 50 characters, for the table of `help`.
    pub summary: &'static str,
    /// The text that `help NAME` prints below that; may be empty.
    pub help: &'static str,
    /// The words that Tab knows behind its name.
    pub complete: Complete<C>,
    /// Does it.
    pub run: Run<C>,
}

/// How a command's arguments are completed.
pub enum Complete<C: 'static> {
    /// Not at all.
    Nothing,
    /// The first argument is one of these words.
    Words(&'static [&'static str]),
    /// As this function offers, given the context and the arguments before the word.
    With(fn(&C, Arguments<'_>, &mut Candidates<'_>)),
}

/// All commands: lists of them, so that each part of a kernel adds its own. `help` is always there.
pub struct Commands<C: 'static> {
    lists: &'static [&'static [Command<C>]],
    more: &'static [Command<C>],
}

impl<C> Commands<C> {
    /// Returns the commands of these lists; where two bear one name, the first counts.
    pub const fn new(lists: &'static [&'static [Command<C>]]) -> Self {
        Self { lists, more: &[] }
    }

    /// Adds the commands of one more list, behind the others.
    pub const fn add(&mut self, more: &'static [Command<C>]) {
        self.more = more;
    }

    /// Returns each command.
    pub fn iter(&self) -> impl Iterator<Item = &'static Command<C>> + Clone + use<C> {
        self.lists.iter().copied().chain([self.more]).flatten()
    }

    /// Returns the command of this name.
    pub fn find(&self, name: &str) -> Option<&'static Command<C>> {
        self.iter().find(|command| command.name == name)
    }

    /// Returns each command's name, `help` included.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> + Clone + use<C> {
        self.iter().map(|command| command.name).chain([HELP])
    }
}
