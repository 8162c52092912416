//! The map against a flat picture of RAM, frame by frame, and against the sizes of real machines.

extern crate std;

use std::collections::BTreeSet;
use std::format;
use std::string::ToString;
use std::vec::Vec;

use proptest::prelude::*;
use rhumb_machine::{Block, PageSize, Pfn, PhysAddr, PhysRange, VirtAddr};
use rhumb_pagetable::sim::{SimSource, SimTables, SimTree};
use rhumb_pagetable::{
    Access, Attributes, Entry, Leaf, Leaves, Levels, MapError, PageCounts, Permissions, Privilege, Root,
    TableMemory, walk,
};

use super::*;

mod bad_input;
mod change;
mod fixture;
mod journal;
mod limits;
mod model;
mod quarantine;
mod random;
mod reclaim;
mod reserve;
mod shortage;
mod steps;
mod two_maps;
mod why;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

fn range(start: u64, end: u64) -> PhysRange {
    PhysRange::new(PhysAddr::new(start), PhysAddr::new(end)).unwrap()
}

fn request<'a>(
    ram: &'a [PhysRange],
    read_only: &'a [PhysRange],
) -> PlanRequest<'a, core::iter::Copied<core::slice::Iter<'a, PhysRange>>> {
    PlanRequest {
        base: Levels::Four.kernel_half(),
        levels: Levels::Four,
        ram: ram.iter().copied(),
        read_only,
        largest: PageSize::Size1G,
        limit: None,
    }
}

