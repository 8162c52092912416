//! The map by example, against the plain model, and from any entries at all.

extern crate std;

use std::collections::BTreeSet;
use std::format;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;
use rhumb_machine::{PageSize, Pfn, PfnRange, PhysAddr, PhysRange};

use super::model::{Model, PAGE, PAGES, QUARTER};
use super::*;
use crate::BootFrames;

fn entry(base: u64, length: u64, type_code: u32) -> FirmwareEntry {
    FirmwareEntry { base, length, type_code }
}

fn range(start: u64, end: u64) -> PhysRange {
    PhysRange::new(PhysAddr::new(start), PhysAddr::new(end)).unwrap()
}

fn map_of(entries: &[FirmwareEntry]) -> MemoryMap {
    MemoryMap::from_firmware(entries.iter().copied()).unwrap().0
}

fn pages(ranges: impl Iterator<Item = PhysRange>) -> BTreeSet<u64> {
    ranges.flat_map(|range| range.whole_frames().iter().map(Pfn::get).collect::<Vec<_>>()).collect()
}

/// Returns the map of QEMU's q35 with 4 GiB.
fn q35() -> Vec<FirmwareEntry> {
    vec![
        entry(0, 0x9fc00, 1),
        entry(0x9fc00, 0x400, 2),
        entry(0xf0000, 0x10000, 2),
        entry(0x10_0000, 0x7fed_f000, 1),
        entry(0x7ffd_f000, 0x2_1000, 2),
        entry(0xb000_0000, 0x1000_0000, 2),
        entry(0x1_0000_0000, 0x8000_0000, 1),
        entry(0xfd_0000_0000, 0x3_0000_0000, 2),
    ]
}

#[test]
fn an_ordinary_map_has_no_findings() {
    let (map, findings) = MemoryMap::from_firmware(q35()).unwrap();
    assert!(findings.is_empty());
    assert_eq!(map.regions().len(), 8);
    let ram: Vec<_> = map.ram().collect();
    assert_eq!(ram, [range(0, 0x9f000), range(0x10_0000, 0x7ffd_f000), range(0x1_0000_0000, 0x1_8000_0000)]);
    assert_eq!(map.ram_end(), PhysAddr::new(0x1_8000_0000));
    assert_eq!(map.regions()[0].to_string(), "[mem 0x0000000000000000-0x000000000009fbff] usable");
    assert_eq!(map.regions()[1].to_string(), "[mem 0x000000000009fc00-0x000000000009ffff] reserved");
}

#[test]
fn it_fits_on_a_boot_stack() {
    assert!(size_of::<MemoryMap>() <= 25 << 10, "{} bytes", size_of::<MemoryMap>());
}

#[test]
fn oddities_are_put_right_and_named() {
    let given = [
        entry(0x10_0000, 0x10_0000, 1),
        entry(0, 0x8_0000, 1),
        entry(0x9000, 0, 2),
        entry(u64::MAX - 10, 100, 1),
        entry(0x18_0000, 0x1000, 20),
        entry(1 << 52, 0x1000, 1),
    ];
    let (map, findings) = MemoryMap::from_firmware(given).unwrap();
    let kinds: Vec<_> = map.regions().iter().map(|region| region.kind).collect();
    assert_eq!(kinds, [RegionKind::Usable, RegionKind::Usable, RegionKind::Other(20), RegionKind::Usable]);
    let said: Vec<_> = findings.iter().map(|finding| finding.to_string()).collect();
    assert_eq!(
        said,
        [
            "memory map: the entry at 0x9000 (type 2) is empty and was left out",
            "memory map: the entry at 0xfffffffffffffff5 with length 0x64 (type 1) runs past 2^64 and was left out",
            "memory map: usable RAM at [0x10000000000000, 0x10000000001000) lies past 2^52, where no page table reaches, \
             and was left out",
            "memory map: the entries are not in ascending order, and were sorted",
            "memory map: [0x180000, 0x181000) is given as usable and as type 20; it is taken to be type 20",
        ]
    );
}

