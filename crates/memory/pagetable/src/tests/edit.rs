//! Splitting, setting and merging, in either half, with any attributes.

use super::*;
use crate::edit::{CachedAs, Editor, is_uniform, run_of_pages, split_table};
use rhumb_machine::PageSize;

/// A tree with one GiB of memory mapped at `at`, its count of pages, and two tables to split with, full of other
/// entries.
struct Tree {
    machine: SimTree,
    pages: PageCounts,
    at: VirtAddr,
    tables: [Pfn; 2],
}

impl Tree {
    fn new(at: u64, attributes: Attributes) -> Self {
        let mut machine = SimTree::new(Levels::Four, 8);
        let mapping = Mapping { virt: virt(at), phys: phys(GIB, GIB), attributes, largest: PageSize::Size1G };
        let pages = machine.map(&mapping).unwrap().pages;
        let tables = [(); 2].map(|()| machine.source.take_zeroed_table().unwrap());
        for table in tables {
            let other = Entry::leaf(PhysAddr::new(7 * GIB), PageSize::Size4K, attributes);
            machine.memory.write_run(table, 0, other, 4096, ENTRIES);
        }
        Self { machine, pages, at: virt(at), tables }
    }

    fn edit(&mut self) -> Editor<'_, SimTables> {
        Editor::new(self.machine.root, &mut self.machine.memory, &mut self.pages)
    }

    /// The 1-GiB page becomes 2-MiB pages, and the first of these 4-KiB pages.
    fn split_twice(&mut self) {
        let (at, [large, small]) = (self.at, self.tables);
        self.edit().split(at, PageSize::Size1G, large);
        self.edit().split(at, PageSize::Size2M, small);
    }

    fn merge_twice(&mut self) {
        let (at, [large, small]) = (self.at, self.tables);
        assert!(is_uniform(&self.machine.memory, small, PageSize::Size2M));
        self.edit().merge(at, PageSize::Size2M, small);
        assert!(is_uniform(&self.machine.memory, large, PageSize::Size1G));
        self.edit().merge(at, PageSize::Size1G, large);
    }

    fn set(&mut self, offset: u64, bytes: u64, attributes: Option<Attributes>, batch: &mut FlushBatch) {
        let range = virt_range(self.at.get() + offset, bytes);
        let phys = PhysAddr::new(GIB + offset);
        let end = self.edit().set(range, phys, attributes, CachedAs::Mapped, &mut u64::MAX.clone(), batch);
        assert_eq!(end, range.end());
    }

    fn counted(&self) -> PageCounts {
        let mut found = PageCounts::NONE;
        self.machine.leaves().iter().for_each(|leaf| found.add(leaf.size, 1));
        found
    }
}

proptest! {
    #[test]
    fn i3_what_is_split_set_and_set_back_merges_to_what_it_was(
        attributes in attributes(),
        between in prop::option::of(attributes()),
        first in 0u64..512,
        pages in 1u64..512,
    ) {
        // User pages lie in the user half.
        let privilege = attributes.privilege;
        let between = between.map(|between| Attributes { privilege, ..between });
        let upper = privilege == Privilege::Supervisor;
        let mut tree = Tree::new(if upper { 0xffff_c000_0000_0000 } else { 0x40_0000_0000 }, attributes);
        let before = tree.machine.leaves();
        tree.split_twice();
        prop_assert_eq!(tree.counted(), tree.pages);
        prop_assert_eq!((tree.pages.size_2m, tree.pages.size_4k), (511, 512));
        for leaf in tree.machine.leaves() {
            // Each piece shows the same memory, with the same attributes.
            prop_assert_eq!(leaf.phys.get() - GIB, leaf.virt.since(tree.at));
            prop_assert_eq!(leaf.entry.attributes(leaf.size), Some(attributes));
        }
        let mut batch = FlushBatch::new();
        let pages = pages.min(512 - first);
        tree.set(first << 12, pages << 12, between, &mut batch);
        prop_assert_eq!(tree.counted(), tree.pages);
        prop_assert!(batch.is_full_flush() || u64::from(batch.pages()) == pages);
        let differs = between != Some(attributes) && pages < 512;
        prop_assert_eq!(is_uniform(&tree.machine.memory, tree.tables[1], PageSize::Size2M), !differs);
        // An absent page is cached nowhere.
        let mut back = FlushBatch::new();
        tree.set(first << 12, pages << 12, Some(attributes), &mut back);
        prop_assert_eq!(back.is_empty(), between.is_none());
        let split = tree.machine.leaves();
        tree.merge_twice();
        prop_assert_eq!(&tree.machine.leaves(), &before);
        prop_assert_eq!(tree.counted(), tree.pages);
        // The tables that were taken out say what the pages say: they are put back as they are.
        let writes = tree.machine.memory.writes;
        let (at, [large, small]) = (tree.at, tree.tables);
        tree.edit().split_again(at, PageSize::Size1G, large);
        tree.edit().split_again(at, PageSize::Size2M, small);
        prop_assert_eq!(tree.machine.memory.writes - writes, 2);
        prop_assert_eq!(tree.machine.leaves(), split);
        prop_assert_eq!(tree.counted(), tree.pages);
        tree.merge_twice();
        prop_assert_eq!(tree.machine.leaves(), before);
    }
}

