//! The command line.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use rhumb_hosted::LargePages;

/// The text of `--help`.
pub(crate) const HELP: &str = include_str!("args/help.txt");

/// An odd number, so that the median is a figure that was measured.
const FULL_ROUNDS: usize = 7;
/// The fewest of which a median drops an outlier.
const QUICK_ROUNDS: usize = 3;
/// A fifth of the work, for a look.
const QUICK_PER_MILLE: usize = 200;

/// The numbers of CPUs of `scale`.
pub(crate) const SCALE_CPUS: [usize; 5] = [1, 4, 16, 64, 256];

/// The values of `--pages`.
const PAGES: [(&str, LargePages); 3] =
    [("large", LargePages::Wanted), ("small", LargePages::Never), ("host", LargePages::AsHost)];

/// The family that is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Command {
    /// Page-frame allocators.
    Frames,
    /// Object allocators.
    Slab,
    /// One case of them, named by `--only`: for the program itself.
    SlabCase,
    /// Allocators of ranges.
    Ranges,
    /// Changes of the direct map.
    DirectMap,
    /// The hosted machine itself.
    Machine,
    /// The data that CPUs share, counted.
    Scale,
}

/// `[WORKLOAD][/SUBJECT]` of one `--only`.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Filter {
    workload: String,
    subject: String,
}

/// The command line, parsed.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) command: Command,
    pub(crate) csv: Option<PathBuf>,
    pub(crate) rounds: usize,
    /// How much of a full run's work is done, in thousandths.
    pub(crate) work_per_mille: usize,
    /// Of that, how much each CPU does where the work grows with the CPUs, in thousandths.
    pub(crate) share_per_mille: usize,
    pub(crate) cpus: Vec<usize>,
    pub(crate) mem_bytes: Vec<u64>,
    /// Pages of the host behind the memory that subjects manage; `None` where the command line does not say.
    pages: Option<LargePages>,
    only: Vec<Filter>,
}

/// The fault of a command line.
#[derive(Debug)]
pub(crate) enum ArgsError {
    /// Anything the parser itself finds.
    Syntax(lexopt::Error),
    /// No command was given.
    NoCommand,
    /// A command that does not exist.
    UnknownCommand(OsString),
    /// A text that is no size or count: the option, and the text.
    BadNumber(&'static str, String),
    /// An unknown kind of pages.
    BadPages(String),
}

impl fmt::Display for ArgsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(error) => error.fmt(f),
            Self::NoCommand => f.write_str("no command"),
            Self::UnknownCommand(name) => write!(f, "unknown command {}", name.display()),
            Self::BadPages(value) => write!(f, "--pages: {value:?} is none of large, small, host"),
            Self::BadNumber(option, value) => write!(f, "{option}: {value:?} is none that can be used"),
        }
    }
}

impl From<lexopt::Error> for ArgsError {
    fn from(error: lexopt::Error) -> Self {
        Self::Syntax(error)
    }
}

impl Options {
    /// Parses the process's arguments; `None` where they ask for help.
    pub(crate) fn from_command_line() -> Result<Option<Self>, ArgsError> {
        Self::parse(lexopt::Parser::from_env())
    }

