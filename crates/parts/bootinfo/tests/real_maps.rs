//! The memory maps of real machines, forward and backward, through all that boot does with them.
//!
//! Each map is compared with a plain model: of each byte, whether some entry calls it RAM, whether none calls it
//! anything else, and whether it lies outside the hole of a PC. From that follow the whole frames of RAM, the pages and
//! tables of the direct map, and the frames that the allocator gives out.
#![allow(missing_docs)]

use std::collections::BTreeSet;

use rhumb_bootinfo::firmware::MAX_PIECES;
use rhumb_bootinfo::{FirmwareEntry, MemoryMap, Reservation, Topology};
use rhumb_directmap::{Plan, PlanRequest, address_range, needs_five_levels};
use rhumb_frames::{AllocClass, Frames, Layout, MemoryRange};
use rhumb_machine::testing::TestMachine;
use rhumb_machine::{Machine, NodeId, Order, PageSize, Pfn, PfnRange, PhysAddr, PhysRange};
use rhumb_pagetable::{Levels, PageCounts};

const MAPS: &str = include_str!("data/memory-maps.txt");
const PAGE: u64 = 4096;

/// Returns the maps of the file by name: `start-end type` (last byte included) or `b:base l:length t:type`,
/// hexadecimal.
fn maps() -> Vec<(&'static str, Vec<FirmwareEntry>)> {
    let number = |text: &str| u64::from_str_radix(text, 16).expect(text);
    let mut maps: Vec<(&str, Vec<FirmwareEntry>)> = Vec::new();
    for line in MAPS.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            maps.push((name, Vec::new()));
            continue;
        }
        let words: Vec<_> = line.split_whitespace().collect();
        let field = |word: &str, name: &str| number(word.strip_prefix(name).expect(line));
        let (base, length, kind) = match words[..] {
            [base, length, kind] => (field(base, "b:"), field(length, "l:"), field(kind, "t:")),
            [range, kind] => {
                let (start, last) = range.split_once('-').expect(line);
                (number(start), number(last) - number(start) + 1, number(kind))
            }
            _ => panic!("{line}"),
        };
        let entry = FirmwareEntry { base, length, type_code: kind as u32 };
        maps.last_mut().expect("a name first").1.push(entry);
    }
    maps
}

/// Whole frames of RAM by asking each byte; between two borders all bytes answer the same.
fn model(entries: &[FirmwareEntry]) -> Vec<(u64, u64)> {
    let end = |entry: &FirmwareEntry| entry.base + entry.length;
    let mut borders: BTreeSet<u64> = entries.iter().flat_map(|entry| [entry.base, end(entry)]).collect();
    borders.extend([0xa_0000, 0x10_0000]);
    let borders: Vec<u64> = borders.into_iter().collect();
    let mut ram: Vec<(u64, u64)> = Vec::new();
    for pair in borders.windows(2) {
        let says = |usable: bool| {
            entries
                .iter()
                .any(|entry| (entry.type_code == 1) == usable && (entry.base..end(entry)).contains(&pair[0]))
        };
        if !says(true) || says(false) || (0xa_0000..0x10_0000).contains(&pair[0]) {
            continue;
        }
        match ram.last_mut() {
            Some(last) if last.1 == pair[0] => last.1 = pair[1],
            _ => ram.push((pair[0], pair[1])),
        }
    }
    let whole = ram.into_iter().map(|(start, end)| (start.next_multiple_of(PAGE), end / PAGE * PAGE));
    whole.filter(|(start, end)| start < end).collect()
}

/// Calls `check` for each map, forward and backward.
fn each(check: impl Fn(&str, &[FirmwareEntry], &MemoryMap)) {
    let maps = maps();
    assert_eq!(maps.len(), 12);
    for (name, mut entries) in maps {
        assert!(entries.len() > 1, "{name}");
        for direction in ["forward", "backward"] {
            let (map, findings) = MemoryMap::from_firmware(entries.iter().copied()).expect(name);
            findings.iter().for_each(|finding| assert!(!finding.to_string().is_empty()));
            check(&format!("{name}, {direction}"), &entries, &map);
            entries.reverse();
        }
    }
}

#[test]
fn ram_is_what_a_plain_model_says() {
    each(|name, entries, map| {
        let ram: Vec<_> = map.ram().map(|range| (range.start().get(), range.end().get())).collect();
        assert_eq!(ram, model(entries), "{name}");
        let usable: u64 = map.usable().map(PhysRange::bytes).sum();
        assert_eq!(usable, map.ram_bytes(), "{name}: nothing is reserved yet");
    });
}

/// Returns the largest pages that fit, one after the other, and the tables that hold them.
fn pages_of(ram: &[(u64, u64)], base: u64, levels: Levels) -> (PageCounts, u64) {
    let (mut pages, mut tables) = (PageCounts::NONE, BTreeSet::new());
    for &(start, end) in ram {
        let mut at = start;
        while at < end {
            let fits = |size: &PageSize| at % size.bytes() == 0 && size.bytes() <= end - at;
            let size = PageSize::DESCENDING.into_iter().find(fits).expect("whole frames");
            // A table for each level above the page and below the root, by the address bits that select it.
            let top = if levels == Levels::Four { 39 } else { 48 };
            for shift in (size.shift() + 9..=top).step_by(9) {
                tables.insert((shift, (base + at) >> shift));
            }
            pages.add(size, 1);
            at += size.bytes();
        }
    }
    (pages, tables.len() as u64)
}