#[test]
fn a_table_is_filled_before_a_cpu_can_reach_it_and_told_from_those_of_the_tree() {
    let attributes = Attributes::kernel(Access::ReadWrite);
    let mut tree = Tree::new(0xffff_c000_0000_0000, attributes);
    let (root, at) = (tree.machine.root, tree.at);
    assert_eq!(split_table(&tree.machine.memory, root, at, PageSize::Size1G), None);
    tree.split_twice();
    for (size, table) in [(PageSize::Size1G, tree.tables[0]), (PageSize::Size2M, tree.tables[1])] {
        assert_eq!(split_table(&tree.machine.memory, root, at, size), Some(table));
    }
    // The entries above are the tree's own: no split has made them.
    let step = walk(&tree.machine.memory, root, at).steps()[0];
    assert_eq!(step.entry.bits() & bits::SOFTWARE, 0);
}

#[test]
fn an_absent_page_is_split_and_merged_and_split_again() {
    let attributes = Attributes::kernel(Access::ReadWrite);
    let mut tree = Tree::new(0xffff_c000_0000_0000, attributes);
    let (at, table) = (tree.at, tree.tables[0]);
    let mut batch = FlushBatch::new();
    tree.set(0, GIB, None, &mut batch);
    tree.edit().split(at, PageSize::Size1G, table);
    assert_eq!((tree.counted(), tree.pages), (PageCounts::NONE, PageCounts::NONE));
    let step = entry_at(&tree.machine.memory, tree.machine.root, at, 2).unwrap();
    assert_eq!(run_of_pages(&tree.machine.memory, step, usize::MAX), ENTRIES);
    for _ in 0..2 {
        tree.edit().merge(at, PageSize::Size1G, table);
        assert!(tree.machine.leaves().is_empty());
        tree.edit().split_again(at, PageSize::Size1G, table);
        assert_eq!((tree.counted(), tree.pages), (PageCounts::NONE, PageCounts::NONE));
    }
}

#[test]
fn pages_that_were_merged_a_moment_ago_are_flushed_as_small_ones() {
    let attributes = Attributes::kernel(Access::ReadWrite);
    let mut tree = Tree::new(0xffff_c000_0000_0000, attributes);
    let range = virt_range(tree.at.get(), GIB);
    let mut batch = FlushBatch::new();
    let phys = PhysAddr::new(GIB);
    tree.edit().set(range, phys, None, CachedAs::Smallest, &mut u64::MAX.clone(), &mut batch);
    assert!(batch.is_full_flush(), "262,144 small pages");
    assert_eq!(tree.pages, PageCounts::NONE);
}

