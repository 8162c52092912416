//! The list beside a `VecDeque`.

use std::collections::VecDeque;
use std::vec::Vec;

use proptest::prelude::*;

use super::{End, Link, Linked, List};

struct Item(Link<Item>);

struct Items;

impl Linked for Items {
    type Item = Item;

    fn link(item: &Item) -> &Link<Item> {
        &item.0
    }
}

fn items(count: usize) -> Vec<Item> {
    (0..count).map(|_| Item(Link::new())).collect()
}

fn insert(list: &List<Items>, item: &Item, end: End) -> bool {
    // SAFETY: the test's items do not move and outlive its lists.
    unsafe { list.insert(item, end) }
}

proptest! {
    /// An item that is in a list is refused by both, and a list gives back only what it has.
    #[test]
    fn two_lists_do_as_two_queues(steps in prop::collection::vec((0usize..2, 0usize..6, 0u8..3), 0..60)) {
        let items = items(6);
        let lists = [List::<Items>::new(), List::new()];
        let mut queues = [VecDeque::new(), VecDeque::new()];
        for (which, item, step) in steps {
            let is_free = queues.iter().all(|queue: &VecDeque<usize>| !queue.contains(&item));
            match step {
                2 => {
                    let is_here = queues[which].contains(&item);
                    prop_assert_eq!(lists[which].remove(&items[item]), is_here);
                    queues[which].retain(|&other| other != item);
                }
                end => {
                    let end = if end == 0 { End::First } else { End::Last };
                    prop_assert_eq!(insert(&lists[which], &items[item], end), is_free);
                    match end {
                        End::First if is_free => queues[which].push_front(item),
                        End::Last if is_free => queues[which].push_back(item),
                        _ => {}
                    }
                }
            }
            for (list, queue) in lists.iter().zip(&queues) {
                list.validate();
                prop_assert!(list.iter().map(std::ptr::from_ref).eq(queue.iter().map(|&item| &raw const items[item])));
                prop_assert_eq!(list.first().is_none(), queue.is_empty());
            }
        }
    }
}
