//! Traces whose counts are worked out by hand.

use super::*;
use crate::access::{Side, Uniform};
use crate::geometry::{Array, Serves};
use crate::nested::Shape;
use crate::page::PageSize::{Size1G, Size2M, Size4K};
use crate::published;

const LOAD: Purpose = Purpose::Load;

/// One level of two entries of 4 KiB for data, one of 2 MiB for data, two of 4 KiB for code, and nothing else.
fn tiny() -> Geometry {
    Geometry {
        id: "tiny".into(),
        name: "tiny".into(),
        arrays: vec![
            Array::new(1, Serves::Data, &[Size4K], 2, 2),
            Array::new(1, Serves::Data, &[Size2M], 1, 1),
            Array::new(1, Serves::Code, &[Size4K], 2, 2),
        ],
        walk_caches: Vec::new(),
        levels: 4,
        sources: Vec::new(),
    }
}

/// Pages by address: below 1 GiB of 4 KiB, below 512 GiB of 2 MiB, above of 1 GiB. Entries at made-up places.
struct Mixed;

impl Tables for Mixed {
    fn translate(&mut self, address: u64) -> Option<Translation> {
        let page = match address >> 30 {
            0 => Size4K,
            1..512 => Size2M,
            _ => Size1G,
        };
        let mut translation = Translation::by(page);
        // Each entry in a 1-GiB page of its own, so that no host's page has two of them.
        translation.entries = [1 << 40, 2 << 40, 3 << 40, 4 << 40, 5 << 40];
        translation.physical = 6 << 40 | address;
        Some(translation)
    }
}

struct Nothing;

impl Tables for Nothing {
    fn translate(&mut self, _: u64) -> Option<Translation> {
        None
    }
}

fn go(model: &mut Model, purpose: Purpose, addresses: &[u64]) -> Counts {
    let before = model.totals().all();
    for &address in addresses {
        model.access(Access { address, purpose, side: Side::Kernel }, &mut Mixed);
    }
    model.totals().all() - before
}

/// Hits of the first level, hits of the second, walks, references.
fn short(counts: Counts) -> [u64; 4] {
    assert_eq!(counts.accesses, counts.first_level_hits + counts.second_level_hits + counts.all_walks());
    [counts.first_level_hits, counts.second_level_hits, counts.all_walks(), counts.all_references()]
}

#[test]
fn two_entries_hold_the_two_pages_used_last() {
    let mut model = Model::new(&tiny()).unwrap();
    // A and B walk, both hit, C takes the place of B, which was used before A; A hits, B walks and takes that of C.
    let (a, b, c) = (0x1000, 0x2000, 0x3000);
    assert_eq!(short(go(&mut model, LOAD, &[a, b])), [0, 0, 2, 8]);
    assert_eq!(short(go(&mut model, LOAD, &[b, a, a + 0xfff])), [3, 0, 0, 0]);
    assert_eq!(short(go(&mut model, LOAD, &[c, a])), [1, 0, 1, 4]);
    assert_eq!(short(go(&mut model, LOAD, &[b, a, c])), [1, 0, 2, 8]);
}

#[test]
fn a_walk_reads_as_many_entries_as_there_are_levels_down_to_the_page() {
    let mut model = Model::new(&tiny()).unwrap();
    let small = go(&mut model, LOAD, &[0x1000]);
    assert_eq!((small.walks, small.references), ([1, 0, 0], [1, 1, 1, 1, 0]));
    let large = go(&mut model, LOAD, &[1 << 30]);
    assert_eq!((large.walks, large.references), ([0, 1, 0], [0, 1, 1, 1, 0]));
    let largest = go(&mut model, LOAD, &[512 << 30]);
    assert_eq!((largest.walks, largest.references), ([0, 0, 1], [0, 0, 1, 1, 0]));
    let mut five = tiny();
    five.levels = 5;
    let mut model = Model::new(&five).unwrap();
    assert_eq!(go(&mut model, LOAD, &[0x1000]).references, [1, 1, 1, 1, 1]);
}

