//! Random histories against the model.

use super::fixture::{RAM, Sim, record_page};
use super::model::{Known, Model, Page};
use super::*;
use crate::address_range;
use rhumb_machine::PfnRange;
use rhumb_pagetable::{CacheMode, Key};

/// One turn of a history. Numbers pick from what there is then.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Change(PfnRange, Change),
    Pin(PfnRange, PageSize),
    Restore(usize),
    Alter(usize, Change),
    Collapse,
    Flush,
}

/// Ranges that like to meet: edges at, just before and just after boundaries of large pages, in few places.
fn ranges() -> impl Strategy<Value = PfnRange> {
    let edge = || {
        let near = prop_oneof![3 => Just(0i64), 1 => -3i64..=3, 1 => 0i64..512];
        let large = prop_oneof![3 => 0i64..4, 1 => 508i64..514];
        (prop::sample::select(std::vec![0i64, 1, 4]), large, near)
            .prop_map(|(huge, large, near)| ((huge << 18) + large * 512 + near).max(0) as u64)
    };
    let whole = (0u64..6).prop_map(|huge| (huge << 18, (huge + 1) << 18));
    let few = (edge(), 1u64..6).prop_map(|(start, frames)| (start, start + frames));
    let any = (edge(), edge()).prop_map(|(one, other)| (one.min(other), one.max(other)));
    let edges = prop_oneof![2 => few, 3 => any, 1 => whole];
    edges.prop_map(|(start, end)| PfnRange::new(Pfn::new(start), Pfn::new(end)).unwrap())
}

fn changes() -> impl Strategy<Value = Change> {
    prop::sample::select(std::vec![
        Change::ReadOnly,
        Change::ReadWrite,
        Change::Execute,
        Change::ReadOnlyExecute,
        Change::NoExecute,
        Change::NotPresent,
        Change::NotPresent,
        Change::Present,
        Change::Default,
        Change::Cache(CacheMode::Uncached),
        Change::Cache(CacheMode::WriteProtected),
        Change::Key(Key::new(1)),
        Change::Key(Key::new(15)),
        Change::Key(None),
    ])
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let any = || any::<prop::sample::Index>().prop_map(|index| index.index(1 << 20));
    let turn = prop_oneof![
        10 => (ranges(), changes()).prop_map(|(frames, change)| Turn::Change(frames, change)),
        2 => (ranges(), prop::sample::select(std::vec![PageSize::Size4K, PageSize::Size2M]))
            .prop_map(|(frames, size)| Turn::Pin(frames, size)),
        6 => any().prop_map(Turn::Restore),
        4 => (any(), changes()).prop_map(|(which, change)| Turn::Alter(which, change)),
        1 => Just(Turn::Collapse),
        4 => Just(Turn::Flush),
    ];
    prop::collection::vec(turn, 1..40)
}

/// The map, the model, and what both agree to be held.
struct Both {
    sim: Sim,
    model: Model,
    held: Vec<(Hold, u32)>,
    batch: Batch,
}

/// Errors that the model knows nothing of: it has no reserve.
const fn is_shortage(error: &ChangeError) -> bool {
    matches!(
        error,
        ChangeError::OutOfTables { .. }
            | ChangeError::OutOfRecords { .. }
            | ChangeError::OverLimit { .. }
            | ChangeError::PinTooLarge { .. }
    )
}

impl Both {
    fn new(levels: Levels, largest: PageSize, tables: u64, limit: u64) -> Self {
        let mut sim = Sim::bare(levels, largest, largest);
        sim.refill(tables).unwrap();
        sim.map.set_limits(sim.owner, Limits::of_breaks(limit)).unwrap();
        if tables > 64 {
            (0..6).for_each(|_| sim.map.add_record_page(record_page()));
        }
        Self { sim, model: Model::new(largest), held: Vec::new(), batch: Batch::new() }
    }

    fn play(&mut self, turn: Turn) {
        let before = self.sim.map.memory().clone();
        let refused = match turn {
            Turn::Change(frames, change) => self.change(frames, change),
            Turn::Pin(frames, size) => self.pin(frames, size),
            Turn::Restore(which) => self.restore(which),
            Turn::Alter(which, change) => self.alter(which, change),
            Turn::Collapse => {
                let all = fixture::frames(0, 6 * GIB);
                let collapsed = self.sim.map.collapse(all, &mut self.batch);
                assert_eq!(collapsed, Collapsed::default(), "nothing was left to merge");
                None
            }
            Turn::Flush => {
                self.sim.finish(core::mem::take(&mut self.batch));
                None
            }
        };
        if refused.is_some() {
            assert!(self.sim.map.memory().has_same_entries(&before), "{refused:?} left a trace");
        }
        self.check();
    }

    fn change(&mut self, frames: PfnRange, change: Change) -> Option<ChangeError> {
        let (cause, now) = (self.sim.cause(), self.sim.now());
        let wanted = State::ORDINARY.after(change);
        let allowed = !frames.is_empty() && self.model.may_change(frames) && wanted.is_ok();
        // SAFETY: the frames are made up.
        match unsafe { self.sim.map.change(frames, change, cause, now, &mut self.batch) } {
            Ok(held) => {
                assert!(allowed);
                let state = wanted.unwrap();
                assert_eq!(held.is_in_force(), !state.is_ordinary());
                if held.is_in_force() {
                    let number = self.model.hold(Known { frames, state, pinned: None });
                    self.held.push((held, number));
                }
                None
            }
            Err(error) => {
                assert!(!allowed || is_shortage(&error), "{error}");
                Some(error)
            }
        }
    }

