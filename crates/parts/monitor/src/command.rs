//! [`Command`]: one command of the prompt; [`Commands`]: all of them.

use crate::arguments::Arguments;
use crate::complete::Candidates;
use crate::error::CommandError;
use crate::output::Output;
use crate::words::split_word;

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

/// Another way to type the beginning of a command: `frames stress` for `stress frames`.
#[derive(Clone, Copy, Debug)]
pub struct Alias {
    /// The words that are typed, a space between two.
    pub words: &'static str,
    /// The command, and its first arguments, that they mean.
    pub meaning: &'static str,
}

/// Commands that come and go while the monitor runs: those of parts of a kernel that are loaded.
pub trait ChangingCommands<C>: Sync {
    /// Gives `each` the name, the usage, the summary and the help of each command; in the same order when it is asked twice.
    fn for_each(&self, each: &mut dyn FnMut(Description<'_>));

    /// Runs the command of this name; `None` where there is none.
    fn run(
        &self,
        name: &str,
        context: &mut C,
        arguments: Arguments<'_>,
        out: &mut dyn Output,
    ) -> Option<Result<(), CommandError>>;
}

/// The texts of a command, as [`Command`] has them.
#[derive(Clone, Copy, Debug)]
pub struct Description<'a> {
    /// The word that is typed.
    pub name: &'a str,
    /// Its arguments.
    pub usage: &'a str,
    /// One line about it.
    pub summary: &'a str,
    /// The text below that.
    pub help: &'a str,
}

/// All commands: lists of them, so that each part of a kernel adds its own. `help` is always there.
pub struct Commands<C: 'static> {
    lists: &'static [&'static [Command<C>]],
    more: &'static [Command<C>],
    aliases: &'static [Alias],
    pub(crate) changing: Option<&'static dyn ChangingCommands<C>>,
}

impl<C> Commands<C> {
    /// Returns the commands of these lists; where two bear one name, the first counts.
    pub const fn new(lists: &'static [&'static [Command<C>]]) -> Self {
        Self { lists, more: &[], aliases: &[], changing: None }
    }

    /// Sets one more list, whose commands are behind the others; the list that was set before is replaced.
    pub const fn set_more(&mut self, more: &'static [Command<C>]) {
        self.more = more;
    }

    /// Sets the commands that come and go. They are behind all others, so that none of them takes another's name.
    pub const fn set_changing(&mut self, changing: &'static dyn ChangingCommands<C>) {
        self.changing = Some(changing);
    }

    /// Sets the aliases, which replace those that were set before. An alias counts before a command of its first word; of two that fit a line, the first counts.
    pub const fn set_aliases(&mut self, aliases: &'static [Alias]) {
        self.aliases = aliases;
    }

    /// Returns the name of the command that `text` begins with, and the arguments behind the name, aliases resolved.
    pub(crate) fn parse<'line>(&self, text: &'line str) -> Option<(&'line str, Arguments<'line>)> {
        let meant = |alias: &Alias| {
            let rest = alias.words.split(' ').try_fold(text, |rest, word| {
                split_word(rest).and_then(|(typed, rest)| (typed == word).then_some(rest))
            })?;
            let (name, ahead) = split_word(alias.meaning)?;
            Some((name, Arguments::after(ahead, rest)))
        };
        let (name, rest) = split_word(text)?;
        Some(self.aliases.iter().find_map(meant).unwrap_or((name, Arguments::new(rest))))
    }

    /// Returns each command.
    pub fn iter(&self) -> impl Iterator<Item = &'static Command<C>> + Clone + use<C> {
        self.lists.iter().copied().chain([self.more]).flatten()
    }

    /// Returns the command of this name.
    pub fn find(&self, name: &str) -> Option<&'static Command<C>> {
        self.iter().find(|command| command.name == name)
    }

    /// Gives `each` the commands that come and go.
    pub(crate) fn for_each_changing(&self, mut each: impl FnMut(Description<'_>)) {
        if let Some(changing) = self.changing {
            changing.for_each(&mut each);
        }
    }

    /// Returns each command's name, `help` included, without those that come and go.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> + Clone + use<C> {
        self.iter().map(|command| command.name).chain([HELP])
    }
}
