//! Refusals, and that nothing has changed then.

use super::fixture::{RAM, Sim, TABLE, TEXT, frames, pfn};
use super::*;
use crate::address_range;
use rhumb_machine::PfnRange;

/// Checks that `act` is refused with that error and leaves no trace.
fn refused<A>(sim: &mut Sim, error: ChangeError, act: impl FnOnce(&mut Sim) -> Result<A, ChangeError>) {
    let before = sim.map.memory().clone();
    let (reserve, pages) = (sim.map.reserve(), sim.map.pages());
    assert_eq!(act(sim).err(), Some(error));
    assert!(sim.map.memory().has_same_entries(&before));
    assert_eq!(sim.map.memory().writes, before.writes);
    assert_eq!((sim.map.reserve(), sim.map.pages()), (reserve, pages));
    sim.map.validate().unwrap();
}

#[test]
fn bytes_that_are_no_frames() {
    let start = PhysAddr::new(0x1800);
    assert_eq!(frames_at(start, 4096), Err(ChangeError::Unaligned { start, bytes: 4096 }));
    assert_eq!(frames_at(PhysAddr::new(0x1000), 0), Err(ChangeError::Empty));
    let start = PhysAddr::new(0x1000);
    assert_eq!(frames_at(start, 100), Err(ChangeError::Unaligned { start, bytes: 100 }));
    let start = PhysAddr::new(u64::MAX - 4095);
    assert_eq!(frames_at(start, 8192), Err(ChangeError::Wraps { start, bytes: 8192 }));
    assert_eq!(frames_at(PhysAddr::new(0x2000), 0x3000), Ok(frames(0x2000, 0x5000)));
}

#[test]
fn i7_frames_that_are_not_the_maps() {
    let mut sim = Sim::usual();
    let outside = ChangeError::NotInMap { pfn: pfn(640 * KIB) };
    for change in [Change::NotPresent, Change::ReadWrite, Change::ReadOnly] {
        refused(&mut sim, outside, |sim| sim.change(0, 640 * KIB + 4 * KIB, change));
    }
    refused(&mut sim, outside, |sim| sim.change(640 * KIB, MIB, Change::ReadOnly));
    refused(&mut sim, outside, |sim| sim.pin(0, MIB, PageSize::Size4K));
    let error = ChangeError::NotInMap { pfn: pfn(RAM[1].1) };
    refused(&mut sim, error, |sim| sim.change(GIB, 5 * GIB, Change::NotPresent));
    // Across two adjoining ends of the world: frames past the address range, and all that a number can say.
    let range_end = pfn(64 * TIB);
    let error = ChangeError::NotInMap { pfn: range_end };
    refused(&mut sim, error, |sim| sim.change(64 * TIB, 64 * TIB + 4 * KIB, Change::ReadOnly));
    refused(&mut sim, ChangeError::NotInMap { pfn: range_end }, |sim| {
        let all = PfnRange::new(pfn(4 * GIB), Pfn::new(u64::MAX)).unwrap();
        let (cause, now) = (sim.cause(), sim.now());
        // SAFETY: the frames are made up.
        sim.with_batch(|map, batch| unsafe { map.change(all, Change::NotPresent, cause, now, batch) })
    });
    refused(&mut sim, ChangeError::Empty, |sim| sim.change(GIB, GIB, Change::NotPresent));
}

#[test]
fn i4_frames_that_are_off_limits() {
    let mut sim = Sim::usual();
    let image = |start, end| {
        ChangeError::Forbidden(Forbidden { frames: frames(start, end), rule: Rule::KernelImage })
    };
    let (start, end) = TEXT;
    refused(&mut sim, image(start, start + 4 * KIB), |sim| {
        sim.change(start - 4 * KIB, start + 4 * KIB, Change::ReadWrite)
    });
    refused(&mut sim, image(start, end), |sim| sim.change(2 * MIB, GIB, Change::NotPresent));
    let tables = Forbidden { frames: frames(TABLE.0, TABLE.1), rule: Rule::PageTables };
    refused(&mut sim, ChangeError::Forbidden(tables), |sim| sim.change(TABLE.0, TABLE.1, Change::NotPresent));
    assert!(image(start, end).to_string().contains("the kernel's image"));
}