/// Plans, builds with exactly the tables counted, and checks that all figures agree.
fn build<'a, R>(request: &PlanRequest<'a, R>) -> (Plan<'a, R>, SimTree)
where
    R: Clone + IntoIterator<Item = PhysRange>,
{
    let plan = Plan::new(request).unwrap();
    let mut machine = SimTree::new(request.levels, plan.tables());
    let built = plan.build(machine.root, &mut machine.memory, &mut machine.source).unwrap();
    assert_eq!(built, Built { tables: plan.tables(), pages: plan.pages() });
    assert_eq!(machine.source.taken(), plan.tables());
    for table in machine.source.taken_tables() {
        assert!(!machine.memory.is_blank(table), "{table:?} was taken for nothing");
    }
    let mut pages = PageCounts::NONE;
    machine.leaves().iter().for_each(|leaf| pages.add(leaf.size, 1));
    assert_eq!(pages, plan.pages());
    (plan, machine)
}

/// Returns a stretch of a made-up machine: RAM or hole, its length in frames.
fn stretches() -> impl Strategy<Value = Vec<(bool, u64)>> {
    let length = prop_oneof![
        4 => 1u64..40,
        3 => (0u64..6, 0u64..4).prop_map(|(large, small)| large * 512 + small),
        2 => (0u64..3, 0u64..3, 0u64..3)
            .prop_map(|(huge, large, small)| (huge << 18) + large * 512 + small),
    ];
    prop::collection::vec((any::<bool>(), length), 1..8)
}

/// Lays stretches one after the other; adjoining RAM stays in two ranges.
fn lay(stretches: &[(bool, u64)]) -> Vec<PhysRange> {
    let mut at = 0;
    let mut ranges = Vec::new();
    for &(present, frames) in stretches {
        let end = at + frames * 4 * KIB;
        if present {
            ranges.push(range(at, end));
        }
        at = end;
    }
    ranges
}

/// Returns the flat model: what frame `pfn` should look like.
fn wanted(ram: &[PhysRange], read_only: &[PhysRange], limit: Option<PhysAddr>, pfn: u64) -> Option<Access> {
    let addr = PhysAddr::new(pfn * 4096);
    let below = limit.is_none_or(|limit| addr.get() + 4096 <= limit.get());
    if !below || !ram.iter().any(|range| range.contains(addr)) {
        return None;
    }
    let guarded = read_only.iter().any(|range| range.contains(addr));
    Some(if guarded { Access::ReadOnly } else { Access::ReadWrite })
}

/// Returns the borders between which the model is constant: looking once in each interval looks at every frame.
fn intervals(ram: &[PhysRange], read_only: &[PhysRange], limit: Option<PhysAddr>) -> Vec<(u64, u64)> {
    let mut borders: BTreeSet<u64> = BTreeSet::from([0, 1 << 24]);
    for range in ram.iter().chain(read_only) {
        borders.extend([range.start().pfn().get(), range.end().pfn().get()]);
    }
    borders.extend(limit.map(|limit| limit.pfn().get()));
    let borders: Vec<u64> = borders.into_iter().collect();
    borders.windows(2).map(|pair| (pair[0], pair[1])).collect()
}

fn levels() -> impl Strategy<Value = Levels> {
    prop_oneof![Just(Levels::Four), Just(Levels::Five)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn i1_i3_the_map_is_the_flat_model_by_the_largest_pages(
        ram in stretches(),
        guards in stretches(),
        largest in 0usize..3,
        limit in prop::option::of(0u64..3 << 18),
        base_huge in 0u64..4,
        levels in levels(),
    ) {
        let (ram, read_only) = (lay(&ram), lay(&guards));
        let limit = limit.map(|frames| PhysAddr::new(frames * 4096 + frames % 4096));
        // Without 2-MiB pages a made-up machine of gigabytes takes millions of entries: keep those small.
        let mut largest = PageSize::DESCENDING[largest];
        let bytes: u64 = ram.iter().map(|range| range.bytes()).sum();
        if largest == PageSize::Size4K && bytes > 256 * MIB {
            largest = PageSize::Size2M;
        }
        let request = PlanRequest {
            base: levels.kernel_half().plus(base_huge * GIB),
            levels, largest, limit, ram: ram.iter().copied(), read_only: &read_only,
        };
        let model = |pfn| wanted(&ram, &read_only, limit, pfn);
        let intervals = intervals(&ram, &read_only, limit);
        let mapped: u64 = intervals.iter()
            .filter(|&&(start, _)| model(start).is_some())
            .map(|&(start, end)| (end - start) * 4096).sum();
        if mapped == 0 {
            prop_assert_eq!(Plan::new(&request).err(), Some(DirectMapError::NoRam));
            return Ok(());
        }
        let (plan, machine) = build(&request);
        prop_assert_eq!(plan.mapped_bytes(), mapped);
        prop_assert_eq!(plan.mapped_bytes() + plan.high_bytes(), bytes);

        // Nothing else is mapped: each leaf is RAM of one permission at its offset, and the bytes add up.
        let leaves = machine.leaves();
        for leaf in &leaves {
            prop_assert_eq!(leaf.virt, request.base.plus(leaf.phys.get()));
            let access = model(leaf.phys.pfn().get());
            prop_assert!(access.is_some());
            prop_assert_eq!(leaf.attributes(), access.map(Attributes::kernel));
            prop_assert_eq!(leaf.entry, Entry::leaf(leaf.phys, leaf.size, leaf.attributes().unwrap()));
            prop_assert!(uniform(&intervals, &model, leaf.phys, leaf.size));
            // The largest: the next size up would hold something else, or is not allowed.
            if let Some(larger) = PageSize::from_level(leaf.size.level() + 1) && larger <= largest {
                let start = leaf.phys.align_down(larger);
                prop_assert!(!uniform(&intervals, &model, start, larger), "{leaf:?} could be {larger}");
            }
        }
        let bytes: u64 = leaves.iter().map(|leaf| leaf.size.bytes()).sum();
        prop_assert_eq!(bytes, mapped);

        // Walks find first and last frame of each interval, and read what the page size says.
        for &(start, end) in &intervals {
            for pfn in [start, end - 1] {
                let virt = request.base.plus(pfn * 4096 + 123);
                let walk = walk(&machine.memory, machine.root, virt);
                let phys = model(pfn).map(|_| PhysAddr::new(pfn * 4096 + 123));
                prop_assert_eq!(walk.phys(), phys);
                if let Some(leaf) = walk.leaf() {
                    let reads = usize::from(levels.top() - leaf.size.level()) + 1;
                    prop_assert_eq!(walk.memory_reads(), reads);
                }
            }
        }
    }

    #[test]
    fn i7_a_short_source_or_an_obstacle_changes_nothing(
        ram in stretches(), guards in stretches(), part in 0u64..1000, at in 0usize..64,
    ) {
        let (ram, read_only) = (lay(&ram), lay(&guards));
        let request = request(&ram, &read_only);
        let Ok(plan) = Plan::new(&request) else { return Ok(()) };

        let tables = plan.tables() * part / 1000;
        let mut short = SimTree::new(Levels::Four, tables);
        let before = short.memory.clone();
        let result = plan.build(short.root, &mut short.memory, &mut short.source);
        prop_assert_eq!(result, Err(BuildError::OutOfTables { needed: plan.tables() }));
        prop_assert_eq!(short.source.taken(), 0);
        prop_assert!(short.memory.has_same_entries(&before));

        // One page that is in the way of one of the pieces.
        let mut blocked = SimTree::new(Levels::Four, plan.tables() + 3);
        let mappings: Vec<_> = plan.mappings().collect();
        let victim = mappings[at % mappings.len()];
        let obstacle = rhumb_pagetable::Mapping {
            phys: PhysRange::of_length(victim.phys.start(), 4096).unwrap(), ..victim
        };
        let (memory, source) = (&mut blocked.memory, &mut blocked.source);
        rhumb_pagetable::Mapper::new(blocked.root, memory).map(&obstacle, source).unwrap();
        let (before, taken) = (blocked.memory.clone(), blocked.source.taken());
        let result = plan.build(blocked.root, &mut blocked.memory, &mut blocked.source);
        let refused = matches!(result, Err(BuildError::Map(
            MapError::AlreadyMapped { .. } | MapError::TableInTheWay { .. })));
        prop_assert!(refused, "{result:?}");
        prop_assert_eq!(blocked.source.taken(), taken);
        prop_assert!(blocked.memory.has_same_entries(&before));
    }
}

/// Tells whether the page of `size` at `start` would hold RAM of one permission only.
fn uniform(
    intervals: &[(u64, u64)],
    model: &impl Fn(u64) -> Option<Access>,
    start: PhysAddr,
    size: PageSize,
) -> bool {
    let (first, end) = (start.pfn().get(), start.pfn().get() + size.frames());
    let mut inside = intervals.iter().filter(|&&(a, b)| a < end && first < b).map(|&(a, _)| model(a));
    let head = inside.next().flatten();
    head.is_some() && inside.all(|access| access == head)
}

/// Returns a PC with 32 GiB: low memory with its hole, RAM below the PCI hole, the rest from 4 GiB on.
fn pc(total: u64) -> Vec<PhysRange> {
    let low = 2 * GIB;
    std::vec![range(0, 0x9f000), range(MIB, low - 128 * KIB), range(4 * GIB, 4 * GIB + total - low)]
}

#[test]
fn a_pc_of_32_gib_takes_about_32_huge_pages_and_leaves_the_pci_hole_out() {
    let ram = pc(32 * GIB);
    let image = [range(16 * MIB, 20 * MIB), range(20 * MIB, 22 * MIB)];
    let request = request(&ram, &image);
    let (plan, machine) = build(&request);
    assert_eq!(plan.pages().size_1g, 30);
    // First gigabyte: 4-KiB pages up to 640 KiB and from 1 to 2 MiB, the rest in 2-MiB pages.
    assert_eq!(plan.pages().size_2m, 511 + 511);
    assert_eq!(plan.pages().size_4k, 0x9f + 256 + (512 - 32));
    // Level 3 once, level 2 for the first two gigabytes, level 1 for their ragged ends.
    assert_eq!(plan.tables(), 1 + 2 + 2);
    let base = request.base;
    for hole in [0x9f000, 0xa0000, 2 * GIB - 4 * KIB, 2 * GIB, 3 * GIB, 4 * GIB - 1, 34 * GIB] {
        assert_eq!(walk(&machine.memory, machine.root, base.plus(hole)).leaf(), None, "{hole:#x}");
    }
    let in_image = walk(&machine.memory, machine.root, base.plus(21 * MIB)).leaf().unwrap();
    assert_eq!((in_image.size, in_image.permissions.writable), (PageSize::Size2M, false));
}

#[test]
fn physical_addresses_inside_large_pages_are_right() {
    // Elsewhere the offset of a large page was cut to 4 KiB, or PAT (bit 12) read as part of its address.
    let ram = pc(8 * GIB);
    let request = request(&ram, &[]);
    let (_, machine) = build(&request);
    for phys in [0x12_3456, 16 * MIB + 0x1f_ffff, 5 * GIB + 0x2345_6789, 7 * GIB + 0x3fff_ffff] {
        let walk = walk(&machine.memory, machine.root, request.base.plus(phys));
        assert_eq!(walk.phys(), Some(PhysAddr::new(phys)));
    }
}

#[test]
fn a_tebibyte_takes_1024_entries() {
    let ram = [range(0, TIB)];
    let whole = request(&ram, &[]);
    let (plan, machine) = build(&whole);
    assert_eq!(plan.pages(), PageCounts { size_1g: 1024, ..PageCounts::NONE });
    assert_eq!(plan.tables(), 2);
    // 1,024 leaves, two table entries, and the chain's link in and out.
    assert_eq!(machine.memory.writes, 1024 + 2 + 1 + 2);
}

#[test]
fn small_pages_are_counted_without_a_step_for_each() {
    // 60 TiB: 16 thousand million pages. A loop over them would not end.
    let ram = [range(4 * KIB, 60 * TIB)];
    let small = PlanRequest { largest: PageSize::Size4K, ..request(&ram, &[]) };
    let plan = Plan::new(&small).unwrap();
    assert_eq!(plan.pages().size_4k, 60 * TIB / 4096 - 1);
    assert_eq!(plan.tables(), 60 * TIB / (2 * MIB) + 60 * TIB / GIB + 60 * TIB / (512 * GIB));
}

#[test]
fn past_64_tib_five_levels_are_needed() {
    let ram = [range(0, GIB), range(64 * TIB, 65 * TIB)];
    let four = request(&ram, &[]);
    let error = Plan::new(&four).err().unwrap();
    assert!(matches!(error, DirectMapError::TooMuchRam { ram_end, .. } if ram_end.get() == 65 * TIB));
    assert!(error.to_string().contains("la57"), "{error}");
    assert!(needs_five_levels(PhysAddr::new(64 * TIB + 1)) && !needs_five_levels(PhysAddr::new(64 * TIB)));

    let five =
        PlanRequest { levels: Levels::Five, base: address_range(Levels::Five).start(), ..four.clone() };
    let (plan, machine) = build(&five);
    assert_eq!(plan.mapped_bytes(), TIB + GIB);
    let walk = walk(&machine.memory, machine.root, five.base.plus(64 * TIB + 5));
    assert_eq!((walk.phys(), walk.memory_reads()), (Some(PhysAddr::new(64 * TIB + 5)), 3));

    // A limit makes it fit again, and says what is left out.
    let capped = PlanRequest { limit: Some(PhysAddr::new(64 * TIB)), ..four };
    let plan = Plan::new(&capped).unwrap();
    assert_eq!((plan.mapped_bytes(), plan.high_bytes()), (GIB, TIB));
}

#[test]
fn exactly_64_tib_fit() {
    let ram = [range(64 * TIB - GIB, 64 * TIB)];
    let (plan, machine) = build(&request(&ram, &[]));
    assert_eq!(plan.pages().size_1g, 1);
    assert_eq!(machine.leaves()[0].virt, VirtAddr::new(0xffff_bfff_c000_0000));
    // A base above the start of the address range leaves less room.
    let shifted = PlanRequest { base: Levels::Four.kernel_half().plus(GIB), ..request(&ram, &[]) };
    assert!(matches!(Plan::new(&shifted), Err(DirectMapError::TooMuchRam { .. })));
}

#[test]
fn bad_requests_are_refused_with_the_range_that_is_wrong() {
    let (a, b) = (range(0, 8 * MIB), range(4 * MIB, 12 * MIB));
    let odd = range(0x1000, 0x2800);
    let plan = |ram: &[PhysRange], read_only: &[PhysRange]| Plan::new(&request(ram, read_only)).err();
    assert_eq!(plan(&[], &[]), Some(DirectMapError::NoRam));
    assert_eq!(plan(&[range(MIB, MIB)], &[]), Some(DirectMapError::NoRam));
    assert_eq!(plan(&[a, b], &[]), Some(DirectMapError::Unsorted { list: List::Ram, range: b }));
    assert_eq!(plan(&[odd], &[]), Some(DirectMapError::Unaligned { list: List::Ram, range: odd }));
    assert_eq!(plan(&[a], &[a, b]), Some(DirectMapError::Unsorted { list: List::ReadOnly, range: b }));
    assert_eq!(plan(&[a], &[odd]), Some(DirectMapError::Unaligned { list: List::ReadOnly, range: odd }));

    let base = Levels::Four.kernel_half().plus(2 * MIB);
    let ram = [a];
    let error = Plan::new(&PlanRequest { base, ..request(&ram, &[]) }).err();
    assert_eq!(error, Some(DirectMapError::BaseUnaligned { base }));
    let (base, allowed) = (VirtAddr::new(0xffff_c000_0000_0000), address_range(Levels::Four));
    let error = Plan::new(&PlanRequest { base, ..request(&ram, &[]) }).err();
    assert_eq!(error, Some(DirectMapError::BaseOutOfRange { base, range: allowed }));
    // Past the 52 bits that an entry has room for, even with five levels.
    let ram = [range(1 << 51, (1 << 52) + 4096)];
    let wide = PlanRequest { levels: Levels::Five, base: Levels::Five.kernel_half(), ..request(&ram, &[]) };
    let error = Plan::new(&wide).err().unwrap();
    assert!(matches!(error, DirectMapError::Map(MapError::PhysTooWide { .. })), "{error}");

    let ram = [a];
    let plan = Plan::new(&request(&ram, &[])).unwrap();
    let mut machine = SimTree::new(Levels::Five, 8);
    let error = plan.build(machine.root, &mut machine.memory, &mut machine.source).unwrap_err();
    assert_eq!(error, BuildError::Levels { planned: Levels::Four, found: Levels::Five });
    assert_eq!(format!("{error}"), "the direct map is planned for 4 levels, the tables have 5");
}

#[test]
fn high_frames_are_left_out_whole() {
    let ram = [range(0, 4 * MIB)];
    let capped = PlanRequest { limit: Some(PhysAddr::new(2 * MIB + 5000)), ..request(&ram, &[]) };
    let (plan, machine) = build(&capped);
    assert_eq!(plan.pages(), PageCounts { size_2m: 1, size_4k: 1, size_1g: 0 });
    assert_eq!(plan.high_bytes(), 2 * MIB - 4 * KIB);
    let all = machine.leaves().into_iter().map(|leaf| leaf.permissions);
    let kernel = Permissions { writable: true, executable: false, user: false };
    assert!(all.into_iter().all(|permissions| permissions == kernel));
}

#[test]
fn tables_that_stand_already_are_used() {
    let ram = [range(0, 4 * MIB)];
    let request = request(&ram, &[]);
    let plan = Plan::new(&request).unwrap();
    let mut machine = SimTree::new(Levels::Four, plan.tables());
    // Boot code has hung an empty level-3 table below the root already.
    let boot_map = SimTree::ROOT.plus(100);
    machine.memory.insert(boot_map);
    machine.memory.write(SimTree::ROOT, 256, Entry::table(boot_map, Privilege::Supervisor));
    let built = plan.build(machine.root, &mut machine.memory, &mut machine.source).unwrap();
    assert_eq!(built.tables, plan.tables() - 1);
    assert_eq!(machine.source.taken(), built.tables);
    assert!(machine.source.free_tables().all(|table| machine.memory.is_blank(table)));
}
