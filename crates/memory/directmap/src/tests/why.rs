//! Why a page is small: a hold is blamed for the pages that a change has split, boot for the rest.

use super::fixture::{RAM, Sim, TEXT, frames, pfn};
use super::*;

fn since_boot(broken: Option<Broken>) -> Option<BootReason> {
    match broken {
        Some(Broken::SinceBoot(reason)) => Some(reason),
        _ => None,
    }
}

#[test]
fn i9_a_hold_is_not_blamed_for_a_page_that_boot_never_made() {
    let mut sim = Sim::usual();
    // The first GiB has the hole at 640 KiB, and text.
    let addr = 512 * MIB;
    let before = sim.map.why(pfn(addr));
    assert!(before.broken_2m.is_none());
    assert_eq!(since_boot(before.broken_1g), Some(BootReason::Hole));
    assert!(before.to_string().ends_with("no 1G page since boot: not all of it is RAM in the map"));
    let held = sim.change(addr + 4 * KIB, addr + 8 * KIB, Change::ReadOnly).unwrap();
    let why = sim.map.why(pfn(addr));
    assert!(matches!(why.broken_2m, Some(Broken::By { hold, others: 0 }) if hold.frames == held.frames()));
    assert_eq!(since_boot(why.broken_1g), Some(BootReason::Hole));
    sim.restore(held);
    sim.assert_as_at_boot();
}

#[test]
fn i9_boot_says_why_its_own_pages_are_small() {
    let mut sim = Sim::usual();
    let reason = |sim: &Sim, addr| since_boot(sim.map.why(pfn(addr)).broken_2m);
    assert_eq!(reason(&sim, 4 * KIB), Some(BootReason::Hole), "640 KiB");
    assert_eq!(reason(&sim, TEXT.1), Some(BootReason::Permissions), "text ends");
    assert_eq!(
        since_boot(sim.map.why(pfn(RAM[1].1 - 2 * MIB)).broken_1g),
        Some(BootReason::Hole),
        "RAM ends"
    );
    // Frames that a hold takes out of such a block are no hole of boot's.
    let held = sim.change(TEXT.1 + 8 * KIB, TEXT.1 + 12 * KIB, Change::NotPresent).unwrap();
    assert_eq!(reason(&sim, TEXT.1 + 16 * KIB), Some(BootReason::Permissions));
    assert!(sim.map.why(pfn(TEXT.1 + 8 * KIB)).held.is_some());
    sim.restore(held);
    let small = Sim::bare(Levels::Four, PageSize::Size4K, PageSize::Size1G);
    let why = small.map.why(pfn(4 * GIB + 8 * KIB));
    assert_eq!(since_boot(why.broken_2m), Some(BootReason::Small));
    assert_eq!(since_boot(why.broken_1g), Some(BootReason::Small));
    let whole = sim.map.why(pfn(4 * GIB));
    assert!(whole.broken_2m.is_none() && whole.broken_1g.is_none());
}

#[test]
fn i9_why_and_the_journal_name_the_same_hold_of_many() {
    let mut sim = Sim::usual();
    let mut held: Vec<Hold> = (0..9)
        .map(|number| 4 * GIB + number * 16 * KIB)
        .map(|addr| sim.change(addr, addr + 4 * KIB, Change::NotPresent).unwrap())
        .collect();
    let named = |sim: &Sim| match sim.map.why(pfn(4 * GIB + 4 * KIB)).broken_2m {
        Some(Broken::By { hold, others }) => (hold.frames, others),
        other => panic!("{other:?}"),
    };
    let charged = |sim: &Sim| {
        let size = PageSize::Size2M;
        sim.map.splits().find(|split| split.block.size() == size).map(|split| split.hold.frames).unwrap()
    };
    while held.len() > 1 {
        assert_eq!(named(&sim), (charged(&sim), held.len() as u64 - 1));
        // The one that is named goes first.
        let blamed = held.iter().position(|held| held.frames() == charged(&sim)).unwrap();
        let gone = held.swap_remove(blamed);
        sim.restore(gone);
    }
    let text = sim.map.why(pfn(4 * GIB + 4 * KIB)).to_string();
    assert!(!text.contains("other range"), "{text}");
    held.into_iter().for_each(|held| sim.restore(held));
    sim.assert_as_at_boot();
    let two = [GIB, GIB + 64 * KIB].map(|addr| sim.change(addr, addr + 4 * KIB, Change::ReadOnly).unwrap());
    let text = sim.map.why(pfn(GIB + 4 * KIB)).to_string();
    assert!(text.contains(", and of 1 other range"), "{text}");
    assert_eq!(sim.map.why(pfn(GIB)).held.unwrap().frames, frames(GIB, GIB + 4 * KIB));
    two.into_iter().for_each(|held| sim.restore(held));
}
