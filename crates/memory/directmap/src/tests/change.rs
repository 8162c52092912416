//! Splitting, setting and merging, each by itself.

use super::fixture::{Sim, frames, pfn};
use super::*;
use crate::address_range;
use rhumb_machine::PfnRange;
use rhumb_pagetable::{CacheMode, Key};

fn ordinary(addr: u64, size: PageSize) -> Entry {
    State::ORDINARY.entry(PhysAddr::new(addr), size)
}

#[test]
fn i3_one_page_out_and_back_is_bit_identical() {
    for (levels, largest) in [
        (Levels::Four, PageSize::Size1G),
        (Levels::Five, PageSize::Size1G),
        (Levels::Four, PageSize::Size2M),
        (Levels::Five, PageSize::Size2M),
    ] {
        let mut sim = Sim::new(levels, largest);
        let addr = GIB + 5 * MIB + 8 * KIB;
        let held = sim.change(addr, addr + 4 * KIB, Change::NotPresent).unwrap();
        assert_eq!(sim.page(addr), None);
        let next = addr + 4 * KIB;
        assert_eq!(sim.page(next), Some((PageSize::Size4K, ordinary(next, PageSize::Size4K))));
        assert_eq!(sim.page(GIB), Some((PageSize::Size2M, ordinary(GIB, PageSize::Size2M))));
        let splits = if largest == PageSize::Size1G { 2 } else { 1 };
        assert_eq!(sim.map.splits().count(), splits);
        sim.restore(held);
        assert_eq!(sim.page(addr).unwrap().0, largest);
        sim.assert_as_at_boot();
        let counters = sim.map.counters();
        assert_eq!(counters.level2_splits, 1);
        assert_eq!(counters.level2_collapses, 1);
        assert_eq!(counters.level3_splits, splits as u64 - 1);
        assert_eq!(counters.level3_collapses, splits as u64 - 1);
    }
}

/// Elsewhere a split 1-GiB page got entries of the wrong frames.
#[test]
fn each_of_the_entries_that_replace_a_large_page_maps_its_own_frames() {
    let mut sim = Sim::usual();
    let middle = 4 * GIB + 300 * MIB + 4 * KIB;
    let pin = sim.pin(middle, middle + 4 * KIB, PageSize::Size4K).unwrap();
    let leaves = sim.leaves();
    let cut = || leaves.iter().filter(|leaf| leaf.phys.get() >= 4 * GIB);
    for leaf in cut() {
        assert_eq!(leaf.virt.get() - address_range(Levels::Four).start().get(), leaf.phys.get());
        assert_eq!(leaf.entry, State::ORDINARY.entry(leaf.phys, leaf.size));
    }
    let count = |size| cut().filter(|leaf| leaf.size == size).count();
    assert_eq!((count(PageSize::Size2M), count(PageSize::Size4K)), (511, 512));
    sim.restore(pin);
    sim.assert_as_at_boot();
}

#[test]
fn a_merged_page_has_the_cache_mode_and_the_key_of_its_pieces() {
    let mut sim = Sim::bare(Levels::Four, PageSize::Size4K, PageSize::Size1G);
    let modes = [(CacheMode::WriteProtected, Key::new(6)), (CacheMode::Uncached, Key::new(15))];
    for (number, (cache, key)) in modes.into_iter().enumerate() {
        // The PAT bit of a small page is elsewhere than that of a large one.
        let start = 4 * GIB + number as u64 * 2 * MIB;
        let end = start + 2 * MIB;
        let mut held = sim.change(start, end, Change::Cache(cache)).unwrap();
        sim.alter(&mut held, Change::Key(key)).unwrap();
        let merged = sim.with_batch(|map, batch| map.collapse(frames(start, end), batch));
        assert_eq!((merged.level2, merged.left), (1, 0));
        let state = State { cache, key, ..State::ORDINARY };
        assert_eq!(
            sim.page(start),
            Some((PageSize::Size2M, state.entry(PhysAddr::new(start), PageSize::Size2M)))
        );
        sim.restore(held);
        assert_eq!(sim.page(start).unwrap(), (PageSize::Size2M, ordinary(start, PageSize::Size2M)));
    }
}

#[test]
fn i3_a_large_page_stays_whole_where_it_is_covered_or_nothing_changes() {
    let mut sim = Sim::usual();
    let whole = sim.change(4 * GIB, 5 * GIB, Change::ReadOnly).unwrap();
    let large = sim.change(GIB, GIB + 4 * MIB, Change::NotPresent).unwrap();
    assert_eq!(sim.page(4 * GIB).unwrap().0, PageSize::Size1G);
    assert_eq!(sim.map.counters().level3_splits, 1, "the one around the 4 MiB");
    assert_eq!(sim.map.counters().level2_splits, 0);
    let writes = sim.map.memory().writes;
    let nothing = sim.change(2 * GIB + 4 * KIB, 2 * GIB + 8 * KIB, Change::ReadWrite).unwrap();
    assert!(!nothing.is_in_force());
    assert_eq!(sim.map.memory().writes, writes);
    sim.restore(nothing);
    sim.restore(whole);
    sim.restore(large);
    sim.assert_as_at_boot();
}