#[test]
fn no_ram_is_one_clear_sentence() {
    for entries in [vec![], vec![entry(0, 1 << 30, 2)], vec![entry(0x800, 0x1000, 1)]] {
        let error = MemoryMap::from_firmware(entries.iter().copied()).unwrap_err();
        assert_eq!(error, MemoryMapError::NoUsableRam { entries: entries.len() });
        assert!(error.to_string().contains("Rhumb needs RAM to run in"), "{error}");
    }
}

#[test]
fn of_too_many_regions_the_smallest_of_ram_are_left_out() {
    // RAM of 1, 2, 3 ... pages, with holes between; above the first MiB, which has a hole of its own.
    let ram = |count: u64| (1..=count).map(|index| entry((index << 20) * 4, index * PAGE, 1));
    assert_eq!(map_of(&ram(MAX_REGIONS as u64).collect::<Vec<_>>()).regions().len(), MAX_REGIONS);
    let (map, findings) = MemoryMap::from_firmware(ram(MAX_REGIONS as u64 + 88)).unwrap();
    assert_eq!(map.regions().len(), MAX_REGIONS);
    assert!(map.ram().all(|range| range.bytes() > 88 * PAGE));
    assert_eq!(findings.total(), 88);
    assert_eq!(
        findings.iter().next().unwrap().to_string(),
        "memory map: no room for more than 512 regions; the RAM at [0x400000, 0x401000) is not used"
    );
    // One long entry of RAM cut up by all the others: some of it is lost, but nothing else becomes RAM.
    let cut = core::iter::once(entry(1 << 20, 1 << 40, 1))
        .chain((1..MAX_REGIONS as u64).map(|index| entry(index << 30, PAGE, 2)));
    let (map, findings) = MemoryMap::from_firmware(cut.clone()).unwrap();
    assert_eq!((map.regions().len(), findings.is_empty()), (MAX_REGIONS, false));
    for entry in cut.skip(1) {
        assert!(!map.ram().any(|ram| ram.contains(PhysAddr::new(entry.base))));
    }
    // Where nothing is RAM that could be left out, it is an error.
    let error =
        MemoryMap::from_firmware((0..=MAX_REGIONS as u64).map(|index| entry(index * 2 * PAGE, PAGE, 2)));
    assert_eq!(error.unwrap_err(), MemoryMapError::TooManyRegions);
}

#[test]
fn findings_are_counted_and_each_kind_is_kept() {
    let empty = (0..100).map(|at| entry(at * PAGE, 0, 1)).chain([
        entry(0, PAGE, 1),
        entry(0, PAGE, 2),
        entry(PAGE, PAGE, 1),
    ]);
    let (_, findings) = MemoryMap::from_firmware(empty).unwrap();
    assert_eq!((findings.total(), findings.omitted()), (101, 101 - crate::findings::KEPT));
    assert!(findings.iter().any(|finding| matches!(finding, MapFinding::Overlap { .. })));
}

#[test]
fn the_hole_of_a_pc_is_never_ram() {
    // As the hypervisor ACRN gave it.
    let (map, findings) = MemoryMap::from_firmware([entry(0, 0x4000_0000, 1)]).unwrap();
    assert_eq!(map.ram().collect::<Vec<_>>(), [range(0, 0xa_0000), range(0x10_0000, 0x4000_0000)]);
    assert_eq!(
        findings.iter().next().unwrap().to_string(),
        "memory map: RAM in [0xa0000, 0x100000), where devices and firmware are on every PC, is not used"
    );
    let (map, findings) =
        MemoryMap::from_firmware([entry(0xf_f000, 0x2000, 1), entry(0xa_0000, 0x1000, 3)]).unwrap();
    assert_eq!((map.ram().collect::<Vec<_>>(), findings.total()), (vec![range(0x10_0000, 0x10_1000)], 2));
    assert_eq!(map.regions()[0].kind, RegionKind::AcpiReclaimable);
}

