//! Mapping and unmapping against a model that is one ordered map of pages.

use std::collections::BTreeMap;
use std::vec::Vec;

use rhumb_machine::PageSize;

use super::*;

/// The model of a page; its key is the linear position.
type Model = BTreeMap<u64, (PageSize, PhysAddr, Attributes)>;

#[derive(Clone, Copy, Debug)]
enum Operation {
    Map { zone: usize, page: u64, frame: u64, pages: u64, attributes: Attributes, largest: PageSize },
    Unmap { zone: usize, page: u64, pages: u64, empty: EmptyTables },
}

/// Linear positions around which tests map: both ends of both halves, and a place amid several tables.
fn zone(levels: Levels, zone: usize) -> u64 {
    let half = 1 << (levels.virt_bits() - 1);
    [0, half - 4 * GIB, half, half + 510 * GIB, 2 * half - 4 * GIB][zone % 5]
}

/// Numbers of pages near the borders of 4 KiB, 2 MiB and 1 GiB.
fn pages_up_to(gigabytes: u64) -> impl Strategy<Value = u64> {
    prop_oneof![
        1u64..700,
        (0u64..5, 0u64..3).prop_map(|(large, small)| large * 512 + small),
        (0..gigabytes, 0u64..2, 0u64..2).prop_map(|(huge, large, small)| (huge << 18) + large * 512 + small),
    ]
}

fn operations() -> impl Strategy<Value = Operation> {
    let sizes = prop_oneof![Just(PageSize::Size1G), Just(PageSize::Size2M), Just(PageSize::Size4K)];
    let empties =
        prop_oneof![Just(EmptyTables::Keep), Just(EmptyTables::DetachBelowRoot), Just(EmptyTables::Detach)];
    prop_oneof![
        (0usize..5, pages_up_to(4), pages_up_to(4), pages_up_to(3), attributes(), sizes).prop_map(
            |(zone, page, distance, pages, attributes, largest)| {
                // Keep a gigabyte of small pages from taking all the time.
                let small = largest == PageSize::Size4K || distance % 512 != 0;
                let pages = if small { pages % 1500 } else { pages };
                Operation::Map { zone, page, frame: page + distance, pages, attributes, largest }
            }
        ),
        (0usize..5, pages_up_to(4), pages_up_to(5), empties)
            .prop_map(|(zone, page, pages, empty)| Operation::Unmap { zone, page, pages, empty }),
    ]
}

/// Returns the model's pages of a mapping: one after the other, each the largest that fits.
fn pages_of(start: u64, mapping: &Mapping) -> Model {
    let mut model = Model::new();
    let (mut at, mut frame) = (start, mapping.phys.start());
    while frame < mapping.phys.end() {
        let left = mapping.phys.end().since(frame);
        let size = PageSize::DESCENDING.into_iter().find(|&size| {
            size <= mapping.largest
                && at % size.bytes() == 0
                && frame.is_aligned(size)
                && left >= size.bytes()
        });
        let size = size.unwrap();
        model.insert(at, (size, frame, mapping.attributes));
        (at, frame) = (at + size.bytes(), frame.plus(size.bytes()));
    }
    model
}

/// Returns the model's pages that overlap `first..end`.
fn overlapping(model: &Model, first: u64, end: u64) -> Vec<u64> {
    let reaches = |(&at, &(size, ..)): (&u64, &(PageSize, PhysAddr, Attributes))| {
        (at < end && at + size.bytes() > first).then_some(at)
    };
    model.iter().filter_map(reaches).collect()
}

fn assert_same(machine: &SimTree, model: &Model) {
    let leaves = machine.leaves();
    let found: Vec<_> = leaves
        .iter()
        .map(|leaf| {
            let position = machine.root.levels.linear_of(leaf.virt);
            (position, (leaf.size, leaf.phys, leaf.attributes().unwrap()))
        })
        .collect();
    let wanted: Vec<_> = model.iter().map(|(&at, &page)| (at, page)).collect();
    assert_eq!(found, wanted);
    for join in [Join::Virtual, Join::Physical] {
        let spans: Vec<Span> = Spans::new(Leaves::all(&machine.memory, machine.root), join).collect();
        assert_eq!(spans, joined(&leaves, join));
    }
}

