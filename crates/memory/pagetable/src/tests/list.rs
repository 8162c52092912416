//! Walks, leaves and spans.

use std::string::{String, ToString};
use std::vec::Vec;

use rhumb_machine::{PageSize, VirtAddr};

use super::*;

fn direct(start: u64, bytes: u64, largest: PageSize) -> Mapping {
    Mapping {
        virt: virt(0xffff_8000_0000_0000 + start),
        phys: phys(start, bytes),
        attributes: Attributes::kernel(Access::ReadWrite),
        largest,
    }
}

#[test]
fn a_walk_reads_one_entry_for_each_level_down_to_the_page() {
    for (levels, base) in [(Levels::Four, 0xffff_8000_0000_0000), (Levels::Five, 0xff00_0000_0000_0000)] {
        let mut machine = SimTree::new(levels, 8);
        for (place, size) in PageSize::DESCENDING.into_iter().enumerate() {
            let start = place as u64 * GIB;
            let mapping = Mapping {
                virt: virt(base + start),
                phys: phys(start, size.bytes()),
                ..direct(0, 0x1000, size)
            };
            machine.map(&mapping).unwrap();
            let walk = walk(&machine.memory, machine.root, virt(base + start + 0x123));
            assert_eq!(walk.leaf().map(|leaf| leaf.size), Some(size));
            assert_eq!(walk.phys(), Some(PhysAddr::new(start + 0x123)));
            // 2 reads for 1 GiB, 3 for 2 MiB, 4 for 4 KiB; one more with five levels.
            let extra = usize::from(levels.top() - 4);
            assert_eq!(walk.memory_reads(), 2 + place + extra);
            for at in [start, start + size.bytes(), 1 << 46, 1 << 50] {
                assert_descends(&machine, virt(base.wrapping_add(at)));
            }
        }
    }
}

/// Says that for each level `descend` ends where a walk does, or passes it.
fn assert_descends(machine: &SimTree, address: VirtAddr) {
    let walk = walk(&machine.memory, machine.root, address);
    for level in 1..=6 {
        let passed = walk.steps().iter().find(|step| step.level <= level).or(walk.steps().last());
        assert_eq!(descend(&machine.memory, machine.root, address, level).as_ref(), passed, "{walk}");
    }
}

#[test]
fn permissions_combine_over_all_levels() {
    let mut machine = SimTree::new(Levels::Four, 8);
    let mapping = Mapping {
        virt: virt(0),
        phys: phys(GIB, 0x1000),
        attributes: Attributes::user(Access::ReadWrite),
        largest: PageSize::Size4K,
    };
    machine.map(&mapping).unwrap();
    let levels: Vec<Step> = walk(&machine.memory, machine.root, virt(0)).steps().to_vec();
    for step in &levels[..3] {
        for (clear, set, check) in [
            (bits::WRITE, 0, (|found| !found.writable) as fn(Permissions) -> bool),
            (bits::USER, 0, |found| !found.user),
            (0, bits::NX, |found| !found.executable),
        ] {
            let changed = Entry::from_bits(step.entry.bits() & !clear | set);
            machine.memory.write(step.table, step.index, changed);
            let walked = walk(&machine.memory, machine.root, virt(0)).leaf().unwrap();
            assert!(check(walked.permissions));
            assert_eq!(machine.leaves(), [walked]);
            machine.memory.write(step.table, step.index, step.entry);
        }
    }
    // Not a single NX but the leaf's: taking it away makes the page writable and executable, which no attribute says.
    let last = levels[3];
    machine.memory.write(last.table, last.index, Entry::from_bits(last.entry.bits() & !bits::NX));
    let walked = walk(&machine.memory, machine.root, virt(0)).leaf().unwrap();
    assert_eq!((walked.attributes(), walked.permissions.to_string()), (None, String::from("rwxu")));
}