#[test]
fn device_registers_are_no_ram_and_the_image_is() {
    let mut map = map_of(&q35());
    // Registers where the firmware says RAM: the frame is cut out, once.
    let page = range(0x4000_0000, 0x4000_1000);
    assert_eq!(map.exclude(range(0x4000_0010, 0x4000_0020)), Ok(true));
    assert_eq!(map.exclude(page), Ok(false));
    assert!(!map.ram().any(|ram| ram.overlaps(page)));
    assert_eq!(map.ram_bytes(), 0x9f000 + 0x7fed_f000 + 0x8000_0000 - PAGE);
    validate(&map);
    // A range of no bytes touches no frame, wherever it lies.
    assert_eq!(map.exclude(range(0x4100_0010, 0x4100_0010)), Ok(false));
    assert_eq!(map.include(range(0x9000_0010, 0x9000_0010)), Ok(false));
    assert!(!map.ram().any(|ram| ram.contains(PhysAddr::new(0x9000_0010))));
    // Reserved memory was seen to be RAM.
    map.reserve(range(0x5000_0000, 0x5000_1000), Reservation::InitialRamDisk).unwrap();
    assert_eq!(map.exclude(range(0x5000_0000, 0x5000_2000)), Ok(false));
    // The image in a hole, over the border of a reserved region, and in RAM.
    for (image, is_news) in [
        (range(0x9000_0000, 0x9060_0000), true),
        (range(0xafe0_0000, 0xb020_0000), true),
        (range(0x7fc0_0000, 0x8000_0000), true),
        (range(0x100_0000, 0x160_0000), false),
    ] {
        assert_eq!(map.include(image), Ok(is_news), "{image}");
        assert!(map.ram().any(|ram| ram.covers(image)), "{image}");
        validate(&map);
    }
    assert_eq!(
        map.regions()
            .iter()
            .find(|region| region.kind == RegionKind::Reserved
                && region.range.contains(PhysAddr::new(0xb100_0000)))
            .unwrap()
            .range,
        range(0xb020_0000, 0xc000_0000)
    );
}

#[test]
fn a_correction_that_does_not_fit_changes_nothing() {
    let many: Vec<_> = (1..=MAX_REGIONS as u64).map(|index| entry(index << 30, 4 * PAGE, 1)).collect();
    let mut map = map_of(&many);
    let before = map.regions().to_vec();
    let inside = range((1 << 30) + PAGE, (1 << 30) + 2 * PAGE);
    assert_eq!(map.exclude(inside), Err(MemoryMapError::TooManyRegions));
    assert_eq!(map.include(range(1 << 20, 2 << 20)), Err(MemoryMapError::TooManyRegions));
    assert_eq!(map.regions(), before);
}

#[test]
fn reservations_round_outward_and_the_first_reason_stays() {
    let mut map = map_of(&[entry(0, 16 * PAGE, 1), entry(16 * PAGE, 16 * PAGE, 2)]);
    map.reserve(range(PAGE + 1, PAGE + 2), Reservation::BootLoaderData).unwrap();
    map.reserve(range(PAGE + 8, 3 * PAGE), Reservation::CommandLine).unwrap();
    map.reserve(range(15 * PAGE, 20 * PAGE), Reservation::InitialRamDisk).unwrap();
    map.reserve(range(u64::MAX - 1, u64::MAX), Reservation::BootLoaderData).unwrap();
    map.reserve(range(0, 0), Reservation::FirstMebibyte).unwrap();
    let notes: Vec<_> = map.reservations().iter().map(|taken| (taken.range, taken.why)).collect();
    assert_eq!(
        notes,
        [
            (range(PAGE, 2 * PAGE), Reservation::BootLoaderData),
            (range(2 * PAGE, 3 * PAGE), Reservation::CommandLine),
            (range(15 * PAGE, 16 * PAGE), Reservation::InitialRamDisk),
        ]
    );
    assert_eq!(map.usable_bytes(), 13 * PAGE);
    assert_eq!(map.ram_bytes(), 16 * PAGE);
}

