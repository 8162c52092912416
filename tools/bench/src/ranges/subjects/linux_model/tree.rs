//! The free ranges: a balanced tree by address, in which each node knows the largest range of its subtree.
//!
//! A treap with random priorities, where Linux has a red-black tree: the paths are as long within a few parts in ten, and
//! the work at each node is the same.

use crate::stats::Random;

/// No node.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Node {
    start: u64,
    units: u64,
    /// The largest range of the subtree.
    largest: u64,
    priority: u32,
    children: [u32; 2],
}

/// Free ranges that do not adjoin.
pub(super) struct Tree {
    nodes: Vec<Node>,
    unused: Vec<u32>,
    root: u32,
    random: Random,
}

impl Tree {
    pub(super) fn new(start: u64, units: u64) -> Self {
        let mut tree = Self { nodes: Vec::new(), unused: Vec::new(), root: NONE, random: Random::new(1) };
        tree.insert(start, units);
        tree
    }

    fn largest(&self, at: u32) -> u64 {
        self.nodes.get(at as usize).map_or(0, |node| node.largest)
    }

    fn update(&mut self, at: u32) {
        let Node { units, children: [left, right], .. } = self.nodes[at as usize];
        self.nodes[at as usize].largest = units.max(self.largest(left)).max(self.largest(right));
    }

    /// Takes the lowest place for `units` units at a multiple of `align`.
    pub(super) fn take(&mut self, units: u64, align: u64) -> Option<u64> {
        let wanted = units + align - 1;
        if self.largest(self.root) < wanted {
            return None;
        }
        // The lowest range that is large enough: to the left where that subtree has one.
        let mut at = self.root;
        let found = loop {
            let node = self.nodes[at as usize];
            if self.largest(node.children[0]) >= wanted {
                at = node.children[0];
            } else if node.units >= wanted {
                break node;
            } else {
                at = node.children[1];
            }
        };
        let first = found.start.next_multiple_of(align);
        let (lead, tail) = (first - found.start, found.start + found.units - first - units);
        match (lead > 0, tail > 0) {
            (false, false) => self.remove(found.start),
            (false, true) => self.resize(found.start, first + units, tail),
            (true, has_tail) => {
                self.resize(found.start, found.start, lead);
                if has_tail {
                    self.insert(first + units, tail);
                }
            }
        }
        Some(first)
    }

    /// Makes a range free, merged with its neighbours.
    pub(super) fn give(&mut self, start: u64, units: u64) {
        let (mut below, mut above, mut at) = (None, None, self.root);
        while let Some(&node) = self.nodes.get(at as usize) {
            if node.start < start {
                below = Some(node);
                at = node.children[1];
            } else {
                above = Some(node);
                at = node.children[0];
            }
        }
        let below = below.filter(|below| below.start + below.units == start);
        let above = above.filter(|above| start + units == above.start);
        match (below, above) {
            (None, None) => self.insert(start, units),
            (Some(below), None) => self.resize(below.start, below.start, below.units + units),
            (None, Some(above)) => self.resize(above.start, start, units + above.units),
            (Some(below), Some(above)) => {
                self.remove(above.start);
                self.resize(below.start, below.start, below.units + units + above.units);
            }
        }
    }

    /// Gives the range at `start` another start, which keeps the order, and another size.
    fn resize(&mut self, start: u64, new_start: u64, units: u64) {
        self.descend(self.root, start, &mut |tree, at| {
            tree.nodes[at as usize].start = new_start;
            tree.nodes[at as usize].units = units;
            at
        });
    }

    fn remove(&mut self, start: u64) {
        self.root = self.descend(self.root, start, &mut |tree, at| {
            let [left, right] = tree.nodes[at as usize].children;
            tree.unused.push(at);
            tree.join(left, right)
        });
    }

    /// Calls `change` with the node of the range at `start`, which the result of `change` replaces, and brings the nodes
    /// above it up to date.
    fn descend(&mut self, at: u32, start: u64, change: &mut dyn FnMut(&mut Self, u32) -> u32) -> u32 {
        let Some(&node) = self.nodes.get(at as usize) else { return NONE };
        if node.start == start {
            let at = change(self, at);
            if at != NONE {
                self.update(at);
            }
            return at;
        }
        let side = usize::from(node.start < start);
        let child = self.descend(node.children[side], start, change);
        self.nodes[at as usize].children[side] = child;
        self.update(at);
        at
    }

    /// Joins two trees, the first of lower addresses.
    fn join(&mut self, left: u32, right: u32) -> u32 {
        if left == NONE || right == NONE {
            return left.min(right);
        }
        let is_left = self.nodes[left as usize].priority > self.nodes[right as usize].priority;
        let (top, side) = if is_left { (left, 1) } else { (right, 0) };
        let child = self.nodes[top as usize].children[side];
        let joined = if is_left { self.join(child, right) } else { self.join(left, child) };
        self.nodes[top as usize].children[side] = joined;
        self.update(top);
        top
    }

    fn insert(&mut self, start: u64, units: u64) {
        let priority = self.random.next() as u32;
        let node = Node { start, units, largest: units, priority, children: [NONE; 2] };
        let at = match self.unused.pop() {
            Some(at) => {
                self.nodes[at as usize] = node;
                at
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() as u32 - 1
            }
        };
        self.root = self.insert_below(self.root, at);
    }

    fn insert_below(&mut self, at: u32, new: u32) -> u32 {
        let Some(&node) = self.nodes.get(at as usize) else { return new };
        let start = self.nodes[new as usize].start;
        if self.nodes[new as usize].priority > node.priority {
            let halves = self.split(at, start);
            self.nodes[new as usize].children = halves;
            self.update(new);
            return new;
        }
        let side = usize::from(node.start < start);
        let child = self.insert_below(node.children[side], new);
        self.nodes[at as usize].children[side] = child;
        self.update(at);
        at
    }

    /// Splits a tree into the ranges below `start` and the others.
    fn split(&mut self, at: u32, start: u64) -> [u32; 2] {
        let Some(&node) = self.nodes.get(at as usize) else { return [NONE; 2] };
        let side = usize::from(node.start < start);
        let mut halves = self.split(node.children[side], start);
        self.nodes[at as usize].children[side] = halves[1 - side];
        self.update(at);
        halves[1 - side] = at;
        halves
    }

    #[cfg(test)]
    pub(super) fn ranges(&self) -> Vec<(u64, u64)> {
        let live = |at: &u32| !self.unused.contains(at);
        let mut all: Vec<_> = (0..self.nodes.len() as u32)
            .filter(live)
            .map(|at| (self.nodes[at as usize].start, self.nodes[at as usize].units))
            .collect();
        all.sort_unstable();
        all
    }
}

#[cfg(test)]
mod tests;
