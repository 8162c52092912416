//! Each rule of the audit: a sound kernel has no finding, and each planted fault is found.

use std::string::ToString;
use std::vec::Vec;

use rhumb_machine::PageSize;

use super::*;

const BASE: u64 = 0xffff_8000_0000_0000;
const IMAGE: u64 = 0xffff_ffff_8000_0000;
const STACKS: u64 = 0xffff_c000_0000_0000;

fn ram() -> [PhysRange; 3] {
    [phys(0, 0x9f000), phys(MIB, 3 * GIB - MIB), phys(4 * GIB, 4 * GIB)]
}

fn at(virt_start: u64, phys_start: u64, bytes: u64, access: Access) -> Mapping {
    Mapping {
        virt: virt(virt_start),
        phys: phys(phys_start, bytes),
        attributes: Attributes::kernel(access),
        largest: PageSize::Size1G,
    }
}

/// Returns a kernel as it should be: direct map, image (text, rodata, data), stacks with guards, a device.
fn kernel() -> SimTree {
    let mut machine = SimTree::new(Levels::Four, 64);
    let (text, data) = (16 * MIB, 20 * MIB);
    for (start, end, access) in [
        (0, 0x9f000, Access::ReadWrite),
        (MIB, text, Access::ReadWrite),
        (text, data, Access::ReadOnly),
        (data, 3 * GIB, Access::ReadWrite),
        (4 * GIB, 8 * GIB, Access::ReadWrite),
    ] {
        machine.map(&at(BASE + start, start, end - start, access)).unwrap();
    }
    machine.map(&at(IMAGE, text, 2 * MIB, Access::ReadExecute)).unwrap();
    machine.map(&at(IMAGE + 2 * MIB, text + 2 * MIB, 2 * MIB, Access::ReadOnly)).unwrap();
    machine.map(&at(IMAGE + 4 * MIB, data, 2 * MIB, Access::ReadWrite)).unwrap();
    for stack in 0..100 {
        // Scattered frames, a guard page below each.
        let frame = GIB + stack * 0x7000;
        machine.map(&at(STACKS + stack * 0x5000 + 0x1000, frame, 0x4000, Access::ReadWrite)).unwrap();
    }
    let device = at(STACKS + GIB, 0xfee0_0000, 0x1000, Access::ReadWrite);
    let uncached = device.attributes.with_cache(CacheMode::UncachedStrong);
    machine.map(&Mapping { attributes: uncached, ..device }).unwrap();
    machine
}

fn audit_trees(machine: &SimTree, roots: &[Root], aliases: &[PhysRange]) -> (AuditSummary, Vec<Finding>) {
    let range = virt_range(BASE, 1 << 46);
    let audit =
        Audit { roots, ram: ram(), direct_map: Some(DirectMapRule { range, base: virt(BASE) }), aliases };
    let mut findings = Vec::new();
    let summary = audit.run(&machine.memory, |finding| findings.push(finding));
    assert_eq!(summary.findings, findings.len() as u64);
    (summary, findings)
}

fn audit(machine: &SimTree) -> Vec<Finding> {
    audit_trees(machine, &[machine.root], &[]).1
}

/// Returns the kernel with one mapping more.
fn with(mapping: Mapping) -> SimTree {
    let mut machine = kernel();
    machine.map(&mapping).unwrap();
    machine
}

#[test]
fn a_sound_kernel_has_no_finding() {
    let machine = kernel();
    let (summary, findings) = audit_trees(&machine, &[machine.root], &[]);
    assert_eq!(findings, []);
    let direct = PageCounts { size_1g: 6, size_2m: 511, size_4k: 0x9f + 256 };
    assert_eq!(summary.direct_map_pages, direct);
    let others = PageCounts { size_1g: 0, size_2m: 3, size_4k: 401 };
    let mut all = direct;
    all.add_all(others);
    assert_eq!(summary.pages, all);
}