#[test]
fn a_full_list_of_reservations_changes_nothing() {
    let start = 1 << 20;
    let mut map = map_of(&[entry(start, 4 * MAX_RESERVATIONS as u64 * PAGE, 1)]);
    for index in 0..MAX_RESERVATIONS as u64 - 1 {
        let page = range(start + index * 2 * PAGE, start + (index * 2 + 1) * PAGE);
        map.reserve(page, Reservation::PerCpu).unwrap();
    }
    let before = map.clone();
    // Many new notes needed, room for one.
    let all = range(0, map.ram_end().get());
    let error = map.reserve(all, Reservation::PageTables).unwrap_err();
    assert_eq!(error, MemoryMapError::TooManyReservations { why: Reservation::PageTables });
    assert_eq!(map.reservations(), before.reservations());
    // But pieces that join their neighbours need no room.
    map.reserve(all, Reservation::PerCpu).unwrap();
    assert_eq!(map.reservations().len(), 1);
    assert_eq!(map.usable().next(), None);
}

#[test]
fn cap_is_an_address_and_spares_what_is_reserved() {
    let mut map = map_of(&q35());
    map.reserve(range(0x1_7000_0000, 0x1_7100_0000), Reservation::InitialRamDisk).unwrap();
    let before = map.regions().to_vec();
    let too_low = map.cap(0x20_0000, 0x20_0000).unwrap_err();
    assert_eq!(
        too_low.to_string(),
        "1660 KiB of free RAM lie below 0x200000, and Rhumb needs 2048 KiB to run in"
    );
    assert!(map.cap(0, 1).is_err());
    assert_eq!(map.regions(), before);
    let Capped { gone_bytes, kept_bytes } = map.cap(1 << 30, 0x20_0000).unwrap();
    assert_eq!(gone_bytes, 0x7ffd_f000 - 0x4000_0000 + 0x8000_0000 - 0x100_0000);
    assert_eq!(kept_bytes, 0x100_0000);
    let ram: Vec<_> = map.ram().collect();
    assert_eq!(ram, [range(0, 0x9f000), range(0x10_0000, 0x4000_0000), range(0x1_7000_0000, 0x1_7100_0000)]);
    assert_eq!(map.usable().last(), Some(range(0x10_0000, 0x4000_0000)));
    assert_eq!(map.cap(1 << 40, PAGE), Ok(Capped { gone_bytes: 0, kept_bytes: 0 }));
}

#[test]
fn boot_frames_come_from_the_top_below_the_ceiling() {
    let mut map = map_of(&q35());
    map.reserve(range(0, PAGE), Reservation::FirstMebibyte).unwrap();
    let mut frames = BootFrames::below(&mut map, PhysAddr::new(0x8000_0000));
    assert_eq!(frames.take(Reservation::PageTables).unwrap(), Pfn::new(0x7ffde));
    assert_eq!(frames.take(Reservation::PageTables).unwrap(), Pfn::new(0x7ffdd));
    let run = frames.take_run(512, 512, Reservation::FrameDescriptors).unwrap();
    assert_eq!(run, PfnRange::of_length(Pfn::new(0x7fc00), 512).unwrap());
    // The piece above the aligned run is still there for single frames.
    assert_eq!(frames.take(Reservation::PageTables).unwrap(), Pfn::new(0x7ffdc));
    assert_eq!(map.reservations().len(), 3);

    let mut low = BootFrames::within(&mut map, range(0, 0x10_0000));
    assert_eq!(low.take(Reservation::Trampoline).unwrap(), Pfn::new(0x9e));
    let error = low.take_run(0x200, 1, Reservation::PerCpu).unwrap_err();
    assert_eq!(
        error.to_string(),
        "out of memory at boot: no 512 free frames in a row (aligned to 1) in [0x0, 0x100000) for: per-CPU data"
    );
    assert!(low.take_run(0, 1, Reservation::PerCpu).is_err());
    assert!(low.take_run(1, 3, Reservation::PerCpu).is_err());
    assert!(low.take_run(u64::MAX, 1, Reservation::PerCpu).is_err());
}