#[test]
fn sizes_and_purposes_do_not_share_what_is_split() {
    let mut model = Model::new(&tiny()).unwrap();
    go(&mut model, LOAD, &[0x1000, 0x2000]);
    // A large page has an entry of its own, and code has its own, too.
    assert_eq!(short(go(&mut model, LOAD, &[1 << 30, 0x1000, 0x2000])), [2, 0, 1, 3]);
    assert_eq!(short(go(&mut model, Purpose::Fetch, &[0x1000, 0x5000])), [0, 0, 2, 8]);
    assert_eq!(short(go(&mut model, LOAD, &[0x1000, 0x2000, 1 << 30])), [3, 0, 0, 0]);
    // Loads and stores share.
    assert_eq!(short(go(&mut model, Purpose::Store, &[0x1000, 1 << 30])), [2, 0, 0, 0]);
    // One entry for large pages: two of them drive each other out.
    assert_eq!(short(go(&mut model, LOAD, &[2 << 30, 1 << 30, 2 << 30])), [0, 0, 3, 9]);
}

#[test]
fn an_array_for_two_sizes_is_shared_by_them() {
    let mut geometry = tiny();
    geometry.arrays = vec![
        Array::new(1, Serves::Data, &[Size4K, Size2M], 2, 2),
        Array::new(1, Serves::Code, &[Size4K], 2, 2),
    ];
    let mut model = Model::new(&geometry).unwrap();
    assert_eq!(short(go(&mut model, LOAD, &[0x1000, 1 << 30, 0x1000, 1 << 30])), [2, 0, 2, 7]);
    // A second large page takes the place of the small one.
    assert_eq!(short(go(&mut model, LOAD, &[2 << 30, 1 << 30, 0x1000])), [1, 0, 2, 7]);
}

#[test]
fn a_second_level_catches_what_leaves_the_first() {
    let mut geometry = tiny();
    geometry.arrays.push(Array::new(2, Serves::All, &[Size4K], 4, 4));
    let mut model = Model::new(&geometry).unwrap();
    assert_eq!(short(go(&mut model, LOAD, &[0x1000, 0x2000, 0x3000, 0x1000])), [0, 1, 3, 12]);
    // Code finds there what data brought.
    assert_eq!(short(go(&mut model, Purpose::Fetch, &[0x3000])), [0, 1, 0, 0]);
    // Large pages have no place in it, nor has a piece of one, unless there is an array of a smaller size: there is.
    assert_eq!(short(go(&mut model, LOAD, &[1 << 30, 2 << 30, 1 << 30])), [0, 1, 2, 6]);
}

#[test]
fn a_page_too_large_for_an_array_is_kept_in_pieces() {
    // The first level has no entries of 1 GiB: each 2 MiB of the page takes one of 2 MiB.
    let mut model = Model::new(&tiny()).unwrap();
    let page = 512 << 30;
    assert_eq!(short(go(&mut model, LOAD, &[page, page + 0x1f_ffff])), [1, 0, 1, 2]);
    assert_eq!(short(go(&mut model, LOAD, &[page + 0x20_0000, page])), [0, 0, 2, 4]);
    // AMD: the second level keeps pieces, the first one the whole page, once more where a piece comes back.
    let mut model = Model::new(&published::zen2()).unwrap();
    assert_eq!(short(go(&mut model, LOAD, &[page, page + 0x20_0000, page + (1 << 29)])), [2, 0, 1, 2]);
    let others: Vec<u64> = (1..65).map(|number| 0x1000 * number).collect();
    go(&mut model, LOAD, &others);
    assert_eq!(short(go(&mut model, LOAD, &[page, page + 0x20_0000])), [1, 1, 0, 0]);
    model.flush(Flush::Page(page + (1 << 29)));
    assert_eq!(short(go(&mut model, LOAD, &[page]))[..3], [0, 0, 1]);
}