#[test]
fn a_budget_ends_a_change_between_two_pages_and_it_goes_on_from_there() {
    let attributes = Attributes::kernel(Access::ReadWrite);
    let mut tree = Tree::new(0xffff_c000_0000_0000, attributes);
    tree.split_twice();
    let range = virt_range(tree.at.get(), 2 * MIB);
    let (mut batch, mut budget) = (FlushBatch::new(), 100);
    let stopped = tree.edit().set(range, PhysAddr::new(GIB), None, CachedAs::Mapped, &mut budget, &mut batch);
    assert_eq!((stopped.since(range.start()), budget), (100 << 12, 0));
    assert_eq!(tree.counted().size_4k, 412);
    assert_eq!(tree.counted(), tree.pages);
}

/// The last 2 MiB of all addresses: the range of a page there would end past the last address.
const LAST: u64 = 0xffff_ffff_ffe0_0000;

#[test]
fn the_last_page_of_all_is_merged_and_split_again() {
    let attributes = Attributes::kernel(Access::ReadWrite);
    for first in [Entry::EMPTY, Entry::leaf(PhysAddr::new(GIB), PageSize::Size4K, attributes)] {
        let mut tree = Tree::new(0xffff_c000_0000_0000, attributes);
        let mapping =
            Mapping { virt: virt(LAST), phys: phys(GIB, 4096), attributes, largest: PageSize::Size4K };
        tree.machine.map(&mapping).unwrap();
        let step = entry_at(&tree.machine.memory, tree.machine.root, virt(LAST), 2).unwrap();
        let table = step.entry.child(2).unwrap();
        tree.machine.memory.write_run(table, 0, first, if first.is_present() { 4096 } else { 0 }, ENTRIES);
        tree.pages.size_4k = 512;
        let present = u64::from(first.is_present());
        tree.edit().merge(virt(LAST), PageSize::Size2M, table);
        assert_eq!((tree.pages.size_2m, tree.counted().size_2m), (present, present));
        tree.edit().split_again(virt(LAST), PageSize::Size2M, table);
        assert_eq!((tree.pages.size_2m, tree.counted().size_4k), (0, 512 * present));
    }
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "has smaller pages than 1G already")]
fn a_table_is_not_split_as_if_it_were_a_page() {
    let mut tree = Tree::new(0xffff_c000_0000_0000, Attributes::kernel(Access::ReadWrite));
    let (at, [large, small]) = (tree.at, tree.tables);
    tree.edit().split(at, PageSize::Size1G, large);
    tree.edit().split(at, PageSize::Size1G, small);
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "is not mapped by the table at")]
fn only_the_table_that_maps_an_address_is_merged_there() {
    let mut tree = Tree::new(0xffff_c000_0000_0000, Attributes::kernel(Access::ReadWrite));
    let (at, [_, small]) = (tree.at, tree.tables);
    tree.split_twice();
    tree.edit().merge(at, PageSize::Size1G, small);
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "maps the same as the page at")]
fn a_table_that_says_something_else_is_not_put_back() {
    let attributes = Attributes::kernel(Access::ReadWrite);
    let mut tree = Tree::new(0xffff_c000_0000_0000, attributes);
    let (at, large) = (tree.at, tree.tables[0]);
    tree.edit().split(at, PageSize::Size1G, large);
    tree.edit().merge(at, PageSize::Size1G, large);
    tree.set(0, GIB, Some(Attributes::kernel(Access::ReadOnly)), &mut FlushBatch::new());
    tree.edit().split_again(at, PageSize::Size1G, large);
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "is inside a page of 2M")]
fn a_change_begins_between_two_pages() {
    let mut tree = Tree::new(0xffff_c000_0000_0000, Attributes::kernel(Access::ReadWrite));
    let (at, large) = (tree.at, tree.tables[0]);
    tree.edit().split(at, PageSize::Size1G, large);
    tree.set(MIB, 2 * MIB, None, &mut FlushBatch::new());
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "is inside a page of 1G")]
fn a_change_ends_between_two_pages() {
    let mut tree = Tree::new(0xffff_c000_0000_0000, Attributes::kernel(Access::ReadWrite));
    tree.set(0, 2 * MIB, None, &mut FlushBatch::new());
}
