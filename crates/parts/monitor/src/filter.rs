//! [`Pipeline`]: the filters that follow a command after `|`. Filters see whole lines and keep or drop them.
//!
//! | filter | keeps |
//! |---|---|
//! | `grep [-v] [-i] WORD` | lines that hold `WORD`; `-v` those that do not; `-i` whatever the case of ASCII letters |
//! | `head [N]` | the first `N` lines (10) |
//! | `count` | none; tells how many there were |
//!
//! A line is judged by its first [`JUDGED_BYTES`] bytes; the rest of a longer one shares its fate.

use crate::arguments::Arguments;
use crate::error::ArgumentError;
use crate::output::Output;
use crate::text::characters;

/// The names of the filters, in order.
pub(crate) const FILTERS: &[&str] = &["count", "grep", "head"];

/// The most filters after one command.
pub(crate) const FILTERS_MOST: usize = 4;

/// By how much of a line a filter judges it.
pub const JUDGED_BYTES: usize = 256;

/// One filter.
#[derive(Clone, Copy)]
pub(crate) enum Filter<'line> {
    Grep { word: &'line str, wants: bool, ignores_case: bool },
    Head { left: u64 },
    Count { lines: u64 },
}

impl<'line> Filter<'line> {
    /// Returns the filter that `text` (a name and arguments) names.
    pub(crate) fn parse(text: &'line str) -> Result<Self, ArgumentError> {
        let mut arguments = Arguments::new(text);
        let filter = match arguments.one_of("FILTER", FILTERS)? {
            "grep" => {
                let (mut wants, mut ignores_case) = (true, false);
                let word = loop {
                    match arguments.word("WORD")? {
                        "-v" => wants = false,
                        "-i" => ignores_case = true,
                        word => break word,
                    }
                };
                Self::Grep { word, wants, ignores_case }
            }
            "head" => Self::Head { left: arguments.optional(|rest| rest.number("N"))?.unwrap_or(10) },
            _ => Self::Count { lines: 0 },
        };
        arguments.end()?;
        Ok(filter)
    }

    fn keeps(&mut self, line: &str) -> bool {
        match self {
            Self::Grep { word, wants, ignores_case } => holds(line, word, *ignores_case) == *wants,
            Self::Head { left } => {
                let keeps = *left > 0;
                *left = left.saturating_sub(1);
                keeps
            }
            Self::Count { lines } => {
                *lines += 1;
                false
            }
        }
    }
}

fn holds(line: &str, word: &str, ignores_case: bool) -> bool {
    if !ignores_case {
        return line.contains(word);
    }
    let (line, word) = (line.as_bytes(), word.as_bytes());
    word.is_empty() || line.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word))
}

/// Filters in front of an output.
pub(crate) struct Pipeline<'line, 'out> {
    filters: [Option<Filter<'line>>; FILTERS_MOST],
    out: &'out mut dyn Output,
    /// The start of the line that has not ended yet.
    start: [u8; JUDGED_BYTES],
    length: usize,
    /// Set once the start is full: whether the rest of the line is kept.
    rest_is_kept: Option<bool>,
}

impl<'line, 'out> Pipeline<'line, 'out> {
    pub(crate) fn new(filters: [Option<Filter<'line>>; FILTERS_MOST], out: &'out mut dyn Output) -> Self {
        Self { filters, out, start: [0; JUDGED_BYTES], length: 0, rest_is_kept: None }
    }

    /// Ends a last line without `\n`, and tells the counts.
    pub(crate) fn finish(mut self) {
        if self.length > 0 || self.rest_is_kept.is_some() {
            self.write_str("\n");
        }
        // A count is a line to the filters behind it.
        for index in 0..self.filters.len() {
            if let Some(Filter::Count { lines }) = self.filters[index] {
                self.filters[..=index].fill(None);
                writeln!(self, "{lines}");
            }
        }
    }

    fn judge(&mut self) -> bool {
        let line = characters(&self.start[..self.length]);
        let keeps = self.filters.iter_mut().flatten().all(|filter| filter.keeps(line));
        if keeps {
            self.out.write_str(line);
        }
        self.length = 0;
        keeps
    }

    /// Takes a part of a line.
    fn take(&mut self, text: &str) {
        let mut rest = text;
        if self.rest_is_kept.is_none() {
            let mut fits = rest.len().min(JUDGED_BYTES - self.length);
            while !rest.is_char_boundary(fits) {
                fits -= 1;
            }
            let (head, tail) = rest.split_at(fits);
            self.start[self.length..self.length + fits].copy_from_slice(head.as_bytes());
            self.length += fits;
            rest = tail;
            if !rest.is_empty() {
                self.rest_is_kept = Some(self.judge());
            }
        }
        if self.rest_is_kept == Some(true) {
            self.out.write_str(rest);
        }
    }
}

impl Output for Pipeline<'_, '_> {
    fn write_str(&mut self, text: &str) {
        for piece in text.split_inclusive('\n') {
            match piece.strip_suffix('\n') {
                None => self.take(piece),
                Some(last) => {
                    self.take(last);
                    let keeps = match self.rest_is_kept.take() {
                        Some(keeps) => keeps,
                        None => self.judge(),
                    };
                    if keeps {
                        self.out.write_str("\n");
                    }
                }
            }
        }
    }

    /// Tells whether output is of no more use, also when a `head` has all its lines, because no further line can be
    /// seen.
    fn interrupted(&self) -> bool {
        let is_full = |filter: &Filter<'_>| matches!(filter, Filter::Head { left: 0 });
        self.out.interrupted() || self.filters.iter().flatten().any(is_full)
    }
}
