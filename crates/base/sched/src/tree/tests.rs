//! The tree beside a sorted vector.

use std::vec::Vec;

use proptest::prelude::*;

use super::{Node, Noded, Tree};

struct Item(Node<Item>);

struct Items;

impl Noded for Items {
    type Item = Item;

    fn node(item: &Item) -> &Node<Item> {
        &item.0
    }
}

fn items(count: usize) -> Vec<Item> {
    (0..count).map(|_| Item(Node::new())).collect()
}

fn insert(tree: &Tree<Items>, item: &Item, key: u64, value: u64) -> bool {
    // SAFETY: the test's items do not move and outlive its trees.
    unsafe { tree.insert(item, key, value) }
}

/// An item of the model: key, turn, value, and which one it is.
type Row = (i64, u64, i64, usize);

proptest! {
    /// Keys and values lie around a number at which they wrap.
    #[test]
    fn a_tree_does_as_a_sorted_vector(
        steps in prop::collection::vec((0usize..40, any::<bool>(), -8i64..8, -8i64..8), 0..200),
    ) {
        let items = items(40);
        let tree = Tree::<Items>::new();
        let mut rows: Vec<Row> = Vec::new();
        for (turn, (item, inserts, key, value)) in steps.into_iter().enumerate() {
            let is_in = rows.iter().any(|row| row.3 == item);
            if inserts {
                prop_assert_eq!(insert(&tree, &items[item], key as u64, value as u64), !is_in);
                if !is_in {
                    rows.push((key, turn as u64, value, item));
                    rows.sort_unstable();
                }
            } else {
                prop_assert_eq!(tree.remove(&items[item]), is_in);
                rows.retain(|row| row.3 != item);
            }
            tree.validate();
            let which = |row: Option<&Row>| row.map(|row| &raw const items[row.3]);
            prop_assert_eq!(tree.first().map(std::ptr::from_ref), which(rows.first()));
            for most in -9i64..9 {
                let found = tree.first_with(most as u64).map(std::ptr::from_ref);
                prop_assert_eq!(found, which(rows.iter().find(|row| row.2 <= most)));
            }
            let mut looked = Vec::new();
            let found = tree.last_that(3, |item| { looked.push(&raw const *item); false });
            prop_assert!(found.is_none());
            let last: Vec<_> = rows.iter().rev().take(3).map(|row| &raw const items[row.3]).collect();
            prop_assert_eq!(looked, last);
        }
    }
}

/// The height of trees that grow at one end, and shrink at the other, is that of the proof.
#[test]
fn no_order_of_keys_makes_a_tree_high() {
    let items = items(4096);
    let tree = Tree::<Items>::new();
    let bound = |length: usize| 1.45 * ((length + 2) as f64).log2();
    for (key, item) in items.iter().enumerate() {
        assert!(insert(&tree, item, key as u64, 0));
        assert!(tree.height(tree.root.get()) as f64 <= bound(key + 1));
    }
    tree.validate();
    for (gone, item) in items.iter().enumerate() {
        assert!(tree.remove(item));
        assert!(tree.height(tree.root.get()) as f64 <= bound(items.len() - gone - 1));
    }
    assert!(tree.is_empty());
}
