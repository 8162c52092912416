use super::*;

fn page(number: u64) -> Tag {
    Tag::page(number << 12, PageSize::Size4K, 0).of_whole(PageSize::Size4K, false)
}

fn holds(cache: &Cache, number: u64) -> bool {
    cache.clone().touch(page(number)).is_some()
}

#[test]
fn the_entry_used_the_longest_ago_goes() {
    let mut cache = Cache::new(1, 4, Replacement::Lru);
    (0..4).for_each(|number| cache.insert(page(number)));
    // Order of use, the oldest first: 0 1 2 3. The touch makes it 1 2 3 0.
    assert!(cache.touch(page(0)).is_some());
    cache.insert(page(4));
    assert_eq!([0, 1, 2, 3, 4].map(|number| holds(&cache, number)), [true, false, true, true, true]);
    cache.insert(page(5));
    assert_eq!([0, 2, 3, 4, 5].map(|number| holds(&cache, number)), [true, false, true, true, true]);
}

#[test]
fn a_tree_of_four_ways_differs_from_lru_where_it_must() {
    // Ways 0 to 3 are filled with A B C D. All bits then lead left: to A. A touch of A turns the root and the left
    // node; the root leads right, and the right node, which D turned last, leads to C: the victim is C, where LRU
    // would take B.
    let mut cache = Cache::new(1, 4, Replacement::TreePlru);
    (0..4).for_each(|number| cache.insert(page(number)));
    assert!(cache.touch(page(0)).is_some());
    cache.insert(page(4));
    assert_eq!([0, 1, 2, 3, 4].map(|number| holds(&cache, number)), [true, true, false, true, true]);
}

#[test]
fn a_tree_over_twelve_ways_uses_each_of_them_and_no_other() {
    let mut cache = Cache::new(1, 12, Replacement::TreePlru);
    (0..12).for_each(|number| cache.insert(page(number)));
    assert!((0..12).all(|number| holds(&cache, number)));
    (12..500).for_each(|number| {
        cache.insert(page(number));
        assert!(holds(&cache, number));
        assert_eq!(cache.tags.iter().filter(|tag| **tag != Tag::NONE).count(), 12);
    });
}

#[test]
fn pages_of_one_set_conflict_while_other_sets_are_empty() {
    let mut cache = Cache::new(16, 4, Replacement::Lru);
    (0..5).for_each(|number| cache.insert(page(number * 16)));
    assert!(!holds(&cache, 0));
    assert!((1..5).all(|number| holds(&cache, number * 16)));
    // Of sets that are no power of two, too: 3 and 6 share a set of three.
    let mut cache = Cache::new(3, 1, Replacement::Lru);
    [3, 4, 6].into_iter().for_each(|number| cache.insert(page(number)));
    assert_eq!([3, 4, 6].map(|number| holds(&cache, number)), [false, true, true]);
}

#[test]
fn a_page_of_another_space_is_another_page_unless_it_is_global() {
    let mut cache = Cache::new(1, 4, Replacement::Lru);
    cache.insert(Tag::page(0x1000, PageSize::Size4K, 1).of_whole(PageSize::Size4K, false));
    cache.insert(Tag::page(0x2000, PageSize::Size4K, 1).of_whole(PageSize::Size4K, true));
    assert!(cache.touch(Tag::page(0x1000, PageSize::Size4K, 2)).is_none());
    assert!(cache.touch(Tag::page(0x1000, PageSize::Size4K, 1)).is_some());
    assert!(cache.touch(Tag::page(0x2000, PageSize::Size4K, 2)).is_some());
}

#[test]
fn dropped_entries_leave_room_and_order_behind() {
    for replacement in [Replacement::Lru, Replacement::TreePlru] {
        let mut cache = Cache::new(1, 4, replacement);
        (0..4).for_each(|number| cache.insert(page(number)));
        assert_eq!(cache.retain(|tag| tag.number() % 2 == 0), 2);
        (10..12).for_each(|number| cache.insert(page(number)));
        assert!([0, 2, 10, 11].into_iter().all(|number| holds(&cache, number)), "{replacement:?}");
        assert_eq!(cache.retain(|_| false), 4);
        assert!(cache.is_empty());
    }
}

#[test]
fn a_piece_belongs_to_the_whole_page() {
    let piece = Tag::page(0x4020_0000, PageSize::Size2M, 0).of_whole(PageSize::Size1G, false);
    assert!(piece.is_page_of(0x4000_0000) && piece.is_page_of(0x7fff_ffff));
    assert!(!piece.is_page_of(0x3fff_ffff) && !piece.is_page_of(0x8000_0000));
    let page = Tag::page(0xffff_8000_0000_1000, PageSize::Size4K, 0).of_whole(PageSize::Size4K, false);
    assert!(page.is_page_of(0xffff_8000_0000_1fff) && !page.is_page_of(0xffff_8000_0000_2000));
    assert!(!Tag::table(0x1000, 2, 0).is_page_of(0x1000));
}
