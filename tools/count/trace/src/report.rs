//! [`Report`]: the counts, and their text, which the tracer's process writes and the study reads.
//!
//! ```text
//! rhumb-trace 1
//! geometry skylake-sp
//! region 256 64 FLUSHED-PAGES FULL-FLUSHES
//! sum here 0 direct-map data ACCESSES MISSES WALKS-4K WALKS-2M WALKS-1G REFERENCES ABSENT
//! sum elsewhere 0 image code ...
//! end
//! ```
//!
//! A geometry is named by its place in the list of geometries. Sums are over all runs of the region above them; those of
//! zeroes alone are left out. Misses are those of the first level: hits of the second, and walks.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{AddAssign, Sub};
use std::str::{FromStr, SplitWhitespace};

use rhumb_mark::RegionId;
use rhumb_tlb_model::Outcome;

use crate::place::Place;

const HEAD: &str = "rhumb-trace 1";
const TAIL: &str = "end";

/// The translations of accesses of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    /// Accesses: loads and stores, or blocks of instructions.
    pub accesses: u64,
    /// Those whose translation was not in the first level.
    pub misses: u64,
    /// Walks, by the size of the page that they found.
    pub walks: [u64; 3],
    /// Entries of tables that walks read.
    pub references: u64,
    /// Accesses to addresses that no page maps.
    pub absent: u64,
}

impl Tally {
    pub(crate) fn note(&mut self, outcome: Outcome) {
        self.accesses += 1;
        match outcome {
            Outcome::FirstLevel => {}
            Outcome::SecondLevel => self.misses += 1,
            Outcome::Walk { page, references } => {
                self.misses += 1;
                self.walks[page.index()] += 1;
                self.references += references;
            }
            Outcome::Absent => self.absent += 1,
        }
    }

    /// Returns the walks to pages of all sizes.
    pub fn all_walks(&self) -> u64 {
        self.walks.iter().sum()
    }

    fn words(&self) -> [u64; 7] {
        let [small, large, largest] = self.walks;
        [self.accesses, self.misses, small, large, largest, self.references, self.absent]
    }

    fn of_words([accesses, misses, small, large, largest, references, absent]: [u64; 7]) -> Self {
        Self { accesses, misses, walks: [small, large, largest], references, absent }
    }

    fn with(self, other: Self, of: impl Fn(u64, u64) -> u64) -> Self {
        let (mut words, others) = (self.words(), other.words());
        words.iter_mut().zip(others).for_each(|(word, other)| *word = of(*word, other));
        Self::of_words(words)
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        *self = self.with(more, |one, more| one + more);
    }
}

/// Data or code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Content {
    /// Loads and stores.
    Data,
    /// Fetches.
    Code,
}

impl Content {
    const ALL: [Self; 2] = [Self::Data, Self::Code];

    const fn word(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Code => "code",
        }
    }
}

/// Tallies by place and content.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Sums([[Tally; 2]; 6]);

impl Sums {
    /// Returns the tally of a place.
    pub fn of(&self, place: Place, content: Content) -> &Tally {
        &self.0[place as usize][content as usize]
    }

    pub(crate) fn of_mut(&mut self, place: Place, content: Content) -> &mut Tally {
        &mut self.0[place as usize][content as usize]
    }

    /// Returns the sum over the places that `is_meant` names.
    pub fn over(&self, content: Content, is_meant: impl Fn(Place) -> bool) -> Tally {
        let mut sum = Tally::default();
        Place::ALL
            .into_iter()
            .filter(|place| is_meant(*place))
            .for_each(|place| sum += *self.of(place, content));
        sum
    }

    fn cells(&self) -> impl Iterator<Item = (Place, Content, &Tally)> {
        Place::ALL
            .into_iter()
            .flat_map(|place| Content::ALL.map(|content| (place, content)))
            .map(|(place, content)| (place, content, self.of(place, content)))
            .filter(|(_, _, tally)| **tally != Tally::default())
    }
}

impl AddAssign for Sums {
    fn add_assign(&mut self, more: Self) {
        self.0.iter_mut().flatten().zip(more.0.iter().flatten()).for_each(|(sum, more)| *sum += *more);
    }
}

impl Sub for Sums {
    type Output = Self;

