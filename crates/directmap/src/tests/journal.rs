//! Who broke what: attribution while it lasts, and its passing on.

use super::fixture::{Sim, frames, pfn, record_page};
use super::*;
use rhumb_machine::CpuId;

#[test]
fn i9_every_split_has_an_owner_a_reason_and_a_time() {
    let mut sim = Sim::usual();
    let line = line!() + 1;
    let held = sim.change(GIB + 8 * KIB, GIB + 12 * KIB, Change::NotPresent).unwrap();
    let splits: Vec<SplitReport> = sim.map.splits().collect();
    let blocks: Vec<Block> = splits.iter().map(|split| split.block).collect();
    let block = |size| Block::around(pfn(GIB), size);
    assert_eq!(blocks, [block(PageSize::Size2M), block(PageSize::Size1G)]);
    for split in &splits {
        assert_eq!(split.hold.owner, OwnerName::of("test"));
        assert_eq!(split.hold.cause.reason, "a test");
        assert_eq!(split.hold.cause.call_site.line(), line);
        assert_eq!(split.hold.at, At { cpu: CpuId::new(3).unwrap(), time_ns: 1_000_000 });
    }
    let text = splits[0].to_string();
    assert!(
        text.starts_with("2M at 0x40000000 split for [0x40002, 0x40003) np, by test: a test, "),
        "{text}"
    );
    assert!(text.ends_with(", CPU 3 at 0.001000 s"), "{text}");

    let why = sim.map.why(pfn(GIB + 16 * KIB)).to_string();
    assert!(
        why.starts_with("frame 0x40004 is in a page of 4K at 0x40004000\n  no 2M page because of ["),
        "{why}"
    );
    assert!(why.contains("\n  no 1G page because of ["), "{why}");
    let why = sim.map.why(pfn(GIB + 8 * KIB));
    assert_eq!(why.held.unwrap().frames, frames(GIB + 8 * KIB, GIB + 12 * KIB));
    assert!(sim.map.why(pfn(3 * GIB)).to_string().ends_with("is not in the direct map"));
    let why = sim.map.why(pfn(4 * GIB));
    assert!(why.held.is_none() && why.breaks_1g.is_none());
    assert_eq!(sim.map.why(Pfn::new(u64::MAX >> 12)).page, None);
    sim.restore(held);
    assert_eq!(sim.map.splits().count(), 0);
}

#[test]
fn i9_attribution_passes_to_whoever_keeps_a_block_broken() {
    let mut sim = Sim::usual();
    let first = sim.owner;
    let second = sim.map.add_owner(OwnerName { name: "task", number: Some(17) }, 0).unwrap();
    let one = sim.change(GIB, GIB + 4 * KIB, Change::NotPresent).unwrap();
    // The second may break nothing, but what is broken already it may use.
    sim.owner = second;
    let other = sim.change(GIB + 64 * KIB, GIB + 68 * KIB, Change::NotPresent).unwrap();
    let error = sim.change(2 * GIB + 4 * KIB, 2 * GIB + 8 * KIB, Change::ReadOnly).unwrap_err();
    let name = OwnerName { name: "task", number: Some(17) };
    assert_eq!(error, ChangeError::OverLimit { owner: name, broken: 0, more: 1, limit: 0 });
    let splits = |sim: &Sim, owner| sim.map.owner(owner).unwrap().totals.splits;
    assert_eq!((splits(&sim, first), splits(&sim, second)), (2, 0));
    sim.restore(one);
    assert_eq!((splits(&sim, first), splits(&sim, second)), (0, 2));
    assert!(sim.map.splits().all(|split| split.hold.owner == name));
    let text: Vec<_> = sim.map.owners().map(|owner| owner.to_string()).collect();
    assert_eq!(text[0], "task 17: 1 ranges, 4 kB, 2 large pages split of at most 0");
    assert_eq!(sim.map.remove_owner(second), Err(ChangeError::OwnerHolds { owner: name, holds: 1 }));
    sim.restore(other);
    assert_eq!(sim.map.remove_owner(second), Ok(()));
    let cause = Cause::new(second, "gone");
    let now = sim.now();
    let gone =
        sim.with_batch(|map, batch| map.change(frames(GIB, GIB + 4096), Change::ReadOnly, cause, now, batch));
    assert_eq!(gone.err(), Some(ChangeError::UnknownOwner));
    assert_eq!(sim.map.owners().count(), 1);
    sim.assert_as_at_boot();
}

#[test]
fn i11_no_owner_breaks_more_than_its_limit() {
    let mut sim = Sim::usual();
    sim.map.set_limit(sim.owner, 3);
    let one = sim.change(GIB, GIB + 4 * KIB, Change::NotPresent).unwrap();
    let two = sim.change(GIB + 2 * MIB, GIB + 2 * MIB + 4 * KIB, Change::NotPresent).unwrap();
    let three = sim.change(GIB + 4 * MIB, GIB + 4 * MIB + 4 * KIB, Change::NotPresent);
    let name = OwnerName::of("test");
    assert_eq!(three.err(), Some(ChangeError::OverLimit { owner: name, broken: 3, more: 1, limit: 3 }));
    // Blocks that are broken already, and whole ones, cost nothing.
    let inside = sim.change(GIB + 8 * KIB, GIB + 12 * KIB, Change::NotPresent).unwrap();
    let whole = sim.change(GIB + 4 * MIB, GIB + 6 * MIB, Change::NotPresent).unwrap();
    [one, two, inside, whole].into_iter().for_each(|held| sim.restore(held));
    sim.assert_as_at_boot();
}

#[test]
fn the_order_holds_for_thousands_in_any_order() {
    let mut sim = Sim::usual();
    for _ in 0..60 {
        sim.map.add_record_page(record_page());
    }
    let count: u64 = 2000;
    // A stride that visits every page once.
    let at = |turn: u64, stride: u64| GIB + (turn * stride % count) * 8 * KIB;
    let mut held = std::collections::BTreeMap::new();
    let mut batch = Batch::new();
    for turn in 0..count {
        let addr = at(turn, 1_237);
        let (cause, now) = (sim.cause(), sim.now());
        let page = frames(addr, addr + 4096);
        held.insert(addr, sim.map.change(page, Change::NotPresent, cause, now, &mut batch).unwrap());
    }
    sim.map.validate().unwrap();
    assert_eq!(sim.map.holds().count() as u64, count);
    let starts: Vec<Pfn> = sim.map.holds().map(|hold| hold.frames.start()).collect();
    assert!(starts.is_sorted());
    for turn in 0..count {
        sim.map.restore(held.remove(&at(turn, 7_919)).unwrap(), &mut batch);
    }
    sim.settle(batch);
    sim.map.validate().unwrap();
    sim.assert_as_at_boot();
}
