//! [`Tree`]: a balanced search tree whose nodes are inside its items; a leaf where `unsafe` lives.
//!
//! An AVL tree: the heights of two siblings differ by one at most, so a tree of *n* items is at most 1.44 log2(n + 2)
//! high (Adelson-Velsky and Landis, 1962). 2^32 threads would be 46 levels. Each step visits one path from the root, so
//! its time, and the depth of its recursion, have that bound however the items come and go.
//!
//! Items are in the order of their keys, and items of one key in the order in which they came, but for those that are put
//! before them. Keys are compared by
//! their difference, so they may wrap, as long as those in one tree differ by less than 2^63. Each item also has a
//! value, and each node knows the least value below it. By that, [`Tree::first_with`] finds the first item whose value
//! is small enough on one path.
//!
//! Why not a heap: an item leaves from the middle when a thread goes to another CPU, is woken early or gets another priority. Why
//! not buckets of keys with a bitmap: their width would be the error of each thread's share of the CPU.

use core::cmp::Ordering;
use core::marker::PhantomData;
use core::ptr::NonNull;

use crate::field::{Number, Place};
use crate::list::End;

/// The node of items of type [`Noded::Item`] for one kind of tree.
pub(crate) trait Noded {
    /// The items.
    type Item;

    /// Returns the node of an item: always the same one.
    fn node(item: &Self::Item) -> &Node<Self::Item>;
}

/// An item's place in a tree.
#[derive(Debug)]
pub(crate) struct Node<T> {
    left: Place<T>,
    right: Place<T>,
    height: Number,
    key: Number,
    /// Its turn among items of one key.
    turn: Number,
    value: Number,
    /// The least value of the subtree.
    least: Number,
    /// The address of the tree that has the item; 0 for none.
    tree: Number,
}

impl<T> Node<T> {
    pub(crate) const fn new() -> Self {
        Self {
            left: Place::nowhere(),
            right: Place::nowhere(),
            height: Number::new(0),
            key: Number::new(0),
            turn: Number::new(0),
            value: Number::new(0),
            least: Number::new(0),
            tree: Number::new(0),
        }
    }

    /// Tells whether the item is in any tree of this node.
    pub(crate) fn is_linked(&self) -> bool {
        self.tree.get() != 0
    }

    pub(crate) fn key(&self) -> u64 {
        self.key.get()
    }

    fn order(&self, other: &Self) -> Ordering {
        let by_key = order(self.key.get(), other.key.get());
        by_key.then_with(|| order(self.turn.get(), other.turn.get()))
    }
}

/// Compares two numbers that may have wrapped.
pub(crate) fn order(one: u64, other: u64) -> Ordering {
    (one.wrapping_sub(other) as i64).cmp(&0)
}

/// Returns the lesser of two numbers that may have wrapped.
fn lesser(one: u64, other: u64) -> u64 {
    if order(one, other).is_gt() { other } else { one }
}

type Root<N> = Option<NonNull<<N as Noded>::Item>>;

/// A search tree of items. It does not move while it has any.
pub(crate) struct Tree<N: Noded> {
    root: Place<N::Item>,
    /// How many items came behind those of their key, and how many before them.
    turns: Number,
    turns_before: Number,
    length: Number,
    _noded: PhantomData<fn() -> N>,
}

impl<N: Noded> Tree<N> {
    pub(crate) const fn new() -> Self {
        let (turns, turns_before, length) = (Number::new(0), Number::new(0), Number::new(0));
        Self { root: Place::nowhere(), turns, turns_before, length, _noded: PhantomData }
    }

    fn name(&self) -> u64 {
        core::ptr::from_ref(self).addr() as u64
    }

    pub(crate) fn len(&self) -> u64 {
        self.length.get()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.root.get().is_none()
    }

    pub(crate) fn contains(&self, item: &N::Item) -> bool {
        N::node(item).tree.get() == self.name()
    }

    /// Returns the item at `place`, which the tree has.
    fn item(&self, place: NonNull<N::Item>) -> &N::Item {
        // SAFETY: only `insert` puts addresses into the tree, and its callers promise that the item lives until `remove`
        // has taken the address out.
        unsafe { place.as_ref() }
    }

