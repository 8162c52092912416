//! The plain model: a flat array of pages with their contents, and one of them for each map.

use std::cell::Cell;
use std::rc::Rc;

use rhumb_machine::VirtAddr;
use rhumb_vm::{Allocation, FaultError, Inherit, Protection, Region, RegionKind, Use, VmError, Wiring};

use crate::world::{Kind, PAGE, Random, TestMap, range};

/// Pages that the model knows: the end of one table of each level, one whole, and the beginning of others.
pub(crate) const PAGES: u64 = 512 + 300 + 512 + 512 + 200;
/// How many of them lie below the seam of two lanes.
const BELOW: u64 = 512 + 300;

/// A page that is allocated. Pages that several maps write have one value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Page {
    pub(crate) protection: Protection,
    pub(crate) inherit: Inherit,
    pub(crate) value: Rc<Cell<u64>>,
    /// Whether several maps may write it.
    pub(crate) is_object: bool,
    pub(crate) is_wired: bool,
}

/// A map and what it should be.
pub(crate) struct Pair {
    pub(crate) map: TestMap,
    pub(crate) pages: Vec<Option<Page>>,
}

const PROTECTIONS: [Protection; 4] =
    [Protection::Nothing, Protection::Read, Protection::ReadWrite, Protection::ReadExecute];

impl Pair {
    pub(crate) fn new(map: TestMap) -> Self {
        Self { map, pages: vec![None; PAGES as usize] }
    }

    fn kind(&self) -> Kind {
        self.map.space().0.kind
    }

    pub(crate) fn at(&self, page: u64) -> VirtAddr {
        VirtAddr::new(self.kind().seam().get() - BELOW * PAGE + page * PAGE)
    }

    /// Does one random operation with the map and with the model, and compares the results.
    ///
    /// # Errors
    /// There was no memory, or a limit was reached: the model is as it was, and so should be the map.
    pub(crate) fn step(&mut self, random: &mut Random) -> Result<(), VmError> {
        let (first, count) = some_range(random);
        let space = self.map.space().clone();
        let pages = first as usize..(first + count) as usize;
        let protection = PROTECTIONS[random.below(6).min(3) as usize];
        match random.below(15) {
            0 | 1 => {
                let inherit = [Inherit::Nothing, Inherit::Share, Inherit::Copy, Inherit::Copy, Inherit::Copy]
                    [random.below(5) as usize];
                let request =
                    Allocation::pages(count).at(self.at(first)).protection(protection).inherit(inherit);
                let taken = pages.clone().find(|&page| self.pages[page].is_some());
                let result = short(self.map.allocate(&request))?;
                match taken {
                    Some(page) => assert_eq!(result, Err(VmError::Occupied(self.at(page as u64)))),
                    None => {
                        assert_eq!(result, Ok(range(self.at(first), count)));
                        for page in &mut self.pages[pages] {
                            let is_object = inherit == Inherit::Share;
                            let value = Rc::default();
                            *page = Some(Page { protection, inherit, value, is_object, is_wired: false });
                        }
                    }
                }
            }
            2 | 3 => {
                let there = self.pages[pages.clone()].iter().flatten().count() as u64;
                assert_eq!(short(self.map.unmap(range(self.at(first), count)))?, Ok(there));
                self.pages[pages].fill(None);
            }
            4 | 5 => {
                let missing = pages.clone().find(|&page| self.pages[page].is_none());
                let result = short(self.map.protect(range(self.at(first), count), protection))?;
                match missing {
                    Some(page) => assert_eq!(result, Err(VmError::NotAllocated(self.at(page as u64)))),
                    None => {
                        assert_eq!(result, Ok(()));
                        self.pages[pages].iter_mut().flatten().for_each(|page| page.protection = protection);
                    }
                }
            }
            6 => {
                let inherit = [Inherit::Nothing, Inherit::Copy, Inherit::Share][random.below(3) as usize];
                let result = short(self.map.inherit(range(self.at(first), count), inherit))?;
                if pages.clone().all(|page| self.pages[page].is_some()) {
                    assert_eq!(result, Ok(()));
                    for page in self.pages[pages].iter_mut().flatten() {
                        page.inherit = inherit;
                        page.is_object |= inherit == Inherit::Share;
                    }
                } else {
                    assert!(matches!(result, Err(VmError::NotAllocated(_))));
                }
            }
            11 | 12 => {
                let area = range(self.at(first), count);
                let is_wiring = random.below(2) == 0;
                let result = short(if is_wiring { self.map.wire(area) } else { self.map.unwire(area) })?;
                self.change_all(pages, result, |page| page.is_wired = is_wiring);
            }
            13 => {
                let result = short(self.map.purge(range(self.at(first), count)))?;
                let is_wired = |page: &Option<Page>| page.as_ref().is_some_and(|page| page.is_wired);
                if let Err(VmError::Wired(_)) = result {
                    assert!(self.pages[pages].iter().any(is_wired));
                } else {
                    assert!(result.is_err() || !self.pages[pages.clone()].iter().any(is_wired));
                    self.change_all(pages, result, |page| {
                        if !page.is_object {
                            page.value = Rc::default();
                        }
                    });
                }
            }
            7..=9 => {
                let (cpu, value) = (random.below(4) as usize, random.next());
                let at = self.at(first);
                let result = short_fault(space.0.write(&self.map, cpu, at, value))?;
                self.compare(first, Use::Write, result);
                if let Some(page) = &self.pages[first as usize]
                    && page.protection == Protection::ReadWrite
                {
                    page.value.set(value);
                }
            }
            10 => {
                let cpu = random.below(4) as usize;
                let result =
                    short_fault(space.0.touch(&self.map, cpu, self.at(first), Use::Execute).map(drop))?;
                self.compare(first, Use::Execute, result);
            }
            _ => {
                let result = space.0.read(&self.map, random.below(4) as usize, self.at(first));
                self.compare_read(first, short_fault(result)?);
            }
        }
        Ok(())
    }