#[test]
fn the_direct_map_maps_exactly_the_ram_with_the_largest_pages() {
    each(|name, entries, map| {
        let ram: Vec<PhysRange> = map.ram().collect();
        let levels = if needs_five_levels(map.ram_end()) { Levels::Five } else { Levels::Four };
        let base = address_range(levels).start();
        let plan = Plan::new(&PlanRequest {
            base,
            levels,
            ram: ram.iter().copied(),
            read_only: &[],
            largest: PageSize::Size1G,
            limit: None,
        })
        .expect(name);
        let (pages, tables) = pages_of(&model(entries), base.get(), levels);
        assert_eq!((plan.pages(), plan.tables()), (pages, tables), "{name}");
        assert_eq!((plan.mapped_bytes(), plan.high_bytes()), (map.ram_bytes(), 0), "{name}");
        let mapped: Vec<_> =
            plan.mappings().map(|mapping| (mapping.virt.since(base), mapping.phys)).collect();
        assert!(mapped.iter().all(|&(offset, phys)| offset == phys.start().get()), "{name}");
        assert_eq!(mapped.iter().map(|&(_, phys)| phys).collect::<Vec<_>>(), ram, "{name}");
    });
}

/// Four nodes, a GiB each in turn: more borders than any of the maps has by itself.
fn interleaved() -> Topology {
    let mut topology = Topology::single(0);
    topology.domains.extend([1, 2, 3]);
    for index in 0..64u64 {
        let range = PhysRange::of_length(PhysAddr::new(index << 30), 1 << 30).expect("short");
        let domain = index as u32 % 4;
        let node = NodeId::new(domain as usize).expect("few");
        let memory = rhumb_bootinfo::firmware::MemoryAffinity { range, domain, node, hot_pluggable: false };
        topology.memory.push(memory);
    }
    topology
}

#[test]
fn each_free_frame_is_given_out_once() {
    for topology in [Topology::single(0), interleaved()] {
        each(|name, _, map| give_out_all(name, map.clone(), &topology));
    }
}

fn give_out_all(name: &str, mut map: MemoryMap, topology: &Topology) {
    // As boot does: the first MiB, an image, a RAM disk, and a page in each range of RAM.
    let reserved = |start: u64, bytes: u64| PhysRange::of_length(PhysAddr::new(start), bytes).expect("short");
    map.reserve(reserved(0, 1 << 20), Reservation::FirstMebibyte).expect(name);
    map.reserve(reserved(0x100_0000, 6 << 20), Reservation::KernelImage).expect(name);
    for ram in map.ram().collect::<Vec<_>>() {
        map.reserve(reserved(ram.start().get() + ram.bytes() / 2, 5), Reservation::InitialRamDisk)
            .expect(name);
    }
    let memory: Vec<MemoryRange> = map
        .ram()
        .flat_map(|ram| topology.pieces(ram))
        .map(|(piece, node)| MemoryRange { frames: piece.whole_frames(), node })
        .collect();
    assert!(memory.len() <= MAX_PIECES, "{name}");
    let layout = Layout::new(&memory, 1, Pfn::new(1 << 40)).expect(name).nodes(topology.node_count());
    let mut storage = vec![0u64; layout.storage_bytes() / 8 + 1];
    // SAFETY: the allocator is gone before the storage.
    let lent: &'static mut [u64] =
        unsafe { core::slice::from_raw_parts_mut(storage.as_mut_ptr(), storage.len()) };
    let free: Vec<PfnRange> = map.usable().map(PhysRange::whole_frames).collect();
    // SAFETY: nothing is behind the frames, and none of them is touched.
    let frames =
        unsafe { Frames::new(TestMachine::new(1, 1), &layout, free.iter().copied(), lent) }.expect(name);
    let mut given = Vec::new();
    for order in (0..=Order::HUGE.get()).rev() {
        // The class that stops at no reserve.
        let request =
            rhumb_frames::Request::new(Order::new(order).expect("in range")).class(AllocClass::Emergency);
        while let Ok(frame) = frames.alloc(frames.machine().pin().pinned(), request) {
            given.push(frame.frames());
            core::mem::forget(frame);
        }
    }
    given.sort_unstable_by_key(|range| range.start());
    let mut joined: Vec<PfnRange> = Vec::new();
    for range in given {
        match joined.last_mut() {
            Some(last) if last.end() == range.start() => {
                *last = PfnRange::new(last.start(), range.end()).expect("ascending");
            }
            Some(last) => {
                assert!(last.end() < range.start(), "{name}: {range} is given out twice");
                joined.push(range);
            }
            None => joined.push(range),
        }
    }
    assert_eq!(joined, free, "{name}");
    assert_eq!(frames.free_frames(), 0, "{name}");
}