#[test]
fn changes_of_held_frames_add_up_and_need_nothing() {
    let mut sim = Sim::bare(Levels::Four, PageSize::Size1G, PageSize::Size1G);
    sim.refill(2).unwrap();
    let (start, end) = (GIB + 4 * KIB, GIB + 12 * KIB);
    let mut held = sim.change(start, end, Change::ReadOnly).unwrap();
    assert_eq!(sim.map.reserve().tables, 0);
    sim.alter(&mut held, Change::Cache(CacheMode::Uncached)).unwrap();
    sim.alter(&mut held, Change::NotPresent).unwrap();
    assert_eq!(sim.page(start), None);
    sim.alter(&mut held, Change::Present).unwrap();
    let state = State { access: Access::ReadOnly, cache: CacheMode::Uncached, ..State::ORDINARY };
    assert_eq!(sim.page(start).unwrap().1, state.entry(PhysAddr::new(start), PageSize::Size4K));
    sim.alter(&mut held, Change::Execute).unwrap();
    assert_eq!(sim.alter(&mut held, Change::ReadWrite), Err(ChangeError::WriteExecute));
    sim.alter(&mut held, Change::NoExecute).unwrap();
    sim.alter(&mut held, Change::ReadWrite).unwrap();
    assert!(held.is_in_force(), "the cache mode still differs");
    sim.alter(&mut held, Change::Cache(CacheMode::WriteBack)).unwrap();
    assert!(!held.is_in_force());
    assert_eq!(sim.alter(&mut held, Change::ReadOnly), Err(ChangeError::NothingHeld));
    sim.assert_as_at_boot();
}

#[test]
fn the_last_of_many_restores_merges() {
    let mut sim = Sim::usual();
    let pages: Vec<u64> = (0..40).map(|page| GIB + page * 20 * KIB).collect();
    let mut held: Vec<Hold> =
        pages.iter().map(|&addr| sim.change(addr, addr + 4 * KIB, Change::NotPresent).unwrap()).collect();
    assert_eq!(sim.map.counters().level2_splits, 1);
    while let Some(next) = held.pop() {
        assert_eq!(sim.map.splits().count(), 2);
        sim.restore(next);
    }
    sim.assert_as_at_boot();
}

#[test]
fn counts_of_writes_are_as_written_down() {
    let mut sim = Sim::usual();
    let addr = 4 * GIB + 6 * MIB;
    let mut before = sim.map.memory().writes;
    let mut spent = |sim: &Sim| {
        let spent = sim.map.memory().writes - before;
        before = sim.map.memory().writes;
        spent
    };
    let one = sim.change(addr, addr + 4 * KIB, Change::NotPresent).unwrap();
    // Two tables from the reserve (one write each), filled and hung in (513 each), and the page.
    assert_eq!(spent(&sim), 2 + 2 * 513 + 1);
    let two = sim.change(addr + 4 * KIB, addr + 8 * KIB, Change::NotPresent).unwrap();
    assert_eq!(spent(&sim), 1);
    sim.restore(one);
    assert_eq!(spent(&sim), 1);
    sim.restore(two);
    // The page and two merges: the tables are kept as they are.
    assert_eq!(spent(&sim), 1 + 2);
    let again = sim.change(addr, addr + 4 * KIB, Change::NotPresent).unwrap();
    assert_eq!(spent(&sim), 2 + 1, "the tables are put back");
    sim.restore(again);
    assert_eq!(spent(&sim), 1 + 2);
    sim.with_batch(|map, batch| map.empty_quarantine(batch));
    assert_eq!(spent(&sim), 4, "two for each table that goes to the reserve");
}