#[test]
fn i4_a_writable_alias_of_text_is_found() {
    // One page in the middle of the text's large page.
    let machine = with(at(STACKS + 2 * GIB, 16 * MIB + 0x5000, 0x1000, Access::ReadWrite));
    let [alias, overlap] = audit(&machine)[..] else { panic!("{:?}", audit(&machine)) };
    let Finding::WriteExecuteAlias { phys: frames, writable, executable } = alias else { panic!("{alias}") };
    assert_eq!(frames, phys(16 * MIB + 0x5000, 0x1000));
    assert_eq!((writable.virt, executable.virt), (virt(STACKS + 2 * GIB), virt(IMAGE)));
    assert!(matches!(overlap, Finding::Overlap { .. }));
    assert_eq!(
        alias.to_string(),
        "frames [0x1005000, 0x1006000) are writable at 0xffffc00080000000-0xffffc00080000fff rw-k WB global 1x4K \
         and executable at 0xffffffff80000000-0xffffffff801fffff r-xk WB global 1x2M"
    );
}

#[test]
fn i4_an_executable_alias_of_data_is_found() {
    // The direct map shows the frame writable.
    let machine = with(at(IMAGE + 64 * MIB, 5 * GIB, 0x1000, Access::ReadExecute));
    let [Finding::WriteExecuteAlias { phys: frames, writable, .. }] = audit(&machine)[..] else {
        panic!("{:?}", audit(&machine))
    };
    assert_eq!((frames, writable.virt), (phys(5 * GIB, 0x1000), virt(BASE + 4 * GIB)));
}

#[test]
fn i4_more_executable_spans_than_are_kept_at_a_time_are_all_checked() {
    let mut machine = kernel();
    let many = 3 * crate::audit::BATCH as u64 + 1;
    for number in 0..many {
        machine
            .map(&at(
                IMAGE + 64 * MIB + number * 0x2000,
                5 * GIB + number * 0x3000,
                0x1000,
                Access::ReadExecute,
            ))
            .unwrap();
    }
    let findings = audit(&machine);
    assert_eq!(findings.len() as u64, many);
    for (number, finding) in findings.iter().enumerate() {
        let Finding::WriteExecuteAlias { phys: frames, .. } = *finding else { panic!("{finding}") };
        assert_eq!(frames, phys(5 * GIB + number as u64 * 0x3000, 0x1000));
    }
}

#[test]
fn i4_a_single_page_that_is_writable_and_executable_is_found() {
    let mut machine = kernel();
    let step = *walk(&machine.memory, machine.root, virt(STACKS + 0x1000)).steps().last().unwrap();
    machine.memory.write(step.table, step.index, Entry::from_bits(step.entry.bits() & !bits::NX));
    let findings = audit(&machine);
    assert!(matches!(findings[0], Finding::WriteExecute { span } if span.virt == virt(STACKS + 0x1000)));
    // Its alias in the direct map is writable, too.
    assert!(
        matches!(findings[1], Finding::WriteExecuteAlias { phys: frames, .. } if frames == phys(GIB, 0x1000))
    );
    assert_eq!(findings.len(), 2);
}

#[test]
fn i1_a_direct_mapping_at_another_offset_is_found() {
    let machine = with(at(BASE + 9 * GIB, 5 * GIB, 2 * MIB, Access::ReadWrite));
    let [Finding::OffsetBroken { span, expected }] = audit(&machine)[..] else {
        panic!("{:?}", audit(&machine))
    };
    assert_eq!((span.virt, expected), (virt(BASE + 9 * GIB), Some(virt(BASE + 5 * GIB))));
}

#[test]
fn executable_direct_map_is_found() {
    let mut machine = kernel();
    let step = *walk(&machine.memory, machine.root, virt(BASE + 17 * MIB)).steps().last().unwrap();
    machine.memory.write(step.table, step.index, Entry::from_bits(step.entry.bits() & !bits::NX));
    let [Finding::ExecutableDirectMap { span }] = audit(&machine)[..] else {
        panic!("{:?}", audit(&machine))
    };
    assert_eq!(span.virt, virt(BASE + 16 * MIB));
}

