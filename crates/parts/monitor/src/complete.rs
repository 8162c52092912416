//! Completion: the words that fit where the cursor is.
//!
//! A [`Completer`] offers words; [`Candidates`] keeps those that begin as the typed word does. Nothing is stored: a
//! first pass finds how many there are and how far they agree, a second one lists them.

use crate::line::Line;
use crate::output::Output;

/// Knows the words that can follow.
pub trait Completer {
    /// Offers each word that could follow `before`, the line up to the word under the cursor. Offers the same words
    /// in the same order when it is asked twice.
    fn complete(&self, before: &str, candidates: &mut Candidates<'_>);
}

/// Takes the words that are offered.
pub struct Candidates<'a> {
    prefix: &'a str,
    pass: Pass<'a>,
}

enum Pass<'a> {
    Measure(&'a mut Agreement),
    List { out: &'a mut dyn Output, column_width: usize, per_row: usize, listed: usize },
}

impl Candidates<'_> {
    /// Returns the typed part of the word.
    pub fn prefix(&self) -> &str {
        self.prefix
    }

    /// Takes `word`, if it begins with the prefix.
    pub fn offer(&mut self, word: &str) {
        if !word.starts_with(self.prefix) {
            return;
        }
        match &mut self.pass {
            Pass::Measure(agreement) => agreement.add(word),
            Pass::List { out, column_width, per_row, listed } => {
                match *listed {
                    0 => {}
                    count if count % *per_row == 0 => out.write_str("\n"),
                    _ => out.write_str("  "),
                }
                let padding = column_width.saturating_sub(crate::view::width(word));
                write!(out, "{word}{:padding$}", "");
                *listed += 1;
            }
        }
    }

    /// Takes each of `words` that begins with the prefix.
    pub fn offer_all<'w>(&mut self, words: impl IntoIterator<Item = &'w str>) {
        words.into_iter().for_each(|word| self.offer(word));
    }
}

/// How many candidates there are and how they begin.
pub(crate) struct Agreement {
    /// Returns their common beginning.
    common: Line,
    count: usize,
    widest: usize,
}

impl Agreement {
    /// Asks `completer` what `prefix` after `before` could become.
    pub(crate) fn of(completer: &dyn Completer, before: &str, prefix: &str) -> Self {
        let mut agreement = Self { common: Line::new(), count: 0, widest: 0 };
        completer.complete(before, &mut Candidates { prefix, pass: Pass::Measure(&mut agreement) });
        agreement
    }

    fn add(&mut self, word: &str) {
        if self.count == 0 {
            self.common.set(word);
        } else {
            let same = self.common.as_str().chars().zip(word.chars()).take_while(|(one, other)| one == other);
            let length = same.map(|(character, _)| character.len_utf8()).sum();
            self.common.remove(length..self.common.end());
        }
        self.count += 1;
        self.widest = self.widest.max(crate::view::width(word));
    }

    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn common(&self) -> &str {
        self.common.as_str()
    }

    /// Prints the candidates in columns, beginning and ending on a row of their own.
    pub(crate) fn list(
        &self,
        completer: &dyn Completer,
        before: &str,
        prefix: &str,
        columns: usize,
        out: &mut dyn Output,
    ) {
        let column_width = self.widest;
        let per_row = (columns / (column_width + 2)).max(1);
        out.write_str("\n");
        let pass = Pass::List { out, column_width, per_row, listed: 0 };
        completer.complete(before, &mut Candidates { prefix, pass });
        out.write_str("\n");
    }
}

/// Returns where the word that ends `before` begins: after the last blank, `;` or `|`.
pub(crate) fn word_start(before: &str) -> usize {
    before.rfind([' ', '\t', ';', '|']).map_or(0, |index| index + 1)
}