#[test]
fn pins_keep_pages_small_until_they_go() {
    let mut sim = Sim::usual();
    let needs = |start, end| sim.map.needs_to_pin(frames(start, end), PageSize::Size4K);
    assert_eq!(needs(4 * GIB, 4 * GIB + 14 * MIB), Ok(Reserve { tables: 8, records: 9 }));
    let too_large = Err(ChangeError::PinTooLarge { most: survey::PIN_ENTRIES });
    assert_eq!(needs(4 * GIB, 4 * GIB + 16 * MIB), too_large);
    assert_eq!(needs(4 * GIB, 5 * GIB), too_large);
    let pin = sim.pin(4 * GIB, 5 * GIB, PageSize::Size2M).unwrap();
    assert_eq!(sim.page(4 * GIB + 600 * MIB).unwrap().0, PageSize::Size2M);
    let taken = sim.change(4 * GIB, 4 * GIB + 4 * KIB, Change::ReadOnly);
    assert!(matches!(taken, Err(ChangeError::Held { .. })));
    sim.restore(pin);
    sim.assert_as_at_boot();
    let (start, end) = (4 * GIB + 4 * KIB, 4 * GIB + 5 * MIB);
    let mut pin = sim.pin(start, end, PageSize::Size4K).unwrap();
    assert_eq!(sim.page(start + 4 * MIB).unwrap().0, PageSize::Size4K);
    assert_eq!(sim.page(4 * GIB + 6 * MIB).unwrap().0, PageSize::Size2M);
    let altered = sim.alter(&mut pin, Change::ReadOnly);
    assert_eq!(altered, Err(ChangeError::Pinned { frames: frames(start, end) }));
    sim.restore(pin);
    sim.assert_as_at_boot();
    // The kernel's text may be pinned: nothing about it changes.
    let pin = sim.pin(16 * MIB, 20 * MIB, PageSize::Size4K).unwrap();
    sim.restore(pin);
    sim.assert_as_at_boot();
}

#[test]
fn i3_what_boot_left_small_is_collapsed_on_request() {
    let mut small = Sim::bare(Levels::Four, PageSize::Size4K, PageSize::Size1G);
    small.refill(1).unwrap();
    let owner = small.owner;
    for _ in 0..40 {
        small.map.add_record_page(fixture::record_page());
    }
    let held = small.change(GIB + 4 * KIB, GIB + 8 * KIB, Change::ReadOnly).unwrap();
    let whole = small.change(GIB + 2 * MIB, GIB + 4 * MIB, Change::NotPresent).unwrap();
    let all = frames(0, 5 * GIB);
    let collapsed = small.with_batch(|map, batch| map.collapse(all, batch));
    assert_eq!(collapsed.left, 0);
    assert_eq!(small.map.splits().count(), 0, "none of these tables is charged to a hold");
    // All but the blocks that RAM, text, or the page held keep broken.
    let large = Sim::usual();
    let mut expected = large.map.pages();
    expected.size_1g -= 1;
    expected.size_2m += 510;
    expected.size_4k += 512;
    assert_eq!(small.map.pages(), expected);
    small.restore(held);
    small.restore(whole);
    let collapsed = small.with_batch(|map, batch| map.collapse(all, batch));
    // The block that was absent has kept its table: a CPU that had cached the way to it finds the pages when they come
    // back, which flushes nothing.
    assert_eq!(collapsed, Collapsed { level2: 2, level3: 1, left: 0 });
    assert_eq!(small.leaves(), large.leaves());
    assert_eq!(small.map.owner(owner).unwrap().totals.splits, 0);
}

#[test]
fn no_page_is_made_that_is_larger_than_the_largest() {
    for largest in [PageSize::Size4K, PageSize::Size2M] {
        let mut small = Sim::bare(Levels::Four, largest, largest);
        let collapsed = small.with_batch(|map, batch| map.collapse(frames(0, 5 * GIB), batch));
        assert_eq!(collapsed, Collapsed::default());
        small.assert_as_at_boot();
    }
}

#[test]
fn i3_a_collapse_merges_the_blocks_that_lie_wholly_in_its_range() {
    let mut small = Sim::bare(Levels::Four, PageSize::Size4K, PageSize::Size1G);
    for _ in 0..40 {
        small.map.add_record_page(fixture::record_page());
    }
    let mut base = GIB;
    let mut check = |from: u64, to: u64, level2: u64| {
        let (start, end) = (base + from, base + to);
        let mut batch = Batch::new();
        let done = small.map.collapse(frames(start, end), &mut batch);
        small.finish(batch);
        assert_eq!(done, Collapsed { level2, level3: 0, left: 0 }, "{from:#x}..{to:#x}");
        for addr in (base..base + 6 * MIB).step_by((2 * MIB) as usize) {
            let is_merged = small.page(addr).unwrap().0 != PageSize::Size4K;
            let block = Block::around(pfn(addr), PageSize::Size2M).frames();
            assert_eq!(is_merged, frames(start, end).covers(block), "{addr:#x} in {start:#x}..{end:#x}");
        }
        base += 8 * MIB;
    };
    check(0, 2 * MIB, 1);
    check(0, 4 * MIB, 2);
    check(4 * KIB, 4 * MIB, 1);
    check(2 * MIB - 4 * KIB, 4 * MIB, 1);
    check(0, 4 * MIB - 4 * KIB, 1);
    check(4 * KIB, 4 * MIB - 4 * KIB, 0);
    // A page less at either end, and it is no block of the next size.
    for (from, to, level3) in [(4 * KIB, 0, 0), (0, 4 * KIB, 0), (0, 0, 1)] {
        let mut batch = Batch::new();
        let done = small.map.collapse(frames(GIB + from, 2 * GIB - to), &mut batch);
        small.finish(batch);
        assert_eq!((done.level3, done.left), (level3, 0));
    }
    small.map.validate().unwrap();
}