#[test]
fn a_cached_device_hole_is_found() {
    // Elsewhere the PCI hole was mapped write-back, being part of a round number of gigabytes.
    let machine = with(at(BASE + 3 * GIB, 3 * GIB, GIB, Access::ReadWrite));
    let [Finding::CachedDevice { span, phys: first }] = audit(&machine)[..] else {
        panic!("{:?}", audit(&machine))
    };
    // It joins the RAM before and after it to one span: the first frame that is not RAM is named.
    assert_eq!(first, PhysAddr::new(3 * GIB));
    assert!(span.phys_range().covers(phys(3 * GIB, GIB)));
    // Uncached it would be in order.
    let mapping = at(STACKS + 2 * GIB, 3 * GIB, 2 * MIB, Access::ReadWrite);
    for (cache, findings) in [
        (CacheMode::WriteThrough, 1),
        (CacheMode::Uncached, 0),
        (CacheMode::UncachedStrong, 0),
        (CacheMode::WriteCombining, 0),
    ] {
        let attributes = mapping.attributes.with_cache(cache);
        assert_eq!(audit(&with(Mapping { attributes, ..mapping })).len(), findings, "{cache}");
    }
}

#[test]
fn pages_in_the_wrong_half_are_found() {
    // The rest of the boot identity map.
    let machine = with(at(4 * GIB, 4 * GIB, 2 * MIB, Access::ReadWrite));
    assert!(matches!(audit(&machine)[..], [Finding::SupervisorInUserHalf { .. }]));

    let mut machine = kernel();
    let path = walk(&machine.memory, machine.root, virt(BASE + 5 * GIB));
    for step in path.steps() {
        machine.memory.write(step.table, step.index, Entry::from_bits(step.entry.bits() | bits::USER));
    }
    let [Finding::UserInKernelHalf { span }] = audit(&machine)[..] else { panic!("{:?}", audit(&machine)) };
    assert_eq!((span.virt, span.bytes), (virt(BASE + 5 * GIB), GIB));
}

#[test]
fn a_frame_at_two_places_of_the_kernel_is_found_unless_declared() {
    let machine = with(at(STACKS + 2 * GIB, GIB + 0x7000, 0x8000, Access::ReadWrite));
    // It covers the stack of frames 1 and, behind a gap of three frames, the first frame of the next.
    let findings = audit(&machine);
    let frames: Vec<PhysRange> = findings
        .iter()
        .map(|finding| match *finding {
            Finding::Overlap { phys, .. } => phys,
            ref other => panic!("{other}"),
        })
        .collect();
    assert_eq!(frames, [phys(GIB + 0x7000, 0x4000), phys(GIB + 0xe000, 0x1000)]);
    let declared = [phys(GIB + 0x7000, 0x8000)];
    assert_eq!(audit_trees(&machine, &[machine.root], &declared).1, []);
    let half_declared = [phys(GIB + 0x7000, 0x2000), phys(GIB + 0xe000, 0x1000)];
    assert_eq!(audit_trees(&machine, &[machine.root], &half_declared).1.len(), 1);
}