    fn sub(mut self, earlier: Self) -> Self {
        self.0
            .iter_mut()
            .flatten()
            .zip(earlier.0.iter().flatten())
            .for_each(|(now, earlier)| *now = now.with(*earlier, |now, earlier| now - earlier));
        self
    }
}

/// The sums of one region over all of its runs.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Region {
    /// Runs.
    pub runs: u64,
    /// Pages that CPUs flushed one by one.
    pub flushed_pages: u64,
    /// Flushes of more than a page.
    pub full_flushes: u64,
    /// For each geometry, the accesses of the CPU that executed the marks.
    pub here: Vec<Sums>,
    /// For each geometry, those of the other CPUs meanwhile.
    pub elsewhere: Vec<Sums>,
}

/// All that was traced.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Report {
    /// The geometries, by their short names.
    pub geometries: Vec<String>,
    /// The regions.
    pub regions: BTreeMap<RegionId, Region>,
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{HEAD}")?;
        for id in &self.geometries {
            writeln!(out, "geometry {id}")?;
        }
        for (id, region) in &self.regions {
            let Region { runs, flushed_pages, full_flushes, here, elsewhere } = region;
            writeln!(out, "region {} {runs} {flushed_pages} {full_flushes}", id.get())?;
            for (side, sums) in [("here", here), ("elsewhere", elsewhere)] {
                for (geometry, sums) in sums.iter().enumerate() {
                    for (place, content, tally) in sums.cells() {
                        write!(out, "sum {side} {geometry} {place} {}", content.word())?;
                        tally.words().iter().try_for_each(|word| write!(out, " {word}"))?;
                        writeln!(out)?;
                    }
                }
            }
        }
        writeln!(out, "{TAIL}")
    }
}

/// Why a text is no report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoReport {
    /// The first line is another one: a file of another program or version.
    Head,
    /// The last line is missing: the writer was ended early.
    CutShort,
    /// A line that means nothing: its number.
    Line(usize),
}

impl fmt::Display for NoReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => write!(out, "it does not begin with `{HEAD}`"),
            Self::CutShort => out.write_str("its last line is missing: the emulator was ended early"),
            Self::Line(number) => write!(out, "line {number} means nothing"),
        }
    }
}

impl std::error::Error for NoReport {}

impl FromStr for Report {
    type Err = NoReport;

    fn from_str(text: &str) -> Result<Self, NoReport> {
        let mut lines = text.lines().enumerate();
        if lines.next().map(|(_, line)| line) != Some(HEAD) {
            return Err(NoReport::Head);
        }
        let (mut report, mut last) = (Self::default(), None);
        for (index, line) in lines {
            if line == TAIL {
                return Ok(report);
            }
            report.read(line, &mut last).ok_or(NoReport::Line(index + 1))?;
        }
        Err(NoReport::CutShort)
    }
}

impl Report {
    fn read(&mut self, line: &str, last: &mut Option<RegionId>) -> Option<()> {
        let mut words = line.split_whitespace();
        match words.next()? {
            "geometry" => self.geometries.push(words.next()?.into()),
            "region" => {
                let id = RegionId::new(u16::try_from(number(&mut words)?).ok()?)?;
                let none = vec![Sums::default(); self.geometries.len()];
                let region = Region {
                    runs: number(&mut words)?,
                    flushed_pages: number(&mut words)?,
                    full_flushes: number(&mut words)?,
                    here: none.clone(),
                    elsewhere: none,
                };
                self.regions.insert(id, region);
                *last = Some(id);
            }
            "sum" => {
                let region = self.regions.get_mut(&(*last)?)?;
                let sums = match words.next()? {
                    "here" => &mut region.here,
                    "elsewhere" => &mut region.elsewhere,
                    _ => return None,
                };
                let sums = sums.get_mut(usize::try_from(number(&mut words)?).ok()?)?;
                let place = words.next()?.parse().ok()?;
                let word = words.next()?;
                let content = Content::ALL.into_iter().find(|content| content.word() == word)?;
                let mut tally = [0; 7];
                for word in &mut tally {
                    *word = number(&mut words)?;
                }
                *sums.of_mut(place, content) = Tally::of_words(tally);
            }
            _ => return None,
        }
        words.next().is_none().then_some(())
    }
}

fn number(words: &mut SplitWhitespace<'_>) -> Option<u64> {
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests;
