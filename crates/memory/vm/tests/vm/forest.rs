//! Several maps, forked from each other, and copies on the way between them, against their models.

use std::cell::Cell;
use std::rc::Rc;

use rhumb_machine::VirtRange;
use rhumb_vm::{Allocation, Inherit, Limits, MapCopy, Protection, Refused, VmError};

use crate::model::{PAGES, Page, Pair, some_range};
use crate::world::{Ground, Hosted, KINDS, Kind, Random, on_ground, range};

const MOST_MAPS: usize = 5;
const MOST_COPIES: usize = 4;

/// A copy, and the values that it should have.
struct Carried {
    copy: MapCopy<Hosted>,
    values: Vec<Rc<Cell<u64>>>,
    is_shared: bool,
}

/// Maps and copies.
pub(crate) struct Forest {
    ground: &'static Ground,
    pub(crate) pairs: Vec<Pair>,
    copies: Vec<Carried>,
}

impl Forest {
    pub(crate) fn new(ground: &'static Ground, kind: Kind) -> Self {
        Self { ground, pairs: vec![Pair::new(ground.map(kind))], copies: Vec::new() }
    }

    /// Does one random operation.
    ///
    /// # Errors
    /// There was no memory: all is as it was.
    pub(crate) fn step(&mut self, random: &mut Random) -> Result<(), VmError> {
        let which = random.below(self.pairs.len() as u64) as usize;
        let kind = self.pairs[which].map.space().0.kind;
        match random.below(16) {
            0 if self.pairs.len() < MOST_MAPS => {
                let parent = &self.pairs[which];
                let map = parent.map.fork(self.ground.space(kind), Limits::default())?;
                let pages = parent.pages.iter().map(|page| page.as_ref().and_then(inherited)).collect();
                self.pairs.push(Pair { map, pages });
            }
            1 if self.pairs.len() > 1 => drop(self.pairs.swap_remove(which)),
            2 | 3 if self.copies.len() < MOST_COPIES => {
                let is_taken = random.below(2) == 0;
                let (first, count) = some_range(random);
                let pair = &mut self.pairs[which];
                let pages = first as usize..(first + count) as usize;
                let area = range(pair.at(first), count);
                let result = if is_taken { pair.map.take(area) } else { pair.map.copy(area) };
                match result {
                    Ok(copy) => {
                        assert_eq!(copy.pages(), count);
                        let own = |page: &Page| Rc::new(Cell::new(page.value.get()));
                        let values: Option<Vec<_>> =
                            pair.pages[pages.clone()].iter().map(|page| page.as_ref().map(own)).collect();
                        let values = values.expect("a page that is not allocated was copied");
                        if is_taken {
                            pair.pages[pages].fill(None);
                        }
                        self.copies.push(Carried { copy, values, is_shared: false });
                    }
                    Err(VmError::NotAllocated(at)) => {
                        let missing = pages.clone().find(|&page| pair.pages[page].is_none()).unwrap();
                        assert_eq!(at, pair.at(missing as u64));
                    }
                    Err(error) => return Err(error),
                }
            }
            4..=6 if !self.copies.is_empty() => {
                let Carried { copy, values, is_shared } =
                    self.copies.swap_remove(random.below(self.copies.len() as u64) as usize);
                let pair = &mut self.pairs[which];
                let first = random.below(PAGES - values.len() as u64 + 1);
                let pages = first as usize..first as usize + values.len();
                let (protection, inherit) = (Protection::ReadWrite, Inherit::Copy);
                let request = Allocation::pages(0).at(pair.at(first)).protection(protection).inherit(inherit);
                match pair.map.put(&request, copy) {
                    Ok(area) => {
                        assert_eq!(area, range(pair.at(first), values.len() as u64));
                        for (page, value) in pages.zip(values) {
                            assert_eq!(
                                pair.pages[page].replace(Page {
                                    protection,
                                    inherit,
                                    value,
                                    is_object: is_shared,
                                    is_wired: false
                                }),
                                None
                            );
                        }
                    }
                    Err(Refused { copy, error }) => {
                        self.copies.push(Carried { copy, values, is_shared });
                        match error {
                            VmError::Occupied(at) => {
                                let taken = pages.clone().find(|&page| pair.pages[page].is_some()).unwrap();
                                assert_eq!(at, pair.at(taken as u64));
                            }
                            error => return Err(error),
                        }
                    }
                }
            }
            7 if !self.copies.is_empty() => drop(self.copies.pop()),
            8 if self.copies.len() < MOST_COPIES => {
                let (first, count) = some_range(random);
                let pair = &mut self.pairs[which];
                let pages = first as usize..(first + count) as usize;
                match pair.map.share(range(pair.at(first), count)) {
                    Ok(copy) => {
                        let same = |page: &Option<Page>| Rc::clone(&page.as_ref().unwrap().value);
                        let values = pair.pages[pages.clone()].iter().map(same).collect();
                        pair.pages[pages].iter_mut().flatten().for_each(|page| page.is_object = true);
                        self.copies.push(Carried { copy, values, is_shared: true });
                    }
                    Err(VmError::NotAllocated(_)) => {
                        assert!(pair.pages[pages].iter().any(Option::is_none));
                    }
                    Err(error) => return Err(error),
                }
            }
            9 if !self.copies.is_empty() && self.copies.len() < MOST_COPIES => {
                let Carried { copy, values, is_shared } = &self.copies[0];
                match copy.duplicate() {
                    Ok(copy) => {
                        assert!(is_shared);
                        let values = values.clone();
                        self.copies.push(Carried { copy, values, is_shared: true });
                    }
                    Err(error) => assert!(!is_shared && error == VmError::NotShared),
                }
            }
            _ => return self.pairs[which].step(random),
        }
        Ok(())
    }