/// Returns the spans of leaves, joined one page at a time.
fn joined(leaves: &[Leaf], join: Join) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for leaf in leaves {
        let mut pages = PageCounts::NONE;
        pages.add(leaf.size, 1);
        match spans.last_mut() {
            Some(span)
                if span.virt.get().wrapping_add(span.bytes) == leaf.virt.get()
                    && (span.permissions, span.cache, span.scope, span.key)
                        == (leaf.permissions, leaf.cache, leaf.scope, leaf.entry.key())
                    && (join == Join::Virtual || span.phys.plus(span.bytes) == leaf.phys) =>
            {
                span.bytes += leaf.size.bytes();
                span.pages.add_all(pages);
            }
            _ => spans.push(Span {
                virt: leaf.virt,
                phys: leaf.phys,
                bytes: leaf.size.bytes(),
                permissions: leaf.permissions,
                cache: leaf.cache,
                scope: leaf.scope,
                key: leaf.entry.key(),
                pages,
            }),
        }
    }
    spans
}

fn apply(machine: &mut SimTree, model: &mut Model, operation: Operation) {
    let levels = machine.root.levels;
    let (before, taken) = (machine.memory.clone(), machine.source.taken());
    let free = machine.source.free_tables().count() as u64;
    let failed = match operation {
        Operation::Map { zone: number, page, frame, pages, attributes, largest } => {
            let start = zone(levels, number) + page * 4096;
            let mapping = Mapping {
                virt: levels.virt_of(start),
                phys: phys(frame * 4096, pages * 4096),
                attributes,
                largest,
            };
            let end = start + pages * 4096;
            let half = 1 << (levels.virt_bits() - 1);
            let in_kernel_half = start >= half;
            let survey = Mapper::new(machine.root, &mut machine.memory).survey(&mapping);
            let result = machine.map(&mapping);
            match result {
                Err(MapError::OutOfTables { needed }) => {
                    assert_eq!(survey, Ok(needed));
                    assert!(needed > free);
                }
                _ => assert_eq!(result.map(|mapped| mapped.tables), survey),
            }
            match result {
                Ok(mapped) => {
                    assert!(overlapping(model, start, end).is_empty());
                    let new = pages_of(start, &mapping);
                    let mut counts = PageCounts::NONE;
                    new.values().for_each(|&(size, ..)| counts.add(size, 1));
                    assert_eq!(mapped.pages, counts);
                    assert_eq!(machine.source.taken(), taken + mapped.tables);
                    model.extend(new);
                }
                Err(MapError::Empty { .. }) => assert_eq!(pages, 0),
                Err(MapError::NotCanonical { .. }) => assert!(start < half && end > half),
                Err(MapError::Wraps { .. }) => assert!(end >= 2 * half),
                Err(MapError::UserInKernelHalf { .. }) => {
                    assert!(in_kernel_half && attributes.privilege == Privilege::User);
                }
                Err(MapError::AlreadyMapped { virt, level, entry }) => {
                    let at = levels.linear_of(virt);
                    assert!(start <= at && at < end);
                    let hit = overlapping(model, at, at + 4096);
                    assert_eq!(hit.len(), 1, "{virt} is not mapped");
                    assert_eq!(entry.page_size(level), Some(model[&hit[0]].0));
                }
                Err(MapError::TableInTheWay { .. } | MapError::OutOfTables { .. }) => {}
                Err(error) => panic!("unexpected: {error}"),
            }
            result.is_err()
        }
        Operation::Unmap { zone: number, page, pages, empty } => {
            let first = zone(levels, number) + page * 4096;
            let end = first + pages * 4096;
            let start = levels.virt_of(first);
            let range = match start.checked_add(pages * 4096) {
                Some(_) => virt_range(start.get(), pages * 4096),
                None => return,
            };
            let hit = overlapping(model, first, end);
            let cut = hit.iter().any(|&at| at < first || at + model[&at].0.bytes() > end);
            let result = machine.unmap(range, empty);
            match result {
                Ok(counts) => {
                    assert!(!cut);
                    let mut removed = PageCounts::NONE;
                    hit.iter().for_each(|at| removed.add(model.remove(at).unwrap().0, 1));
                    assert_eq!(counts, removed);
                }
                Err(MapError::SplitsLargePage { .. }) => assert!(cut),
                Err(MapError::Empty { .. }) => assert_eq!(pages, 0),
                Err(MapError::NotCanonical { .. }) => {
                    assert!(first < 1 << (levels.virt_bits() - 1) && end > 1 << (levels.virt_bits() - 1));
                }
                Err(error) => panic!("unexpected: {error}"),
            }
            result.is_err()
        }
    };
    if failed {
        assert!(machine.memory.has_same_entries(&before), "{operation:?} failed and changed entries");
        assert_eq!(machine.source.taken(), taken);
    }
    assert!(machine.source.free_tables().all(|table| machine.memory.is_blank(table)));
}

