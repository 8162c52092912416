//! The arms that this machine has: each is tried once, and left out with a reason where the system does not give it.

use std::path::PathBuf;

use rhumb_machine::PageSize;
use rhumb_study_report::Omission;
use rhumb_study_system::{Change, Session};

use crate::backing::got::{Got, Placed};
use crate::backing::reserve::reserve;
use crate::backing::{Backing, Pages, Refusal};
use crate::core::Core;
use crate::options::Program;

/// A direct map of a trial.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Arm {
    /// Pages of this size.
    Of(Pages),
    /// The baseline's pages once more, in other memory: the negative control.
    Again,
}

/// An arm as it was seen when it was tried.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) pages: Pages,
    pub(crate) source: &'static str,
    pub(crate) got: Got,
    pub(crate) placed: Option<Placed>,
    pub(crate) tables_bytes: Option<u64>,
}

/// The arms of a study.
#[derive(Default)]
pub(crate) struct Arms {
    /// The arms that were had, the baseline first.
    pub(crate) seen: Vec<Seen>,
    /// Whether the baseline was had twice.
    pub(crate) is_twice: bool,
    pub(crate) omissions: Vec<Omission>,
    /// Memories of the first arms with one size of page, for the ladder.
    pub(crate) whole: Vec<Backing>,
    /// Huge pages that the study added to the system's, until this is dropped.
    reserved: Vec<(PageSize, Option<Change>)>,
    /// The folder that counts them.
    huge_pages: PathBuf,
}

impl Arms {
    /// Takes the largest pages from the system, which has them as long as nothing else has taken pieces of them.
    pub(crate) fn begin(program: &Program, session: &Session, core: &Core) -> Self {
        let mut arms = Self { huge_pages: core.huge_pages(), ..Self::default() };
        if program.bytes.is_multiple_of(PageSize::Size1G.bytes()) {
            arms.reserve(session, PageSize::Size1G, 2 * program.bytes);
        }
        arms
    }

    /// Tries all arms of the program.
    pub(crate) fn find(mut self, program: &Program, session: &Session) -> Self {
        let (arms, bytes) = (&mut self, program.bytes);
        for &pages in &program.arms {
            if session.is_ending() {
                break;
            }
            let mut tried = Backing::new(pages, bytes, session.seed);
            if tried.is_err() && pages != Pages::Gib {
                // No transparent huge pages: those of hugetlb will do, for all arms of a group.
                arms.reserve(session, PageSize::Size2M, program.at_once as u64 * bytes);
                tried = Backing::new(pages, bytes, session.seed);
            }
            match tried.and_then(|backing| Ok((Seen::of(&backing)?, backing))) {
                Ok((seen, backing)) => {
                    arms.seen.push(seen);
                    // Room for one more is needed, but for the last.
                    let is_last = Some(&pages) == program.arms.last();
                    let has_room = is_last || arms.whole.len() + 1 < program.at_once;
                    if !matches!(pages, Pages::Aged(_)) && has_room {
                        arms.whole.push(backing);
                    }
                    if arms.seen.len() == 1 {
                        arms.find_twin(program, session);
                    }
                }
                Err(refusal) => arms.omissions.push(omission(pages.to_string(), refusal)),
            }
        }
        self
    }

    /// Tries the baseline once more, beside the first.
    fn find_twin(&mut self, program: &Program, session: &Session) {
        let Some(baseline) = self.baseline() else { return };
        match Backing::new(baseline, program.bytes, session.seed) {
            Ok(_) => self.is_twice = true,
            Err(refusal) => {
                let part = format!("the negative control: {baseline} against {baseline}");
                self.omissions.push(omission(part, refusal));
            }
        }
    }

    /// Adds huge pages to the system's, once for each size: if the system did not give them at first, it does not give
    /// them later.
    fn reserve(&mut self, session: &Session, size: PageSize, bytes: u64) {
        if self.reserved.iter().all(|(known, _)| *known != size) {
            let change = reserve(session.keeper(), &self.huge_pages, size, bytes / size.bytes());
            self.reserved.push((size, change.map(|(change, _)| change)));
        }
    }

    /// Returns the pages of the baseline, where there is one.
    pub(crate) fn baseline(&self) -> Option<Pages> {
        self.seen.first().map(|seen| seen.pages)
    }

    /// Returns the pages of an arm.
    pub(crate) fn pages(&self, arm: Arm) -> Option<Pages> {
        match arm {
            Arm::Of(pages) => Some(pages),
            Arm::Again => self.baseline(),
        }
    }

    /// Returns those arms that are `kept`, in groups of at most `at_once` with the baseline first in each.
    pub(crate) fn groups(&self, at_once: usize, kept: &[Pages]) -> Vec<Vec<Arm>> {
        let Some(baseline) = self.baseline() else { return Vec::new() };
        let again = self.is_twice.then_some(Arm::Again);
        let seen = self.seen.iter().skip(1).map(|seen| seen.pages).filter(|pages| kept.contains(pages));
        let others: Vec<Arm> = again.into_iter().chain(seen.map(Arm::Of)).collect();
        let with_baseline = |some: &[Arm]| [&[Arm::Of(baseline)], some].concat();
        others.chunks(at_once.saturating_sub(1).max(1)).map(with_baseline).collect()
    }
}

impl Seen {
    fn of(backing: &Backing) -> Result<Self, Refusal> {
        Ok(Self {
            pages: backing.pages(),
            source: backing.source(),
            got: backing.verify()?,
            placed: backing.placed(),
            tables_bytes: backing.tables_bytes(),
        })
    }
}

fn omission(part: String, refusal: Refusal) -> Omission {
    let mut why = refusal.why;
    if let Some(first) = why.get(..1) {
        why = first.to_uppercase() + &why[1..];
    }
    Omission { part, why: why + ".", remedy: refusal.remedy }
}

#[cfg(test)]
mod tests;