#[test]
fn malformed_entries_are_found() {
    let mut machine = kernel();
    machine.memory.write(TABLES, 300, Entry::from_bits(bits::PRESENT | bits::HUGE));
    let path = walk(&machine.memory, machine.root, virt(BASE + 5 * GIB));
    let step = *path.steps().last().unwrap();
    machine.memory.write(step.table, step.index, Entry::from_bits(step.entry.bits() | 1 << 20));
    let findings = audit(&machine);
    let reserved: Vec<(u8, u64)> = findings
        .iter()
        .map(|finding| match finding {
            Finding::Malformed(malformed) => (malformed.level, malformed.reserved),
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(reserved, [(3, 1 << 20), (4, bits::HUGE)]);
    assert!(findings[1].to_string().starts_with("level-4 entry 300 of table 0xf00000000000"));
}

#[test]
fn shared_halves_of_several_trees_are_looked_at_once() {
    let mut machine = kernel();
    let task = TABLES.plus(1000);
    machine.memory.insert(task);
    for index in 256..ENTRIES {
        let entry = machine.memory.read(TABLES, index);
        machine.memory.write(task, index, entry);
    }
    let task = Root::new(task, Levels::Four);
    let alone = audit_trees(&machine, &[machine.root], &[]);
    assert_eq!(audit_trees(&machine, &[machine.root, task], &[]), alone);

    // A task's own mappings count, also against those of another task.
    let program = Mapping {
        attributes: Attributes::user(Access::ReadExecute),
        ..at(0x40_0000, 16 * MIB, 0x1000, Access::ReadOnly)
    };
    Mapper::new(task, &mut machine.memory).map(&program, &mut machine.source).unwrap();
    assert_eq!(audit_trees(&machine, &[machine.root, task], &[]).1, []);
    let data = Mapping { attributes: Attributes::user(Access::ReadWrite), ..program };
    machine.map(&data).unwrap();
    let findings = audit_trees(&machine, &[machine.root, task], &[]).1;
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert!(findings.iter().all(|finding| matches!(finding, Finding::WriteExecuteAlias { .. })));
}

/// Wherever the address range lies in the kernel's half, each page is looked at once, and by the rules of its place.
#[test]
fn the_address_range_parts_the_kernels_half_without_a_gap() {
    let half = Levels::Four.kernel_half().get();
    // A range ends at an address, so that the very last page is in none.
    let (user, last) = (0x40_0000, u64::MAX - 0x1fff);
    let places = [half, half + 0x1000, BASE + 9 * GIB, STACKS, last - 0x1000, last];
    let mut machine = SimTree::new(Levels::Four, 64);
    for (number, &place) in places.iter().enumerate() {
        machine.map(&at(place, GIB + number as u64 * 0x2000, 0x1000, Access::ReadWrite)).unwrap();
    }
    let attributes = Attributes::user(Access::ReadWrite);
    machine.map(&Mapping { attributes, ..at(user, 2 * GIB, 0x1000, Access::ReadWrite) }).unwrap();
    let (roots, ram) = ([machine.root], ram());
    for (start, end) in [
        (half, half + 0x1000),
        (half, half + 0x2000),
        (half + 0x1000, half + 0x2000),
        (half + 0x2000, BASE + 9 * GIB),
        (BASE + GIB, STACKS),
        (BASE + 10 * GIB, STACKS + 0x1000),
        (half + 0x1000, last),
        (last - 0x1000, last),
        (half, last),
        (STACKS, u64::MAX),
    ] {
        let range = virt_range(start, end - start);
        let base = virt(start);
        let audit =
            Audit { roots: &roots, ram, direct_map: Some(DirectMapRule { range, base }), aliases: &[] };
        let mut findings = Vec::new();
        let summary = audit.run(&machine.memory, |finding| findings.push(finding));
        let inside: Vec<u64> = places.into_iter().filter(|place| (start..end).contains(place)).collect();
        assert_eq!(summary.pages.pages(), places.len() as u64 + 1, "{range}");
        assert_eq!(summary.direct_map_pages.pages(), inside.len() as u64, "{range}");
        // No page lies where this address range's base would have it, and no other rule is broken.
        let broken: Vec<u64> = findings
            .iter()
            .map(|finding| match finding {
                Finding::OffsetBroken { span, .. } => span.virt.get(),
                other => panic!("{other}"),
            })
            .collect();
        assert_eq!(broken, inside, "{range}");
    }
}