#[test]
fn a_walk_begins_where_the_walk_caches_end() {
    let mut geometry = tiny();
    geometry.walk_caches = vec![
        WalkCache::Own { levels: vec![2], sets: 1, ways: 1 },
        WalkCache::Own { levels: vec![3], sets: 1, ways: 1 },
        WalkCache::Own { levels: vec![4], sets: 1, ways: 1 },
    ];
    let mut model = Model::new(&geometry).unwrap();
    let references = |model: &mut Model, address: u64| go(model, LOAD, &[address]).references;
    assert_eq!(references(&mut model, 0x1000), [1, 1, 1, 1, 0]);
    // The same page table, the same page directory, and so on.
    assert_eq!(references(&mut model, 0x2000), [1, 0, 0, 0, 0]);
    assert_eq!(references(&mut model, 0x20_1000), [1, 1, 0, 0, 0]);
    // The PDE of the first table was the cache's only one, and has gone.
    assert_eq!(references(&mut model, 0x3000), [1, 1, 0, 0, 0]);
    assert_eq!(references(&mut model, 1 << 30), [0, 1, 1, 0, 0]);
    assert_eq!(references(&mut model, 513 << 30), [0, 0, 1, 1, 0]);
    // A page's own entry is in no walk cache.
    assert_eq!(references(&mut model, 3 << 30), [0, 1, 1, 1, 0]);
    assert_eq!(references(&mut model, (3 << 30) + 0x20_0000), [0, 1, 0, 0, 0]);
}

#[test]
fn entries_of_tables_compete_in_a_second_level_that_keeps_them() {
    let mut geometry = tiny();
    geometry.arrays.push(Array::new(2, Serves::Data, &[Size4K], 2, 2));
    geometry.walk_caches = vec![WalkCache::SecondLevel { levels: vec![2] }];
    let mut model = Model::new(&geometry).unwrap();
    // The walk leaves the PDE and the page; the next page takes the place of the older one of these, the first page:
    // the PDE was used again.
    assert_eq!(go(&mut model, LOAD, &[0x1000]).references, [1, 1, 1, 1, 0]);
    assert_eq!(go(&mut model, LOAD, &[0x2000]).references, [1, 0, 0, 0, 0]);
    go(&mut model, LOAD, &[0x3000]);
    assert_eq!(short(go(&mut model, LOAD, &[0x1000])), [0, 0, 1, 1]);
}

#[test]
fn flushes_drop_what_the_manual_says() {
    struct Globals;
    impl Tables for Globals {
        fn translate(&mut self, address: u64) -> Option<Translation> {
            let is_global = address >= 0x10_0000;
            Some(Translation { is_global, ..Translation::by(Size4K) })
        }
    }
    let walks = |model: &mut Model, address| {
        let before = model.totals().all().all_walks();
        model.access(Access { address, purpose: LOAD, side: Side::Kernel }, &mut Globals);
        model.totals().all().all_walks() - before
    };
    let (own, global) = (0x1000, 0x10_0000);
    let flushed = |flush| {
        let mut model = Model::new(&published::skylake_sp()).unwrap();
        walks(&mut model, own);
        walks(&mut model, global);
        model.flush(flush);
        assert_eq!(model.totals().flushes, 1);
        [walks(&mut model, own), walks(&mut model, global)]
    };
    assert_eq!(flushed(Flush::Page(own + 8)), [1, 0]);
    assert_eq!(flushed(Flush::Page(global)), [0, 1]);
    assert_eq!(flushed(Flush::NonGlobal), [1, 0]);
    assert_eq!(flushed(Flush::All), [1, 1]);
    assert_eq!(flushed(Flush::Space(0)), [1, 0]);
    assert_eq!(flushed(Flush::Space(1)), [0, 0]);
    // One page drops all walk caches of the space: the page itself in both levels, and one entry at each of 3 levels.
    let mut model = Model::new(&published::skylake_sp()).unwrap();
    walks(&mut model, own);
    model.flush(Flush::Page(0x7000_0000));
    assert_eq!(model.totals().dropped, 3);
    model.flush(Flush::Page(own));
    assert_eq!(model.totals().dropped, 5);
}

#[test]
fn spaces_keep_their_translations_apart() {
    let mut model = Model::new(&published::skylake_sp()).unwrap();
    assert_eq!(short(go(&mut model, LOAD, &[0x1000, 0x1000]))[..3], [1, 0, 1]);
    model.switch_to(7);
    assert_eq!(short(go(&mut model, LOAD, &[0x1000]))[..3], [0, 0, 1]);
    model.switch_to(0);
    assert_eq!(short(go(&mut model, LOAD, &[0x1000]))[..3], [1, 0, 0]);
}

