//! A plain model of the memory map: one kind for each quarter of a page, and a set of the pages that are taken.
//!
//! Quarters, since firmware gives addresses to the byte and whole pages must come of them.

extern crate std;

use std::collections::BTreeSet;
use std::vec;
use std::vec::Vec;

use rhumb_machine::{PageSize, Pfn, PhysRange};

use super::{FirmwareEntry, RegionKind};

pub(super) const PAGE: u64 = 4096;
pub(super) const QUARTER: u64 = PAGE / 4;
/// Pages of the modelled address space.
pub(super) const PAGES: u64 = 48;

/// One kind for each quarter of a page, or none.
pub(super) struct Model {
    pub(super) kinds: Vec<Option<RegionKind>>,
    pub(super) taken: BTreeSet<u64>,
}

impl Model {
    pub(super) fn new(entries: &[FirmwareEntry]) -> Self {
        let mut kinds = vec![None; (PAGES * 4) as usize];
        for entry in entries {
            for quarter in entry.base / QUARTER..(entry.base + entry.length) / QUARTER {
                let kind: &mut Option<RegionKind> = &mut kinds[quarter as usize];
                *kind = (*kind).max(Some(RegionKind::from_type(entry.type_code)));
            }
        }
        Self { kinds, taken: BTreeSet::new() }
    }

    pub(super) fn ram(&self) -> BTreeSet<u64> {
        let usable = |page: &u64| {
            (0..4).all(|part| self.kinds[(page * 4 + part) as usize] == Some(RegionKind::Usable))
        };
        (0..PAGES).filter(usable).collect()
    }

    pub(super) fn reserve(&mut self, range: PhysRange) {
        let range = range.align_outward(PageSize::Size4K).unwrap().whole_frames();
        let ram = self.ram();
        self.taken.extend(range.iter().map(Pfn::get).filter(|page| ram.contains(page)));
    }

    pub(super) fn cap(&mut self, limit: u64) {
        for page in limit / PAGE..PAGES {
            if !self.taken.contains(&page) {
                for kind in &mut self.kinds[page as usize * 4..][..4] {
                    *kind = kind.filter(|&kind| kind != RegionKind::Usable);
                }
            }
        }
    }

    pub(super) fn free(&self) -> BTreeSet<u64> {
        self.ram().difference(&self.taken).copied().collect()
    }
}