    /// Changes pages in the model as the map has done, or checks why it has not.
    #[track_caller]
    fn change_all(
        &mut self,
        pages: std::ops::Range<usize>,
        result: Result<(), VmError>,
        change: impl Fn(&mut Page),
    ) {
        match pages.clone().find(|&page| self.pages[page].is_none()) {
            Some(page) => assert_eq!(result, Err(VmError::NotAllocated(self.at(page as u64)))),
            None => {
                assert_eq!(result, Ok(()));
                self.pages[pages].iter_mut().flatten().for_each(change);
            }
        }
    }

    /// Checks the result of a use of a page.
    #[track_caller]
    fn compare(&self, page: u64, wanted: Use, result: Result<(), FaultError>) {
        let at = self.at(page);
        let expected = match &self.pages[page as usize] {
            None => Err(FaultError::NotAllocated(at)),
            Some(page) if !page.protection.allows(wanted) => {
                Err(FaultError::Denied(at, wanted, page.protection))
            }
            Some(_) => Ok(()),
        };
        assert_eq!(result, expected, "{wanted:?} of {at}");
    }

    /// Reads a page on a CPU, and compares.
    #[track_caller]
    pub(crate) fn check_page(&self, cpu: usize, page: u64) {
        self.compare_read(page, self.map.space().0.read(&self.map, cpu, self.at(page)));
    }

    #[track_caller]
    fn compare_read(&self, page: u64, result: Result<u64, FaultError>) {
        if let (Ok(value), Some(model)) = (result, &self.pages[page as usize]) {
            assert_eq!(value, model.value.get(), "the contents at {}", self.at(page));
        }
        self.compare(page, Use::Read, result.map(drop));
    }

    /// Compares all regions, figures and contents.
    #[track_caller]
    pub(crate) fn check(&self) {
        let mut seen = vec![None; PAGES as usize];
        let mut regions: Vec<Region> = Vec::new();
        self.map.for_each_region(|region| regions.push(region));
        for region in &regions {
            assert!(!region.range.is_empty());
            for at in (region.range.start().get()..region.range.end().get()).step_by(PAGE as usize) {
                let page = VirtAddr::new(at).since(self.at(0)) / PAGE;
                assert_eq!(
                    seen[page as usize].replace((
                        region.protection,
                        region.inherit,
                        region.kind,
                        region.wiring
                    )),
                    None
                );
            }
        }
        let expected: Vec<_> = self.pages.iter().map(|page| page.as_ref().map(seen_of)).collect();
        assert_eq!(seen, expected);
        let usage = self.map.usage();
        assert_eq!(usage.address_pages, self.pages.iter().flatten().count() as u64);
        let wired = |page: &&Page| page.is_wired;
        assert_eq!(usage.wired_pages, self.pages.iter().flatten().filter(wired).count() as u64);
        assert_eq!(usage.resident_pages, regions.iter().map(|region| region.resident_pages).sum::<u64>());
        for page in 0..PAGES {
            self.check_page(page as usize % 4, page);
        }
        self.map.space().0.assert_no_stale();
    }
}

/// Returns what a region says of a page.
fn seen_of(page: &Page) -> (Protection, Inherit, RegionKind, Wiring) {
    let kind = if page.is_object { RegionKind::Object } else { RegionKind::Private };
    let wiring = if page.is_wired { Wiring::Wired } else { Wiring::Pageable };
    (page.protection, page.inherit, kind, wiring)
}

/// Ends the step where there was no memory, or a limit was reached.
fn short<T>(result: Result<T, VmError>) -> Result<Result<T, VmError>, VmError> {
    match result {
        Err(error @ (VmError::NoFrame(_) | VmError::Limit(_))) => Err(error),
        result => Ok(result),
    }
}

fn short_fault<T>(result: Result<T, FaultError>) -> Result<Result<T, FaultError>, VmError> {
    match result {
        Err(error @ (FaultError::NoFrame(_) | FaultError::Limit(_))) => Err(error.into()),
        result => Ok(result),
    }
}

/// Returns a range of pages: a few, the rest of a table, or many.
pub(crate) fn some_range(random: &mut Random) -> (u64, u64) {
    let first = match random.below(4) {
        // Where a table begins.
        0 => 300 + 512 * random.below(4),
        _ => random.below(PAGES),
    };
    let count = match random.below(8) {
        0 => 512,
        1 => 1024,
        2 => 512 - (first + 212) % 512,
        3 => 1 + random.below(700),
        _ => 1 + random.below(12),
    };
    (first, count.min(PAGES - first).max(1))
}
