//! Attribution of splits: while it lasts, and its passing on.

use super::fixture::{Sim, frames, pfn, record_page};
use super::*;
use rhumb_machine::CpuId;

const NOW: At = At { cpu: CpuId::BOOT, time_ns: 0 };

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
        assert_eq!(split.hold.reason, "a test");
        assert_eq!(split.hold.call_site.line(), line);
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
    assert!(why.held.is_none() && why.broken_1g.is_none());
    assert_eq!(sim.map.why(Pfn::new(u64::MAX >> 12)).page, None);
    sim.restore(held);
    assert_eq!(sim.map.splits().count(), 0);
}

#[test]
fn i9_attribution_passes_to_the_owner_that_keeps_a_block_broken() {
    let mut sim = Sim::usual();
    let first = sim.owner;
    let name = OwnerName { name: "task", number: Some(17) };
    let second = sim.map.add_owner(name, Limits::of_breaks(2)).unwrap();
    let one = sim.change(GIB, GIB + 4 * KIB, Change::NotPresent).unwrap();
    sim.owner = second;
    let other = sim.change(GIB + 64 * KIB, GIB + 68 * KIB, Change::NotPresent).unwrap();
    let splits = |sim: &Sim, owner| sim.map.owner(owner).unwrap().totals.splits;
    assert_eq!((splits(&sim, first), splits(&sim, second)), (2, 0));
    sim.restore(one);
    assert_eq!((splits(&sim, first), splits(&sim, second)), (0, 2));
    assert!(sim.map.splits().all(|split| split.hold.owner == name && split.hold.is_of(second)));
    let text: Vec<_> = sim.map.owners().map(|owner| owner.to_string()).collect();
    assert_eq!(text[0], "task 17: 1 range, 4 kB, 2 large pages split, 2 of 2 breaks");
    assert_eq!(sim.map.remove_owner(second, NOW), Err(ChangeError::OwnerHolds { owner: name, holds: 1 }));
    sim.restore(other);
    assert_eq!(sim.map.remove_owner(second, NOW), Ok(()));
    let gone = sim.change(GIB, GIB + 4 * KIB, Change::ReadOnly);
    assert_eq!(gone.err(), Some(ChangeError::UnknownOwner));
    assert_eq!(sim.map.owners().count(), 1);
    sim.assert_as_at_boot();
}

#[test]
fn owners_are_forgotten_in_any_order() {
    let mut sim = Sim::usual();
    let mut ids: Vec<OwnerId> = (0..9)
        .map(|number| OwnerName { name: "task", number: Some(number) })
        .map(|name| sim.map.add_owner(name, Limits::NONE).unwrap())
        .collect();
    let names = |sim: &Sim| sim.map.owners().filter_map(|owner| owner.name.number).collect::<Vec<u64>>();
    let mut left: Vec<u64> = (0..9).rev().collect();
    // The first, the last, and some between.
    for number in [8, 0, 4, 5, 1, 7, 2, 6, 3] {
        assert_eq!(names(&sim), left);
        assert_eq!(sim.map.remove_owner(ids[number], NOW), Ok(()));
        left.retain(|&other| other != number as u64);
        sim.map.validate().unwrap();
    }
    ids.clear();
    assert_eq!(sim.map.owners().count(), 1);
}

#[test]
fn what_was_left_can_be_adopted_by_its_owner_whole() {
    let mut sim = Sim::usual();
    let page = |number: u64| frames(GIB + number * 8 * KIB, GIB + number * 8 * KIB + 4 * KIB);
    for number in 0..3 {
        let held = sim.change(GIB + number * 8 * KIB, GIB + number * 8 * KIB + 4 * KIB, Change::ReadOnly);
        sim.map.leave(held.unwrap());
    }
    let kept = sim.change(2 * GIB, 2 * GIB + 4 * KIB, Change::ReadOnly).unwrap();
    let other = sim.map.add_owner(OwnerName::of("other"), Limits::NONE).unwrap();
    let owner = sim.owner;
    assert_eq!(sim.map.holds().filter(|hold| hold.is_left).count(), 3);
    // SAFETY: the frames are made up.
    let adopt = |sim: &mut Sim, owner, frames| unsafe { sim.map.adopt(owner, frames) };
    assert!(adopt(&mut sim, other, page(0)).is_none(), "another owner's");
    assert!(adopt(&mut sim, owner, frames(GIB, GIB + 8 * KIB)).is_none(), "more than what was left");
    assert!(adopt(&mut sim, owner, frames(2 * GIB, 2 * GIB + 4 * KIB)).is_none(), "its handle is out");
    for number in 0..3 {
        let held = adopt(&mut sim, owner, page(number)).unwrap();
        assert!(adopt(&mut sim, owner, page(number)).is_none(), "a second handle");
        sim.restore(held);
    }
    sim.restore(kept);
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
        // SAFETY: the frames are made up.
        let one = unsafe { sim.map.change(page, Change::NotPresent, cause, now, &mut batch) };
        held.insert(addr, one.unwrap());
    }
    sim.map.validate().unwrap();
    assert_eq!(sim.map.holds().count() as u64, count);
    let starts: Vec<Pfn> = sim.map.holds().map(|hold| hold.frames.start()).collect();
    assert!(starts.is_sorted());
    for turn in 0..count {
        sim.map.restore(held.remove(&at(turn, 7_919)).unwrap(), &mut batch);
    }
    sim.finish(batch);
    sim.map.validate().unwrap();
    sim.assert_as_at_boot();
}

/// A published hash keeps the tree flat. These are its first results for the seeds 0 and 1234567.
#[test]
fn the_priorities_are_those_of_splitmix64() {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    for (seed, results) in [
        (0u64, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]),
        (1_234_567, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]),
    ] {
        for (turn, result) in (1..).zip(results) {
            assert_eq!(crate::hold_tree::mix(seed.wrapping_add(STEP.wrapping_mul(turn))), result);
        }
    }
}