/// Checks what must hold of every map.
fn validate(map: &MemoryMap) {
    for pair in map.regions().windows(2) {
        assert!(pair[0].range.end() <= pair[1].range.start(), "disjoint and ascending");
        assert!(pair[0].kind != pair[1].kind || pair[0].range.end() < pair[1].range.start(), "merged");
    }
    for pair in map.reservations().windows(2) {
        assert!(pair[0].range.end() <= pair[1].range.start(), "disjoint and ascending");
        assert!(pair[0].why != pair[1].why || pair[0].range.end() < pair[1].range.start(), "merged");
    }
    for taken in map.reservations() {
        assert!(!taken.range.is_empty() && taken.range.is_aligned(PageSize::Size4K));
        assert!(map.ram().any(|ram| ram.covers(taken.range)), "only RAM is reserved");
    }
    for piece in map.usable() {
        assert!(!piece.is_empty() && piece.is_aligned(PageSize::Size4K));
    }
    for bytes in map.usable().collect::<Vec<_>>().windows(2) {
        assert!(bytes[0].end() <= bytes[1].start());
    }
}

fn entries() -> impl Strategy<Value = Vec<FirmwareEntry>> {
    let one = (0..PAGES * 4, 0..PAGES * 2, prop_oneof![4 => Just(1u32), 1 => 0u32..9]).prop_map(
        |(start, length, kind)| entry(start * QUARTER, length.min(PAGES * 4 - start) * QUARTER, kind),
    );
    proptest::collection::vec(one, 1..10)
}

#[derive(Clone, Debug)]
enum Step {
    Reserve(u64, u64, bool),
    Take(u64, u64, u64, bool),
    Cap(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..PAGES * PAGE, 0..8 * PAGE, any::<bool>()).prop_map(|(start, length, why)| Step::Reserve(start, length, why)),
        3 => (1u64..6, 0u32..3, 0..=PAGES, any::<bool>()).prop_map(|(frames, shift, ceiling, why)| Step::Take(frames, 1 << shift, ceiling, why)),
        1 => (0..PAGES * PAGE).prop_map(Step::Cap),
    ]
}

fn why(which: bool) -> Reservation {
    if which { Reservation::PageTables } else { Reservation::PerCpu }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_map_agrees_with_the_model(entries in entries(), steps in proptest::collection::vec(step(), 0..24)) {
        let mut model = Model::new(&entries);
        let Ok((mut map, _)) = MemoryMap::from_firmware(entries) else {
            prop_assert!(model.ram().is_empty());
            return Ok(());
        };
        for (quarter, &kind) in model.kinds.iter().enumerate() {
            let at = PhysAddr::new(quarter as u64 * QUARTER);
            prop_assert_eq!(map.regions().iter().find(|r| r.range.contains(at)).map(|r| r.kind), kind);
        }
        for step in steps {
            match step {
                Step::Reserve(start, length, which) => {
                    let range = range(start, start + length);
                    map.reserve(range, why(which)).unwrap();
                    if length > 0 {
                        model.reserve(range);
                    }
                }
                Step::Take(frames, align, ceiling, which) => {
                    let free = model.free();
                    let best = (0..ceiling).rev().filter(|start| start % align == 0).find(|&start| {
                        start + frames <= ceiling && (start..start + frames).all(|page| free.contains(&page))
                    });
                    let got = BootFrames::below(&mut map, PhysAddr::new(ceiling * PAGE)).take_run(frames, align, why(which));
                    prop_assert_eq!(got.ok().map(|run| run.start().get()), best);
                    if let Some(start) = best {
                        model.reserve(range(start * PAGE, (start + frames) * PAGE));
                    }
                }
                Step::Cap(limit) => {
                    let before = model.ram().len() as u64;
                    match map.cap(limit, PAGE) {
                        Ok(Capped { gone_bytes: gone, .. }) => {
                            model.cap(limit);
                            prop_assert_eq!(gone, (before - model.ram().len() as u64) * PAGE);
                        }
                        Err(error) => {
                            prop_assert!(matches!(error, MemoryMapError::CapTooLow { .. }), "{}", error);
                            prop_assert!(model.free().iter().all(|page| *page >= limit / PAGE));
                        }
                    }
                }
            }
            validate(&map);
            prop_assert_eq!(pages(map.ram()), model.ram());
            prop_assert_eq!(pages(map.usable()), model.free());
        }
    }

    #[test]
    fn any_entries_at_all(given in proptest::collection::vec((any::<u64>(), any::<u64>(), 0u32..9), 0..40)) {
        let given = given.into_iter().map(|(base, length, kind)| entry(base, length, kind));
        match MemoryMap::from_firmware(given) {
            Ok((map, findings)) => {
                validate(&map);
                prop_assert!(map.ram_end().get() <= 1 << 52);
                findings.iter().for_each(|finding| assert!(!format!("{finding}").is_empty()));
            }
            Err(error) => assert!(!format!("{error}").is_empty()),
        }
    }
}