    fn node(&self, place: NonNull<N::Item>) -> &Node<N::Item> {
        N::node(self.item(place))
    }

    /// Puts an item in, behind those with its key. Returns `false`, and does nothing, if the item is in a tree.
    ///
    /// # Safety
    /// The item is not moved or freed before it has been taken out of the tree again.
    pub(crate) unsafe fn insert(&self, item: &N::Item, key: u64, value: u64) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.insert_at(End::Last, item, key, value) }
    }

    /// Does as [`Tree::insert`], and puts the item before or behind those with its key.
    ///
    /// # Safety
    /// As for [`Tree::insert`].
    pub(crate) unsafe fn insert_at(&self, end: End, item: &N::Item, key: u64, value: u64) -> bool {
        let node = N::node(item);
        if !node.tree.claim(self.name()) {
            return false;
        }
        node.key.set(key);
        node.value.set(value);
        let turn = match end {
            End::First => {
                self.turns_before.add(1);
                self.turns_before.get().wrapping_neg()
            }
            End::Last => {
                self.turns.add(1);
                self.turns.get()
            }
        };
        node.turn.set(turn);
        node.left.set(None);
        node.right.set(None);
        let place = NonNull::from(item);
        self.update(place);
        self.root.set(Some(self.inserted(self.root.get(), place)));
        self.length.add(1);
        true
    }

    /// Takes an item out. Returns `false`, and does nothing, if the tree does not have it.
    pub(crate) fn remove(&self, item: &N::Item) -> bool {
        if !self.contains(item) {
            return false;
        }
        self.root.set(self.removed(self.root.get(), NonNull::from(item)));
        self.length.set(self.length.get() - 1);
        N::node(item).tree.disclaim();
        true
    }

    /// Returns the item with the least key.
    pub(crate) fn first(&self) -> Option<&N::Item> {
        let mut place = self.root.get()?;
        while let Some(left) = self.node(place).left.get() {
            place = left;
        }
        Some(self.item(place))
    }

    /// Returns the first item whose value is at most `most`.
    pub(crate) fn first_with(&self, most: u64) -> Option<&N::Item> {
        let fits = |value: u64| order(value, most).is_le();
        let has_one = |root: Root<N>| root.is_some_and(|root| fits(self.node(root).least.get()));
        let mut place = self.root.get().filter(|&root| has_one(Some(root)))?;
        loop {
            let node = self.node(place);
            if has_one(node.left.get()) {
                place = node.left.get()?;
            } else if fits(node.value.get()) {
                return Some(self.item(place));
            } else {
                place = node.right.get()?;
            }
        }
    }

    /// Returns the last item for which `fits` is true, of the last `looks` items.
    #[cfg(all(test, not(any(loom, shuttle))))]
    pub(crate) fn last_that(&self, looks: usize, mut fits: impl FnMut(&N::Item) -> bool) -> Option<&N::Item> {
        let mut looks = looks;
        self.search_back(self.root.get(), &mut looks, &mut fits)
    }

    #[cfg(all(test, not(any(loom, shuttle))))]
    fn search_back(
        &self,
        root: Root<N>,
        looks: &mut usize,
        fits: &mut dyn FnMut(&N::Item) -> bool,
    ) -> Option<&N::Item> {
        let place = root?;
        if let Some(found) = self.search_back(self.node(place).right.get(), looks, fits) {
            return Some(found);
        }
        *looks = looks.checked_sub(1)?;
        if fits(self.item(place)) {
            return Some(self.item(place));
        }
        self.search_back(self.node(place).left.get(), looks, fits)
    }

    fn height(&self, root: Root<N>) -> u64 {
        root.map_or(0, |place| self.node(place).height.get())
    }

    /// Works out anew what a node knows of its subtrees.
    fn update(&self, place: NonNull<N::Item>) {
        let node = self.node(place);
        let (left, right) = (node.left.get(), node.right.get());
        node.height.set(1 + self.height(left).max(self.height(right)));
        let below = [left, right].into_iter().flatten().map(|child| self.node(child).least.get());
        node.least.set(below.fold(node.value.get(), lesser));
    }

    /// Makes the left child of `place` the root of its subtree, and returns it.
    fn turned_right(&self, place: NonNull<N::Item>) -> NonNull<N::Item> {
        let Some(child) = self.node(place).left.get() else { return place };
        self.node(place).left.set(self.node(child).right.get());
        self.node(child).right.set(Some(place));
        self.update(place);
        self.update(child);
        child
    }

    /// Makes the right child of `place` the root of its subtree, and returns it.
    fn turned_left(&self, place: NonNull<N::Item>) -> NonNull<N::Item> {
        let Some(child) = self.node(place).right.get() else { return place };
        self.node(place).right.set(self.node(child).left.get());
        self.node(child).left.set(Some(place));
        self.update(place);
        self.update(child);
        child
    }

    /// Returns the root of the subtree of `place`, one of whose children has become at most two levels higher than the
    /// other.
    fn balanced(&self, place: NonNull<N::Item>) -> NonNull<N::Item> {
        let node = self.node(place);
        let (left, right) = (self.height(node.left.get()), self.height(node.right.get()));
        if left > right + 1 {
            let child = node.left.get().map(|child| {
                let child_node = self.node(child);
                let is_bent = self.height(child_node.left.get()) < self.height(child_node.right.get());
                if is_bent { self.turned_left(child) } else { child }
            });
            node.left.set(child);
            self.turned_right(place)
        } else if right > left + 1 {
            let child = node.right.get().map(|child| {
                let child_node = self.node(child);
                let is_bent = self.height(child_node.right.get()) < self.height(child_node.left.get());
                if is_bent { self.turned_right(child) } else { child }
            });
            node.right.set(child);
            self.turned_left(place)
        } else {
            self.update(place);
            place
        }
    }

    /// Returns the subtree `root` with the item at `new` in it.
    fn inserted(&self, root: Root<N>, new: NonNull<N::Item>) -> NonNull<N::Item> {
        let Some(place) = root else { return new };
        let node = self.node(place);
        let side = if self.node(new).order(node).is_lt() { &node.left } else { &node.right };
        side.set(Some(self.inserted(side.get(), new)));
        self.balanced(place)
    }

    /// Returns the subtree `root` without the item at `old`, which is in it.
    fn removed(&self, root: Root<N>, old: NonNull<N::Item>) -> Root<N> {
        let place = root?;
        let node = self.node(place);
        if place == old {
            let (left, right) = (node.left.get(), node.right.get());
            let Some(right) = right else { return left };
            let (first, rest) = self.without_first(right);
            self.node(first).left.set(left);
            self.node(first).right.set(rest);
            return Some(self.balanced(first));
        }
        let side = if self.node(old).order(node).is_lt() { &node.left } else { &node.right };
        side.set(self.removed(side.get(), old));
        Some(self.balanced(place))
    }

    /// Returns the first item of a subtree, and the subtree without it.
    fn without_first(&self, place: NonNull<N::Item>) -> (NonNull<N::Item>, Root<N>) {
        let node = self.node(place);
        let Some(left) = node.left.get() else { return (place, node.right.get()) };
        let (first, rest) = self.without_first(left);
        node.left.set(rest);
        (first, Some(self.balanced(place)))
    }

    /// Checks order, balance, and what each node knows of its subtree.
    #[cfg(all(test, not(any(loom, shuttle))))]
    pub(crate) fn validate(&self) {
        let mut last = None;
        assert_eq!(self.validate_below(self.root.get(), &mut last), self.len());
    }

    #[cfg(all(test, not(any(loom, shuttle))))]
    fn validate_below(&self, root: Root<N>, last: &mut Root<N>) -> u64 {
        let Some(place) = root else { return 0 };
        let node = self.node(place);
        assert_eq!(node.tree.get(), self.name());
        let before = self.validate_below(node.left.get(), last);
        assert!(last.is_none_or(|last| self.node(last).order(node).is_lt()));
        *last = Some(place);
        let behind = self.validate_below(node.right.get(), last);
        let (left, right) = (self.height(node.left.get()), self.height(node.right.get()));
        assert!(left.abs_diff(right) <= 1 && node.height.get() == 1 + left.max(right));
        let least = node.least.get();
        self.update(place);
        assert_eq!(least, node.least.get());
        before + 1 + behind
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