    #[track_caller]
    pub(crate) fn check(&self) {
        self.pairs.iter().for_each(Pair::check);
    }
}

/// Returns the page that a fork gives to the new map.
fn inherited(page: &Page) -> Option<Page> {
    match page.inherit {
        Inherit::Copy => {
            let value = Rc::new(Cell::new(page.value.get()));
            Some(Page { value, is_object: false, is_wired: false, ..page.clone() })
        }
        Inherit::Share => Some(Page { is_wired: false, ..page.clone() }),
        Inherit::Nothing => None,
    }
}

#[test]
fn forks_and_copies_do_what_the_models_do() {
    for kind in KINDS {
        for seed in 1..=4 {
            on_ground(|ground| {
                let mut forest = Forest::new(ground, kind);
                let mut random = Random(seed * 0x1234_5677);
                for step in 0..400 {
                    forest.step(&mut random).unwrap();
                    if step % 60 == 59 {
                        forest.check();
                    }
                }
                forest.check();
            });
        }
    }
}

/// Each allocation of a history of forks and copies fails in turn: all maps are as they were, and the operation succeeds
/// afterwards.
#[test]
fn i12_each_allocation_of_forks_and_copies_fails_in_turn() {
    for (kind, first) in [(Kind::Task, 1), (Kind::Kernel, 2)] {
        for nth in (first..).step_by(2) {
            let has_failed = on_ground(|ground| {
                let mut forest = Forest::new(ground, kind);
                let mut random = Random(0xf0_4e57);
                let mut has_failed = false;
                ground.fail_after(nth, nth % 4 < 2);
                for _ in 0..90 {
                    let at_first = random.0;
                    if let Err(error) = forest.step(&mut random) {
                        assert!(matches!(error, VmError::NoFrame(_)), "{error}");
                        assert!(ground.end_failure());
                        has_failed = true;
                        forest.check();
                        random.0 = at_first;
                        assert_eq!(forest.step(&mut random), Ok(()));
                    }
                }
                ground.end_failure();
                forest.check();
                has_failed
            });
            if !has_failed {
                assert!(nth > 30, "only {nth} allocations were made to fail");
                break;
            }
        }
    }
}

/// A chain of forks, each of whose parents ends: neither frames nor tables grow with the number of generations.
#[test]
fn generations_of_forks_leave_nothing_behind() {
    on_ground(|ground| {
        let mut map = ground.map(Kind::Task);
        let area = map.allocate(&Allocation::pages(300)).unwrap();
        for page in 0..300 {
            map.space().0.write(&map, 0, area.start().plus(page * 4096), page).unwrap();
        }
        let mut in_use = Vec::new();
        for generation in 0..50 {
            let child = map.fork(ground.space(Kind::Task), Limits::default()).unwrap();
            drop(std::mem::replace(&mut map, child));
            let at = area.start().plus(generation * 4096);
            assert_eq!(map.space().0.read(&map, 1, at), Ok(generation));
            map.space().0.write(&map, 1, at, 1000 + generation).unwrap();
            in_use.push(ground.in_use());
        }
        assert!(in_use.iter().all(|&count| count == in_use[0]), "{in_use:?}");
        assert_eq!(map.usage().resident_pages, 300);
    });
}

/// A page that was taken out of one map and put into another is written there without a copy, and without a fault.
#[test]
fn moved_pages_keep_their_frames() {
    for (from, to) in [(Kind::Task, Kind::Kernel), (Kind::Kernel, Kind::Task)] {
        on_ground(|ground| {
            let (sender, receiver) = (ground.map(from), ground.map(to));
            let area = sender.allocate(&Allocation::pages(64)).unwrap();
            let mut frames = Vec::new();
            for page in 0..64 {
                let at = area.start().plus(page * 4096);
                sender.space().0.write(&sender, 0, at, page).unwrap();
                frames.push(sender.space().0.touch(&sender, 0, at, rhumb_vm::Use::Read).unwrap());
            }
            let copy = sender.take(area).unwrap();
            assert_eq!((copy.pages(), copy.resident_pages()), (64, 64));
            assert_eq!(sender.usage().resident_pages, 0);
            let there: VirtRange = receiver.put(&Allocation::pages(0), copy).unwrap();
            for page in 0..64 {
                let at = there.start().plus(page * 4096);
                let place = receiver.space().0.touch(&receiver, 2, at, rhumb_vm::Use::Write);
                assert_eq!(place, Ok(frames[page as usize]));
                assert_eq!(receiver.fault(at, rhumb_vm::Use::Write), Ok(rhumb_vm::Resolved::Already));
            }
            sender.space().0.assert_no_stale();
            receiver.space().0.assert_no_stale();
        });
    }
}