#[test]
fn the_direct_map_ends_where_it_is_asked_to_if_the_kernel_fits() {
    const MIB: u64 = 1 << 20;
    let mut map = map_of(&q35());
    map.reserve(range(16 * MIB, 24 * MIB), Reservation::KernelImage).unwrap();
    let end = |bytes| {
        let (end, finding) = map.map_end(PhysAddr::new(bytes), PhysAddr::new(24 * MIB), 32 * MIB);
        (end.map(PhysAddr::get), finding.map_or(String::new(), |finding| finding.to_string()))
    };
    assert_eq!(end(256 * MIB), (Some(256 * MIB), String::new()));
    // In the hole below 4 GiB, and in the last frame of RAM.
    assert_eq!(end(3 << 30), (Some(3 << 30), String::new()));
    assert_eq!(end(0x1_7fff_f000), (Some(0x1_7fff_f000), String::new()));
    for (bytes, used, sentence) in [
        (
            256 * MIB + 1,
            Some(256 * MIB),
            "0x10000001 is no multiple of 4 KiB: the direct map ends at 0x10000000",
        ),
        (6 << 30, None, "RAM ends at 0x180000000, below 0x180000000: all of it is in the direct map"),
        (u64::MAX, None, "RAM ends at 0x180000000, below 0xffffffffffffffff: all of it is in the direct map"),
        (1, None, "0x1 is below the end of the kernel's image, 0x1800000: the direct map shows all RAM"),
        (
            16 * MIB,
            None,
            "0x1000000 is below the end of the kernel's image, 0x1800000: the direct map shows all RAM",
        ),
        (
            32 * MIB,
            None,
            "24188 KiB of RAM are free below 0x2000000, and the kernel needs 32768 KiB there: the direct map shows \
             all RAM",
        ),
    ] {
        assert_eq!(end(bytes), (used, sentence.to_string()), "{bytes:#x}");
    }
}

#[test]
fn a_reservation_gets_another_reason_and_its_neighbours_keep_theirs() {
    let mut map = map_of(&q35());
    let (kernel, disk) = (range(0x100_0000, 0x180_0000), range(0x180_0000, 0x180_4321));
    map.reserve(kernel, Reservation::KernelImage).unwrap();
    map.reserve(disk, Reservation::InitialRamDisk).unwrap();
    let usable = map.usable_bytes();
    map.set_reason(disk, Reservation::BootLoaderData);
    let reasons: Vec<_> = map.reservations().iter().map(|taken| (taken.range, taken.why)).collect();
    assert_eq!(
        reasons,
        [(kernel, Reservation::KernelImage), (range(0x180_0000, 0x180_5000), Reservation::BootLoaderData)]
    );
    // Not where a part lies outside.
    map.set_reason(range(0x100_0000, 0x17f_f000), Reservation::BootLoaderData);
    assert_eq!((map.reservations()[0].why, map.usable_bytes()), (Reservation::KernelImage, usable));
}