    fn pin(&mut self, frames: PfnRange, size: PageSize) -> Option<ChangeError> {
        let (cause, now) = (self.sim.cause(), self.sim.now());
        let allowed = !frames.is_empty() && self.model.may_pin(frames, size);
        match self.sim.map.pin_small(frames, size, cause, now) {
            Ok(held) => {
                assert!(allowed);
                let pinned = Some(size);
                let number = self.model.hold(Known { frames, state: State::ORDINARY, pinned });
                self.held.push((held, number));
                None
            }
            Err(error) => {
                assert!(!allowed || is_shortage(&error), "{error}");
                Some(error)
            }
        }
    }

    fn restore(&mut self, which: usize) -> Option<ChangeError> {
        if !self.held.is_empty() {
            let (held, number) = self.held.swap_remove(which % self.held.len());
            self.sim.map.restore(held, &mut self.batch);
            self.model.restore(number);
        }
        None
    }

    fn alter(&mut self, which: usize, change: Change) -> Option<ChangeError> {
        if self.held.is_empty() {
            return None;
        }
        let which = which % self.held.len();
        let (held, number) = &mut self.held[which];
        let known = self.model.known(*number);
        let expected = match (known.pinned, known.state.after(change)) {
            (None, Ok(state)) => Some(state),
            _ => None,
        };
        let now = At { cpu: rhumb_machine::CpuId::BOOT, time_ns: 0 };
        let altered = self.sim.map.alter(held, change, now, &mut self.batch);
        assert_eq!(altered.is_ok(), expected.is_some());
        match expected {
            Some(state) if state.is_ordinary() => {
                assert!(!held.is_in_force());
                self.model.restore(*number);
                drop(self.held.swap_remove(which));
            }
            Some(state) => self.model.set_state(*number, state),
            None => {}
        }
        altered.err()
    }

    /// The map is what the model says: the same attributes, in the largest pages; and all counts agree.
    fn check(&self) {
        let map = &self.sim.map;
        map.validate().unwrap();
        let pages = self.model.pages();
        let present: Vec<&Page> = pages.iter().filter(|page| page.entry.is_present()).collect();
        let leaves = self.sim.leaves();
        for (page, leaf) in present.iter().zip(&leaves) {
            assert_eq!((page.block.start().addr(), page.block.size()), (leaf.phys, leaf.size));
            assert_eq!(page.entry, leaf.entry, "{}", page.block);
            assert_eq!(leaf.virt, address_range(map.levels()).start().plus(leaf.phys.get()));
        }
        assert_eq!(present.len(), leaves.len());
        for page in pages.iter().filter(|page| !page.entry.is_present()) {
            assert_eq!(map.why(page.block.start()).page, Some(page.block));
        }
        let in_use = map.splits().count() as u64;
        let idle = map.reserve().tables + self.batch.tables() + map.kept_tables();
        assert_eq!(idle + in_use, self.sim.source.taken());
        assert_eq!(map.holds().count(), self.held.len());
        assert_eq!((map.hold_count(), map.split_count()), (self.held.len() as u64, in_use));
        let counters = map.counters();
        let splits = counters.level2_splits + counters.level3_splits;
        assert_eq!(splits - counters.level2_collapses - counters.level3_collapses, in_use);
    }

    /// Restores all that is held; then the map is as at boot, bit for bit.
    fn heal(mut self) {
        while !self.held.is_empty() {
            self.restore(self.held.len() / 2);
        }
        self.sim.finish(core::mem::take(&mut self.batch));
        self.sim.map.validate().unwrap();
        self.sim.assert_as_at_boot();
    }
}

fn machines() -> impl Strategy<Value = (Levels, PageSize)> {
    (levels(), prop_oneof![3 => Just(PageSize::Size1G), 1 => Just(PageSize::Size2M)])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn i3_i7_any_history_does_what_the_model_does(machine in machines(), turns in turns()) {
        let mut both = Both::new(machine.0, machine.1, 120, u64::MAX);
        turns.into_iter().for_each(|turn| both.play(turn));
        both.heal();
    }

    #[test]
    fn i7_i11_any_history_in_want_of_tables_and_records(
        machine in machines(),
        tables in 0u64..8,
        limit in 0u64..8,
        turns in turns(),
    ) {
        let mut both = Both::new(machine.0, machine.1, tables, limit);
        turns.into_iter().for_each(|turn| both.play(turn));
        both.heal();
    }
}

#[test]
fn i3_breaking_everything_and_healing_ends_with_the_boot_map() {
    let mut sim = Sim::bare(Levels::Four, PageSize::Size1G, PageSize::Size1G);
    sim.source = SimSource::new(&mut sim.map.tree.memory, SimTree::ROOT.plus(0x20_0000), 2000);
    sim.refill(2000).unwrap();
    (0..50).for_each(|_| sim.map.add_record_page(record_page()));
    let mut batch = Batch::new();
    let mut pins = Vec::new();
    for (start, end) in RAM {
        let (cause, now) = (sim.cause(), sim.now());
        // As much as one pin may take.
        for start in (start..end).step_by(14 << 20) {
            let some = fixture::frames(start, end.min(start + (14 << 20)));
            pins.push(sim.map.pin_small(some, PageSize::Size4K, cause, now).unwrap());
        }
    }
    sim.map.validate().unwrap();
    let pages = sim.map.pages();
    assert_eq!((pages.size_2m, pages.size_1g), (0, 0));
    assert_eq!(pages.bytes(), RAM.iter().map(|(start, end)| end - start).sum::<u64>());
    pins.into_iter().for_each(|pin| sim.map.restore(pin, &mut batch));
    sim.finish(batch);
    sim.map.validate().unwrap();
    sim.assert_as_at_boot();
}