#[test]
fn twenty_four_references_with_four_levels_on_both_sides() {
    let references = |page, address| {
        let mut model = Model::nested(&tiny(), Nested::uncached(page)).unwrap();
        let counts = go(&mut model, LOAD, &[address]);
        (counts.references.iter().sum::<u64>(), counts.host_references)
    };
    // g levels of the guest and h of the host: g + (g + 1) h.
    assert_eq!(references(Size4K, 0x1000), (4, 20));
    assert_eq!(references(Size2M, 0x1000), (4, 15));
    assert_eq!(references(Size4K, 1 << 30), (3, 16));
    assert_eq!(references(Size2M, 1 << 30), (3, 12));
    assert_eq!(references(Size1G, 512 << 30), (2, 6));
}

#[test]
fn the_hosts_own_caches_shorten_nested_walks() {
    let nested = Nested { tables: Some(Shape { sets: 1, ways: 64 }), ..Nested::uncached(Size4K) };
    let mut model = Model::nested(&tiny(), nested).unwrap();
    let first = go(&mut model, LOAD, &[0x1000]).host_references;
    // Five addresses in five parts of 1 TiB: nothing is shared in the first walk but the root's own table.
    assert_eq!(first, 20);
    // The next walk finds all PDEs of the host for the guest's tables, and for the page beside the first one.
    assert_eq!(go(&mut model, LOAD, &[0x2000]).host_references, 5);
    let nested = Nested { translations: Some(Shape { sets: 1, ways: 16 }), ..Nested::uncached(Size4K) };
    let mut model = Model::nested(&tiny(), nested).unwrap();
    go(&mut model, LOAD, &[0x1000]);
    // The guest's tables are found; the page is not.
    assert_eq!(go(&mut model, LOAD, &[0x2000]).host_references, 4);
    model.flush_host();
    assert_eq!(go(&mut model, LOAD, &[0x2000]).host_references, 20);
}

#[test]
fn a_guests_large_page_on_a_hosts_small_ones_is_cached_in_small_ones() {
    let mut model = Model::nested(&published::skylake_sp(), Nested::uncached(Size4K)).unwrap();
    assert_eq!(short(go(&mut model, LOAD, &[1 << 30, (1 << 30) + 0x1000]))[..3], [0, 0, 2]);
    let mut model = Model::nested(&published::skylake_sp(), Nested::uncached(Size1G)).unwrap();
    assert_eq!(short(go(&mut model, LOAD, &[1 << 30, (1 << 30) + 0x1000]))[..3], [1, 0, 1]);
}

#[test]
fn one_page_has_a_place_in_one_of_two_arrays() {
    // Ice Lake: 2,048 pages of 4 KiB in a row are all in the second level, and so are 1,024 of 2 MiB, and no more.
    let fits = |page: PageSize, pages: u64| {
        let mut model = Model::new(&published::ice_lake_sp()).unwrap();
        let mut once = || {
            for number in 0..pages {
                let access = Access { address: number << page.shift(), purpose: LOAD, side: Side::Kernel };
                model.access(access, &mut Uniform(page));
            }
            model.totals().all().all_walks()
        };
        once() == once()
    };
    assert!(fits(Size4K, 2048) && !fits(Size4K, 2049));
    assert!(fits(Size2M, 1024) && !fits(Size2M, 1025 + 128));
    assert!(fits(Size1G, 1024));
}

#[test]
fn what_is_not_mapped_is_counted_apart() {
    let mut model = Model::new(&published::zen4()).unwrap();
    for _ in 0..2 {
        model.access(Access { address: 0, purpose: LOAD, side: Side::User }, &mut Nothing);
    }
    let counts = model.totals().of(Class::UserData);
    assert_eq!((counts.accesses, counts.absent, counts.all_walks()), (2, 2, 0));
}

#[test]
fn each_class_has_its_own_counts() {
    let mut model = Model::new(&published::zen3()).unwrap();
    for (index, class) in Class::ALL.into_iter().enumerate() {
        let side = if index < 2 { Side::Kernel } else { Side::User };
        let purpose = if index % 2 == 0 { Purpose::Store } else { Purpose::Fetch };
        assert_eq!(Class::of(side, purpose), class);
        for number in 0..=index as u64 {
            let address = number << 12 | (index as u64) << 40;
            model.access(Access { address, purpose, side }, &mut Uniform(Size4K));
        }
        assert_eq!(model.totals().of(class).walks, [index as u64 + 1, 0, 0]);
    }
    assert_eq!(model.totals().all().all_walks(), 10);
}