#[test]
fn i4_writable_and_executable() {
    let mut sim = Sim::usual();
    refused(&mut sim, ChangeError::WriteExecute, |sim| sim.change(GIB, 2 * GIB, Change::Execute));
    let mut held = sim.change(GIB, 2 * GIB, Change::NotPresent).unwrap();
    // Out of the map and writable once they are back.
    refused(&mut sim, ChangeError::WriteExecute, |sim| sim.alter(&mut held, Change::Execute));
    sim.restore(held);
    let mut held = sim.change(GIB, 2 * GIB, Change::ReadOnlyExecute).unwrap();
    refused(&mut sim, ChangeError::WriteExecute, |sim| sim.alter(&mut held, Change::ReadWrite));
    sim.restore(held);
    sim.assert_as_at_boot();
    assert_eq!("wx".parse::<Change>(), Err(ParseChangeError::WriteExecute));
    assert_eq!("rwx".parse::<Change>(), Err(ParseChangeError::WriteExecute));
    assert_eq!("".parse::<Change>(), Err(ParseChangeError::Unknown));
    for word in ["ro", "rw", "x", "rox", "nx", "np", "p", "default", "wb", "wt", "uc", "uc-", "wc", "wp"] {
        assert_eq!(word.parse::<Change>().unwrap().to_string(), word);
    }
}

#[test]
fn frames_that_are_held() {
    let mut sim = Sim::usual();
    let owner = OwnerName::of("test");
    let mut held = sim.change(GIB, GIB + 8 * KIB, Change::NotPresent).unwrap();
    let gone = ChangeError::AlreadyRemoved { frames: frames(GIB, GIB + 8 * KIB), owner };
    refused(&mut sim, gone, |sim| sim.change(GIB + 4 * KIB, GIB + 8 * KIB, Change::NotPresent));
    refused(&mut sim, gone, |sim| sim.change(GIB - 4 * KIB, GIB + 4 * KIB, Change::NotPresent));
    refused(&mut sim, gone, |sim| sim.alter(&mut held, Change::NotPresent));
    let taken = ChangeError::Held { frames: frames(GIB, GIB + 8 * KIB), owner };
    refused(&mut sim, taken, |sim| sim.change(GIB, GIB + 4 * KIB, Change::ReadOnly));
    refused(&mut sim, taken, |sim| sim.change(GIB + 4 * KIB, GIB + 12 * KIB, Change::ReadWrite));
    refused(&mut sim, taken, |sim| sim.pin(GIB, GIB + 4 * KIB, PageSize::Size4K));
    // Their neighbours are not.
    let below = sim.change(GIB - 4 * KIB, GIB, Change::ReadOnly).unwrap();
    let above = sim.change(GIB + 8 * KIB, GIB + 12 * KIB, Change::ReadOnly).unwrap();
    [below, held, above].into_iter().for_each(|held| sim.restore(held));
    sim.assert_as_at_boot();
}

#[test]
fn pins_that_make_no_sense() {
    let mut sim = Sim::usual();
    let bad = |size| ChangeError::BadPin { size };
    refused(&mut sim, bad(PageSize::Size1G), |sim| sim.pin(GIB, 2 * GIB, PageSize::Size1G));
    refused(&mut sim, bad(PageSize::Size2M), |sim| sim.pin(GIB, GIB + 3 * MIB, PageSize::Size2M));
    let mut sim = Sim::new(Levels::Four, PageSize::Size2M);
    refused(&mut sim, bad(PageSize::Size2M), |sim| sim.pin(GIB, 2 * GIB, PageSize::Size2M));
}

#[test]
fn an_entry_that_somebody_else_wrote_is_found() {
    let mut sim = Sim::usual();
    let held = sim.change(GIB, GIB + 4 * KIB, Change::ReadOnly).unwrap();
    let virt = address_range(Levels::Four).start().plus(GIB + 8 * KIB);
    let step = *walk(sim.map.memory(), Root::new(SimTree::ROOT, Levels::Four), virt).steps().last().unwrap();
    let odd = Entry::from_bits(step.entry.bits() & !(1 << 8));
    sim.map.tree.memory.write(step.table, step.index, odd);
    let error = ChangeError::NotOrdinary { pfn: pfn(GIB + 8 * KIB), entry: odd };
    refused(&mut sim, error, |sim| sim.change(GIB + 4 * KIB, GIB + 12 * KIB, Change::ReadOnly));
    sim.map.tree.memory.write(step.table, step.index, step.entry);
    sim.restore(held);
    sim.assert_as_at_boot();
}