#[test]
fn a_walk_is_printed_level_by_level() {
    let mut machine = SimTree::new(Levels::Four, 8);
    machine.map(&direct(GIB, GIB, PageSize::Size1G)).unwrap();
    let print = |machine: &SimTree, address| walk(&machine.memory, machine.root, virt(address)).to_string();
    assert_eq!(
        print(&machine, 0xffff_8000_4000_0123),
        "walk of 0xffff800040000123, 4 levels\n  \
         level 4  entry 256 at 0xf00000000800: 0x0000f00000001023  table 0xf00000001000  rwxk\n  \
         level 3  entry   1 at 0xf00000001008: 0x80000000400001e3  page 1G at 0x40000000  \
         rw-k WB global accessed dirty\n\
         mapped to 0x40000123: 1G page, rw-k WB global, 2 memory reads"
    );
    assert_eq!(
        print(&machine, 0x1000),
        "walk of 0x1000, 4 levels\n  \
         level 4  entry   0 at 0xf00000000000: 0x0000000000000000  not present\n\
         not mapped: the level-4 entry is not present, 1 memory read"
    );
    assert!(print(&machine, 1 << 47).ends_with("not mapped: the address is not canonical"));
    machine.memory.write(TABLES, 0, Entry::from_bits(bits::PRESENT | bits::HUGE));
    assert!(print(&machine, 0).contains("reserved bits 0x80 set, 1 memory read"));
    let walk = walk(&machine.memory, machine.root, virt(0));
    assert_eq!(walk.outcome(), Outcome::Reserved { level: 4, reserved: bits::HUGE });
    assert_descends(&machine, virt(0));
}

#[test]
fn leaves_of_a_range_are_those_that_touch_it() {
    let mut machine = SimTree::new(Levels::Four, 16);
    machine.map(&direct(0, GIB + 4 * MIB + 0x3000, PageSize::Size1G)).unwrap();
    let base = 0xffff_8000_0000_0000;
    let count = |start: u64, end: u64| {
        let range = VirtRange::new(virt(start), virt(end)).unwrap();
        Leaves::new(&machine.memory, machine.root, range).count()
    };
    assert_eq!(count(0, u64::MAX), 1 + 2 + 3);
    assert_eq!(count(base, base + 1), 1);
    assert_eq!(count(base + GIB - 1, base + GIB + 2 * MIB + 1), 3);
    assert_eq!(count(base + GIB + 4 * MIB, base + GIB + 4 * MIB + 0x1000), 1);
    assert_eq!(count(base + GIB + 4 * MIB + 0x3000, u64::MAX), 0);
    assert_eq!(count(base, base), 0);
    // From inside the hole that is not canonical, and into it.
    assert_eq!(count(1 << 47, base + 1), 1);
    assert_eq!(count(0, 1 << 50), 0);
    assert_eq!(count(1 << 50, 1 << 51), 0);
    assert_eq!(Leaves::kernel_half(&machine.memory, machine.root).count(), 6);
}

#[test]
fn the_last_page_of_all_is_listed() {
    let mut machine = SimTree::new(Levels::Four, 8);
    let mut table = TABLES;
    for next in 1..=3 {
        machine.memory.write(table, 511, Entry::table(TABLES.plus(next), Privilege::Supervisor));
        table = TABLES.plus(next);
    }
    let leaf = Entry::leaf(PhysAddr::new(GIB), PageSize::Size4K, Attributes::kernel(Access::ReadOnly));
    machine.memory.write(table, 511, leaf);
    let spans: Vec<Span> =
        Spans::new(Leaves::kernel_half(&machine.memory, machine.root), Join::Virtual).collect();
    assert_eq!(spans.len(), 1);
    assert_eq!((spans[0].virt, spans[0].last()), (virt(0xffff_ffff_ffff_f000), virt(u64::MAX)));
}