/// Five levels, of which one entry at the top is in use: 2^34 blocks of 2 MiB, nearly all of them nowhere.
#[test]
fn a_collapse_of_everything_passes_over_what_has_no_tables() {
    let mut small = Sim::bare(Levels::Five, PageSize::Size2M, PageSize::Size1G);
    for _ in 0..40 {
        small.map.add_record_page(fixture::record_page());
    }
    let all = PfnRange::new(Pfn::new(0), Pfn::new(u64::MAX)).unwrap();
    let collapsed = small.with_batch(|map, batch| map.collapse(all, batch));
    assert_eq!(collapsed.left, 0);
    assert_eq!(small.leaves(), Sim::new(Levels::Five, PageSize::Size1G).leaves());
}

#[test]
fn i3_executable_and_back_is_bit_identical() {
    let mut sim = Sim::usual();
    for (start, end) in [(GIB, 2 * GIB), (GIB + 4 * KIB, GIB + 8 * KIB), (GIB + 2 * MIB, GIB + 7 * MIB)] {
        let mut held = sim.change(start, end, Change::ReadOnlyExecute).unwrap();
        let code = State { access: Access::ReadExecute, ..State::ORDINARY };
        let (size, entry) = sim.page(start).unwrap();
        assert_eq!(entry, code.entry(PhysAddr::new(start), size));
        sim.alter(&mut held, Change::NoExecute).unwrap();
        sim.alter(&mut held, Change::Execute).unwrap();
        sim.alter(&mut held, Change::ReadOnly).unwrap();
        assert_eq!(sim.page(start).unwrap().1, entry, "read-only is what it is already");
        sim.alter(&mut held, Change::NoExecute).unwrap();
        sim.alter(&mut held, Change::ReadWrite).unwrap();
        assert!(!held.is_in_force());
        sim.assert_as_at_boot();
    }
    // Not executable it is already.
    let nothing = sim.change(GIB, 2 * GIB, Change::NoExecute).unwrap();
    assert!(!nothing.is_in_force());
    sim.restore(nothing);
}

#[test]
fn i3_a_pin_keeps_broken_only_pages_that_are_larger_than_it_allows() {
    for (allowed, others) in [(PageSize::Size4K, PageSize::Size2M), (PageSize::Size2M, PageSize::Size2M)] {
        let mut small = Sim::bare(Levels::Four, PageSize::Size4K, PageSize::Size1G);
        small.refill(4).unwrap();
        for _ in 0..40 {
            small.map.add_record_page(fixture::record_page());
        }
        let (cause, now) = (small.cause(), small.now());
        let pins = [(2 * MIB, 4 * MIB), (8 * MIB, 12 * MIB)].map(|(start, end)| {
            small.map.pin_small(frames(GIB + start, GIB + end), allowed, cause, now).unwrap()
        });
        let collapse = |small: &mut Sim| {
            let mut batch = Batch::new();
            small.map.collapse(frames(GIB, 2 * GIB), &mut batch);
            small.finish(batch);
        };
        collapse(&mut small);
        let sizes: Vec<_> = (0..7).map(|block| small.page(GIB + block * 2 * MIB).unwrap().0).collect();
        assert_eq!(sizes, [others, allowed, others, others, allowed, allowed, others]);
        let mut batch = Batch::new();
        pins.into_iter().for_each(|pin| small.map.restore(pin, &mut batch));
        small.finish(batch);
        collapse(&mut small);
        assert_eq!(small.page(GIB).unwrap().0, PageSize::Size1G);
        small.map.validate().unwrap();
    }
}

#[test]
fn i1_a_table_that_maps_other_memory_is_not_collapsed() {
    let mut small = Sim::bare(Levels::Four, PageSize::Size4K, PageSize::Size2M);
    for _ in 0..4 {
        small.map.add_record_page(fixture::record_page());
    }
    let block = Block::around(pfn(GIB), PageSize::Size2M);
    let table = small.map.tree.entry_of(block).unwrap().entry.child(2).unwrap();
    let attributes = small.map.tree.memory.read(table, 0).attributes(PageSize::Size4K).unwrap();
    let other = Entry::leaf(PhysAddr::new(GIB + 2 * MIB), PageSize::Size4K, attributes);
    small.map.tree.memory.write_run(table, 0, other, 4 * KIB, 512);
    let collapsed = small.with_batch(|map, batch| map.collapse(block.frames(), batch));
    assert_eq!(collapsed, Collapsed::default(), "the wrong page stays small, for an audit to find");
    assert_eq!(small.page(GIB).unwrap().0, PageSize::Size4K);
}