#[test]
fn tables_count_as_used_while_an_entry_of_theirs_is_set() {
    for levels in [Levels::Four, Levels::Five] {
        let mut machine = SimTree::new(levels, 8);
        assert_eq!(machine.memory.used_tables(), 0);
        let page = Mapping {
            virt: virt(0x40_0000),
            phys: phys(GIB, 0x1000),
            attributes: Attributes::kernel(Access::ReadWrite),
            largest: rhumb_machine::PageSize::Size4K,
        };
        machine.map(&page).unwrap();
        assert_eq!(machine.memory.used_tables(), usize::from(levels.top()));
        machine.unmap(virt_range(0x40_0000, 0x1000), EmptyTables::Detach).unwrap();
        assert_eq!(machine.memory.used_tables(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn i7_any_sequence_does_what_the_model_does(
        levels in levels(),
        tables in 3u64..40,
        operations in prop::collection::vec(operations(), 1..24),
    ) {
        let mut machine = SimTree::new(levels, tables);
        let mut model = Model::new();
        for operation in operations {
            apply(&mut machine, &mut model, operation);
            assert_same(&machine, &model);
        }
        // All of it away, half by half: every table comes back.
        let half = 1u64 << (levels.virt_bits() - 1);
        machine.unmap(virt_range(0, half), EmptyTables::Detach).unwrap();
        let upper = levels.kernel_half();
        machine.unmap(virt_range(upper.get(), half - 4096), EmptyTables::Detach).unwrap();
        prop_assert_eq!(machine.source.taken(), 0);
        prop_assert_eq!(machine.memory.used_tables(), 0);
    }

    #[test]
    fn counting_beforehand_is_exact(
        levels in levels(),
        parts in prop::collection::vec((0u64..600, pages_up_to(3), pages_up_to(3)), 1..6),
        largest in 0usize..3,
    ) {
        let largest = PageSize::DESCENDING[largest];
        let mut at = levels.kernel_half();
        let mut mappings = Vec::new();
        for (gap, pages, distance) in parts {
            let small = largest == PageSize::Size4K || (at.get() / 4096 + gap) % 512 != distance % 512;
            let pages = if small { pages % 1500 } else { pages };
            at = at.plus(gap * 4096);
            if pages > 0 {
                let attributes = Attributes::kernel(Access::ReadWrite);
                mappings.push(Mapping { virt: at, phys: phys(distance * 4096, pages * 4096), attributes, largest });
            }
            at = at.plus(pages * 4096);
        }
        let root = Root::new(TABLES, levels);
        let needed = tables_needed(&root, mappings.iter().copied()).unwrap();
        let mut machine = SimTree::new(levels, needed);
        for mapping in &mappings {
            machine.map(mapping).unwrap();
        }
        prop_assert_eq!(machine.source.taken(), needed);
        if mappings.len() > 1 {
            mappings.reverse();
            let refused = tables_needed(&root, mappings.iter().copied());
            prop_assert!(matches!(refused, Err(MapError::Unsorted { .. })), "{refused:?}");
        }
    }
}

#[test]
fn what_a_mapping_must_not_be() {
    let mut machine = SimTree::new(Levels::Four, 8);
    let good = Mapping {
        virt: virt(0xffff_8000_0000_0000),
        phys: phys(0, 0x1000),
        attributes: Attributes::kernel(Access::ReadWrite),
        largest: PageSize::Size1G,
    };
    let refused = |mapping: Mapping| {
        Mapper::new(Root::new(TABLES, Levels::Four).with_phys_bits(40), &mut machine.memory)
            .map(&mapping, &mut machine.source)
            .unwrap_err()
    };
    let mut refused = refused;
    assert!(matches!(refused(Mapping { phys: phys(0, 0), ..good }), MapError::Empty { .. }));
    assert!(matches!(refused(Mapping { virt: good.virt.plus(8), ..good }), MapError::Unaligned { .. }));
    assert!(matches!(refused(Mapping { phys: phys(0x800, 0x1000), ..good }), MapError::Unaligned { .. }));
    assert!(matches!(refused(Mapping { phys: phys(0, 0x1800), ..good }), MapError::Unaligned { .. }));
    let top = virt(0xffff_ffff_ffff_f000);
    assert!(matches!(refused(Mapping { virt: top, ..good }), MapError::Wraps { .. }));
    assert!(matches!(refused(Mapping { virt: virt(1 << 47), ..good }), MapError::NotCanonical { .. }));
    let user = Attributes::user(Access::ReadOnly);
    assert!(matches!(refused(Mapping { attributes: user, ..good }), MapError::UserInKernelHalf { .. }));
    let far = phys((1 << 40) - 0x1000, 0x2000);
    assert!(matches!(refused(Mapping { phys: far, ..good }), MapError::PhysTooWide { .. }));
    let root = Root::new(TABLES, Levels::Four).with_phys_bits(40);
    let last = Mapping { phys: phys((1 << 40) - 0x1000, 0x1000), ..good };
    assert!(Mapper::new(root, &mut machine.memory).map(&last, &mut machine.source).is_ok());
}

#[test]
fn a_restrictive_or_malformed_table_on_the_way_is_an_error() {
    let mut machine = SimTree::new(Levels::Four, 8);
    let user = Mapping {
        virt: virt(0x40_0000),
        phys: phys(0, 0x1000),
        attributes: Attributes::user(Access::ReadExecute),
        largest: PageSize::Size4K,
    };
    let table = TABLES.plus(50);
    machine.memory.insert(table);
    machine.memory.write(TABLES, 0, Entry::table(table, Privilege::Supervisor));
    let entry = machine.memory.read(TABLES, 0);
    let error = machine.map(&user).unwrap_err();
    assert_eq!(error, MapError::TableForbids { virt: user.virt, level: 4, entry });
    machine.memory.write(TABLES, 0, Entry::from_bits(entry.bits() | bits::USER | bits::NX));
    assert!(matches!(machine.map(&user), Err(MapError::TableForbids { level: 4, .. })));
    machine.memory.write(TABLES, 0, Entry::from_bits(entry.bits() | bits::USER | bits::HUGE));
    assert!(matches!(machine.map(&user), Err(MapError::Malformed { level: 4, .. })));
    machine.memory.write(TABLES, 0, Entry::table(table, Privilege::User));
    assert!(machine.map(&user).is_ok());
}

#[test]
fn tables_left_empty_stay_or_go_as_asked() {
    for (empty, left) in [(EmptyTables::Keep, 3), (EmptyTables::DetachBelowRoot, 1), (EmptyTables::Detach, 0)]
    {
        let mut machine = SimTree::new(Levels::Four, 8);
        let page = Mapping {
            virt: virt(0xffff_c000_0000_0000),
            phys: phys(GIB, 0x1000),
            attributes: Attributes::kernel(Access::ReadWrite),
            largest: PageSize::Size1G,
        };
        machine.map(&page).unwrap();
        machine.unmap(page.check(&machine.root).unwrap(), empty).unwrap();
        assert_eq!(machine.source.taken(), left);
        // A kept table is in the way of a large page, and small pages go where they were.
        let large = Mapping { phys: phys(GIB, 2 * MIB), ..page };
        match empty {
            EmptyTables::Keep => {
                assert!(matches!(machine.map(&large), Err(MapError::TableInTheWay { level: 2, .. })));
                let small = Mapping { largest: PageSize::Size4K, ..large };
                assert_eq!(machine.map(&small).unwrap().tables, 0);
            }
            _ => assert_eq!(machine.map(&large).unwrap().pages.size_2m, 1),
        }
    }
}

#[test]
fn a_table_that_waits_for_its_flush_holds_nothing_present() {
    // Other CPUs may walk a detached table until they have flushed: its link to the next must read as absent.
    let mut machine = SimTree::new(Levels::Four, 8);
    let pages = Mapping {
        virt: virt(0xffff_c000_001f_f000),
        phys: phys(0, 0x2000),
        attributes: Attributes::kernel(Access::ReadWrite),
        largest: PageSize::Size4K,
    };
    machine.map(&pages).unwrap();
    let taken: Vec<Pfn> = machine.source.taken_tables().collect();
    let range = pages.check(&machine.root).unwrap();
    let unmapped = Mapper::new(machine.root, &mut machine.memory).unmap(range, EmptyTables::Detach).unwrap();
    assert_eq!(unmapped.tables.waiting().len(), 4);
    for table in taken {
        assert!((0..ENTRIES).all(|index| !machine.memory.read(table, index).is_present()));
    }
    assert_eq!(machine.source.taken(), 4, "tables came back before the flush");
    // SAFETY: no CPU walks tables in a hash map.
    unsafe { unmapped.tables.never_walked().release(&mut machine.memory, &mut machine.source) };
    assert_eq!(machine.source.taken(), 0);
}

#[test]
fn a_part_of_an_entry_that_cannot_be_followed_is_not_unmapped() {
    let mut machine = SimTree::new(Levels::Four, 8);
    let large = Mapping {
        virt: virt(0xffff_c000_0000_0000),
        phys: phys(GIB, 2 * MIB),
        attributes: Attributes::kernel(Access::ReadWrite),
        largest: PageSize::Size2M,
    };
    machine.map(&large).unwrap();
    let step = *Mapper::new(machine.root, &mut machine.memory).walk(large.virt).steps().last().unwrap();
    let malformed = Entry::from_bits(step.entry.bits() | 1 << 13);
    machine.memory.write(step.table, step.index, malformed);
    for start in [0, 0x1000, 2 * MIB - 0x1000] {
        let part = virt_range(large.virt.get() + start, 0x1000);
        let refused = machine.unmap(part, EmptyTables::Keep).unwrap_err();
        assert_eq!(refused, MapError::Malformed { virt: large.virt, level: 2, entry: malformed });
        assert_eq!(machine.memory.read(step.table, step.index), malformed);
    }
    machine.unmap(virt_range(large.virt.get(), 2 * MIB), EmptyTables::Keep).unwrap();
    assert_eq!(machine.memory.read(step.table, step.index), Entry::EMPTY);
}

#[test]
#[should_panic = "was written"]
fn a_spare_table_that_was_written_is_noticed() {
    let mut machine = SimTree::new(Levels::Four, 8);
    let mut chain = TableChain::take(3, &mut machine.memory, &mut machine.source).unwrap();
    for table in machine.source.taken_tables().collect::<Vec<_>>() {
        machine.memory.write(table, 0, Entry::EMPTY);
    }
    while chain.pop(&mut machine.memory).is_some() {}
}

#[test]
fn a_link_between_waiting_tables_names_no_memory() {
    // A CPU with the L1 terminal fault reads what the address bits of a non-present entry name.
    let mut machine = SimTree::new(Levels::Four, 8);
    let mut chain = TableChain::take(8, &mut machine.memory, &mut machine.source).unwrap();
    let tables: Vec<Pfn> = machine.source.taken_tables().collect();
    for &table in &tables {
        let link = machine.memory.read(table, 0);
        assert!(!link.is_present());
        assert!(link == Entry::EMPTY || link.bits() & bits::ADDRESS > 1 << 46, "{link} names memory");
    }
    let mut popped: Vec<Pfn> = core::iter::from_fn(|| chain.pop(&mut machine.memory)).collect();
    popped.sort();
    let mut sorted = tables;
    sorted.sort();
    assert_eq!(popped, sorted);
}
