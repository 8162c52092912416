//! Regions: pages side by side that are alike, as `pmap` shows them.

use rhumb_machine::{PageSize, VirtAddr, VirtRange};
use rhumb_pagetable::TableMemory;

use crate::fill::run_length;
use crate::map::Map;
use crate::space::Space;
use crate::word::{Inherit, Marks, Protection, State, Word};

/// Pages side by side with the same marks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    /// Its addresses.
    pub range: VirtRange,
    /// Its rights.
    pub protection: Protection,
    /// The page that a fork gives to the new map.
    pub inherit: Inherit,
    /// Pages that have a frame.
    pub resident_pages: u64,
    /// Pages whose frame other maps may have until one of them writes.
    pub shared_pages: u64,
    /// Whether its pages keep their frames.
    pub wiring: Wiring,
    /// Whether other maps may see what is written.
    pub kind: RegionKind,
}

/// Whether the pages of a region are those of one map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RegionKind {
    /// They are.
    Private,
    /// Other maps may have the same pages, for reading and writing.
    Object,
    /// They are a device's.
    Device,
}

/// Whether the pages of a region keep their frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wiring {
    /// They get frames as they are used.
    Pageable,
    /// They have frames, and keep them.
    Wired,
}

/// A word as a region sees it. A page that is being copied keeps its marks, so that it ends no region.
struct Seen {
    marks: Marks,
    resident: u64,
    shared: u64,
}

impl<S: Space> Map<S> {
    /// Returns the first region that ends above `at`: the one that `at` is in, from its beginning in the same lane on,
    /// or the next one. `None` where there is none.
    ///
    /// Cost: a look at each word of the region, and at those of tables before it, with the lanes held that it looks at.
    pub fn region(&self, at: VirtAddr) -> Option<Region> {
        let mut at = at.max(self.range.start()).align_down(PageSize::Size4K);
        while at < self.range.end() {
            let lane = VirtRange::new(at, self.lanes.end_of(at))?;
            let _lanes = self.lanes.hold(lane, || self.space.relax());
            if let Some(region) = self.region_in(lane) {
                return Some(region);
            }
            at = lane.end();
        }
        None
    }

    /// Calls `act` with each region, in ascending order. Regions end at the ends of lanes.
    pub fn for_each_region(&self, mut act: impl FnMut(Region)) {
        let mut at = self.range.start();
        while let Some(region) = self.region(at) {
            at = region.range.end();
            act(region);
        }
    }

    /// Returns the first region of `within`, whose lane the caller holds.
    fn region_in(&self, within: VirtRange) -> Option<Region> {
        let tables = self.tables();
        let mut found: Option<(Marks, Region)> = None;
        let mut at = within.start();
        while at < within.end() {
            let place = self.place(&tables, at);
            let count = if place.level == 1 { run_length(&place, within.end()) } else { 1 };
            for index in place.index..place.index + count {
                let word = Word(tables.read(place.table, index));
                let end = place.at.checked_add((index - place.index + 1) as u64 * place.bytes());
                let end = end.map_or(within.end(), |end| end.min(within.end()));
                match (seen(word, place.size()), &mut found) {
                    (None, None) => {}
                    (None, Some((_, region))) => return Some(*region),
                    (Some(page), Some((marks, region))) => {
                        if page.marks.exclusive() != *marks {
                            return Some(*region);
                        }
                        region.range = VirtRange::new(region.range.start(), end)?;
                        region.resident_pages += page.resident;
                        region.shared_pages += page.shared;
                    }
                    (Some(page), None) => {
                        let marks = page.marks.exclusive();
                        found = Some((
                            marks,
                            Region {
                                range: VirtRange::new(at, end)?,
                                protection: marks.protection(),
                                inherit: marks.inherit(),
                                wiring: if marks.is_wired() { Wiring::Wired } else { Wiring::Pageable },
                                resident_pages: page.resident,
                                shared_pages: page.shared,
                                kind: kind_of(marks),
                            },
                        ));
                    }
                }
                at = end;
            }
        }
        found.map(|(_, region)| region)
    }
}

fn kind_of(marks: Marks) -> RegionKind {
    match (marks.is_object(), marks.is_device()) {
        (true, _) => RegionKind::Object,
        (_, true) => RegionKind::Device,
        _ => RegionKind::Private,
    }
}

fn seen(word: Word, size: PageSize) -> Option<Seen> {
    match word.state(size) {
        State::Empty => None,
        State::Fresh(marks) | State::Named(_, marks) => Some(Seen { marks, resident: 0, shared: 0 }),
        State::Mapped(_, marks) if marks.is_device() => Some(Seen { marks, resident: 0, shared: 0 }),
        State::Mapped(_, marks) => Some(Seen {
            marks,
            resident: size.frames(),
            shared: if marks.is_shared() { size.frames() } else { 0 },
        }),
        State::Busy(marks) => Some(Seen { marks, resident: size.frames(), shared: size.frames() }),
    }
}