#[test]
fn spans_join_neighbours_that_are_alike() {
    let mut machine = SimTree::new(Levels::Four, 16);
    machine.map(&direct(0x1000, GIB + 4 * MIB, PageSize::Size1G)).unwrap();
    let read_only = Mapping {
        attributes: Attributes::kernel(Access::ReadOnly),
        ..direct(GIB + 4 * MIB + 0x1000, 0x4000, PageSize::Size1G)
    };
    machine.map(&read_only).unwrap();
    // Next to it in virtual space, elsewhere in memory.
    let elsewhere = Mapping { virt: read_only.virt.plus(0x4000), phys: phys(9 * GIB, 0x1000), ..read_only };
    machine.map(&elsewhere).unwrap();
    let spans = |join| Spans::new(Leaves::all(&machine.memory, machine.root), join).collect::<Vec<_>>();
    let lines: Vec<String> = spans(Join::Virtual).iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "0xffff800000001000-0xffff800040400fff rw-k WB global 513x2M 512x4K",
            "0xffff800040401000-0xffff800040405fff r--k WB global 5x4K",
        ]
    );
    let apart = spans(Join::Physical);
    assert_eq!(apart.len(), 3);
    assert_eq!(apart[2].phys_range(), phys(9 * GIB, 0x1000));
    assert_eq!(PageCounts::NONE.to_string(), "none");
}

#[test]
fn listing_passes_absent_subtrees_by() {
    // 64 TiB with one page at each end: a scan that looked below absent entries would not end.
    let mut machine = SimTree::new(Levels::Five, 16);
    for start in [0, 64 << 40] {
        machine
            .map(&Mapping {
                virt: virt(0xff00_0000_0000_0000 + start),
                ..direct(start, 0x1000, PageSize::Size4K)
            })
            .unwrap();
    }
    assert_eq!(machine.leaves().len(), 2);
}

#[test]
fn a_run_of_pages_ends_at_the_range_and_at_the_width_of_physical_addresses() {
    let mut machine = SimTree::new(Levels::Four, 8);
    machine.map(&direct(GIB, 0x10000, PageSize::Size4K)).unwrap();
    let base = 0xffff_8000_0000_0000 + GIB;
    let part = VirtRange::new(virt(base + 0x1800), virt(base + 0x3001)).unwrap();
    let spans: Vec<Span> =
        Spans::new(Leaves::new(&machine.memory, machine.root, part), Join::Physical).collect();
    assert_eq!(spans.len(), 1);
    assert_eq!((spans[0].virt, spans[0].bytes), (virt(base + 0x1000), 0x3000));
    // Two pages below 2^48, and one above, which a CPU with 48 bits cannot reach.
    let narrow = machine.root.with_phys_bits(48);
    let width = 1 << 48;
    machine
        .map(&Mapping {
            virt: virt(0),
            phys: phys(width - 0x2000, 0x2000),
            ..direct(0, 0x1000, PageSize::Size4K)
        })
        .unwrap();
    let path = walk(&machine.memory, machine.root, virt(0));
    let table = path.steps()[3].table;
    let step = Entry::leaf(PhysAddr::new(width), PageSize::Size4K, Attributes::kernel(Access::ReadWrite));
    machine.memory.write(table, 2, step);
    let low = Leaves::new(&machine.memory, narrow, virt_range(0, GIB));
    let spans: Vec<Span> = Spans::new(low, Join::Physical).collect();
    assert_eq!(spans.iter().map(|span| span.bytes).collect::<Vec<_>>(), [0x2000]);
}

#[test]
fn counts_of_pages_add_up_to_bytes() {
    let counts = |size_4k, size_2m, size_1g| PageCounts { size_4k, size_2m, size_1g };
    for (counts, bytes) in [
        (PageCounts::NONE, 0),
        (counts(3, 0, 0), 3 << 12),
        (counts(0, 5, 0), 5 << 21),
        (counts(0, 0, 7), 7 << 30),
        (counts(3, 5, 7), (3 << 12) + (5 << 21) + (7 << 30)),
    ] {
        assert_eq!(counts.bytes(), bytes, "{counts}");
        assert_eq!(counts.pages(), counts.size_4k + counts.size_2m + counts.size_1g);
    }
}