    /// Returns the values that hold where the command line names none.
    pub(crate) fn defaults(command: Command) -> Self {
        let all = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            command,
            csv: None,
            rounds: if command == Command::Scale { 1 } else { FULL_ROUNDS },
            work_per_mille: 1000,
            share_per_mille: 1000,
            cpus: if all > 1 { vec![1, all] } else { vec![1] },
            mem_bytes: vec![1 << 30, 16 << 30],
            pages: None,
            only: Vec::new(),
        }
    }

    fn parse(mut parser: lexopt::Parser) -> Result<Option<Self>, ArgsError> {
        use lexopt::prelude::*;
        let (mut command, mut rounds, mut cpus) = (None, None, None);
        let mut options = Self::defaults(Command::Frames);
        while let Some(argument) = parser.next()? {
            match argument {
                Short('h') | Long("help") => return Ok(None),
                Long("csv") => options.csv = Some(parser.value()?.into()),
                Long("only") => options.only.push(Filter::parse(&parser.value()?.string()?)),
                Long("quick") => options.work_per_mille = QUICK_PER_MILLE,
                Long("rounds") => rounds = Some(positive("--rounds", &parser.value()?.string()?)?),
                Long("cpus") => {
                    let list = parser.value()?.string()?;
                    let list = list.split(',').map(|n| positive("--cpus", n));
                    cpus = Some(list.collect::<Result<_, _>>()?);
                }
                Long("mem") => {
                    let list = parser.value()?.string()?;
                    options.mem_bytes = list.split(',').map(bytes).collect::<Result<_, _>>()?;
                }
                Long("pages") => options.pages = Some(pages(&parser.value()?.string()?)?),
                Value(name) if command.is_none() => {
                    command = Some(match name.to_str() {
                        Some("frames") => Command::Frames,
                        Some("slab") => Command::Slab,
                        Some("slab-case") => Command::SlabCase,
                        Some("ranges") => Command::Ranges,
                        Some("directmap") => Command::DirectMap,
                        Some("machine") => Command::Machine,
                        Some("scale") => Command::Scale,
                        _ => return Err(ArgsError::UnknownCommand(name)),
                    });
                }
                other => return Err(other.unexpected().into()),
            }
        }
        options.command = command.ok_or(ArgsError::NoCommand)?;
        options.cpus = cpus.unwrap_or_else(|| match options.command {
            Command::Scale => SCALE_CPUS.to_vec(),
            _ => options.cpus,
        });
        options.rounds = rounds.unwrap_or(match options.command {
            Command::Scale => 1,
            _ if options.is_quick() => QUICK_ROUNDS,
            _ => FULL_ROUNDS,
        });
        Ok(Some(options))
    }

    /// Asks for one case more.
    #[cfg(all(test, rhumb_counted))]
    pub(crate) fn want(&mut self, workload: &str, subject: &str) {
        self.only.push(Filter { workload: workload.to_owned(), subject: subject.to_owned() });
    }

    /// Tells whether this case was asked for.
    pub(crate) fn wants(&self, workload: &str, subject: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only.matches(workload, subject))
    }

    /// Tells whether the only case that was asked for is this one, by its whole name.
    pub(crate) fn names_exactly(&self, workload: &str, subject: &str) -> bool {
        matches!(self.only.as_slice(), [only] if (only.workload.as_str(), only.subject.as_str()) == (workload, subject))
    }

    /// Returns the workload of the only filter.
    pub(crate) fn only_workload(&self) -> Option<&str> {
        if let [only] = self.only.as_slice() { Some(&only.workload) } else { None }
    }

    /// Returns the pages of the host behind the memory that subjects manage.
    pub(crate) fn pages(&self) -> LargePages {
        let is_slab = matches!(self.command, Command::Slab | Command::SlabCase);
        self.pages.unwrap_or(if is_slab { LargePages::Wanted } else { LargePages::AsHost })
    }

    /// Returns the word of `--pages` for them.
    pub(crate) fn pages_word(&self) -> &'static str {
        PAGES.iter().find(|&&(_, pages)| pages == self.pages()).map_or("host", |&(name, _)| name)
    }

    /// Tells whether it is for a look only.
    pub(crate) fn is_quick(&self) -> bool {
        self.work_per_mille == QUICK_PER_MILLE
    }

    /// Returns how many of `full` operations each CPU does.
    pub(crate) fn operations(&self, full: usize) -> usize {
        (full * self.work_per_mille / 1000 * self.share_per_mille / 1000).max(1)
    }

    /// Returns how many of `full` operations all CPUs do together.
    pub(crate) fn operations_of_all(&self, full: usize) -> usize {
        (full * self.work_per_mille / 1000).max(1)
    }
}

impl Filter {
    fn parse(text: &str) -> Self {
        let (workload, subject) = text.split_once('/').unwrap_or((text, ""));
        Self { workload: workload.to_owned(), subject: subject.to_owned() }
    }

    fn matches(&self, workload: &str, subject: &str) -> bool {
        workload.contains(&self.workload) && subject.contains(&self.subject)
    }
}

fn positive(option: &'static str, text: &str) -> Result<usize, ArgsError> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(ArgsError::BadNumber(option, text.to_owned())),
    }
}

fn pages(text: &str) -> Result<LargePages, ArgsError> {
    PAGES
        .iter()
        .find(|&&(name, _)| name == text)
        .map(|&(_, pages)| pages)
        .ok_or_else(|| ArgsError::BadPages(text.to_owned()))
}

/// Parses `64m`, `1g` or `1t`: at least 64 MiB, so that each workload has something to do.
fn bytes(text: &str) -> Result<u64, ArgsError> {
    let bad = || ArgsError::BadNumber("--mem", text.to_owned());
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(bad)?;
    let shift = match unit {
        "m" | "M" => 20,
        "g" | "G" => 30,
        "t" | "T" => 40,
        _ => return Err(bad()),
    };
    let number: u64 = digits.parse().map_err(|_| bad())?;
    let bytes = number.checked_mul(1 << shift).ok_or_else(bad)?;
    if (64 << 20..=32 << 40).contains(&bytes) { Ok(bytes) } else { Err(bad()) }
}

#[cfg(test)]
mod tests;
