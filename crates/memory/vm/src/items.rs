//! The items of a copy, in frames that are linked by their first words; a leaf where `unsafe` lives.
#![expect(unsafe_code, reason = "a list in frames of the direct map")]

use rhumb_frames::{Frame, Frames};
use rhumb_machine::{Machine, PageSize, Pfn};
use rhumb_pagetable::{ENTRIES, Entry, TableEntry, bits};

use crate::share;
use crate::sheet;
use crate::word::{Inherit, Marks, Protection, Slot};

/// Items in a node. Its first word is the link to the next one.
const PER_NODE: usize = ENTRIES - 1;

/// A part of a copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Item {
    /// Pages that read as zeroes.
    Fresh { pages: u64 },
    /// A page with a frame, which has a count.
    Page { pfn: Pfn },
    /// A page of a sheet.
    Named { slot: Slot },
}

/// There is no room.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Full;

/// A list of items. It holds each frame of its items, and gives them up when it is dropped.
pub(crate) struct Items<M: Machine + 'static> {
    frames: &'static Frames<M>,
    first: Option<Pfn>,
    /// The node that takes the next item, and the last one.
    current: Option<Pfn>,
    last: Option<Pfn>,
    in_current: usize,
    count: usize,
    room: usize,
}

impl Item {
    const KIND: u64 = 3;
    const PAGE: u64 = 1;
    const NAMED: u64 = 2;

    const fn entry(self) -> Entry {
        Entry::from_bits(match self {
            Self::Fresh { pages } => pages << 12,
            Self::Page { pfn } => pfn.get() << 12 | Self::PAGE,
            Self::Named { slot } => slot.bits() << 2 | Self::NAMED,
        })
    }

    const fn of(entry: Entry) -> Self {
        let number = entry.bits() >> 12;
        match entry.bits() & Self::KIND {
            Self::PAGE => Self::Page { pfn: Pfn::new(number) },
            Self::NAMED => Self::Named { slot: Slot::of_bits(entry.bits() >> 2) },
            _ => Self::Fresh { pages: number },
        }
    }
}

impl<M: Machine> Items<M> {
    pub(crate) const fn new(frames: &'static Frames<M>) -> Self {
        Self { frames, first: None, current: None, last: None, in_current: 0, count: 0, room: 0 }
    }

    pub(crate) const fn frames(&self) -> &'static Frames<M> {
        self.frames
    }

    /// Returns how many items there is room for.
    pub(crate) const fn room(&self) -> usize {
        self.room
    }

    /// Adds a frame, which is the list's from here on.
    pub(crate) fn add_node(&mut self, node: Frame) {
        let node = node.into_pfn();
        self.word(node, 0).store(Entry::EMPTY);
        match self.last {
            Some(last) => self.word(last, 0).store(link(node)),
            None => (self.first, self.current) = (Some(node), Some(node)),
        }
        self.last = Some(node);
        self.room += PER_NODE;
    }

    /// Adds an item. The list holds the frame of a page from here on. Fresh pages join those before them, so that a run of
    /// them is one item, and gets words as large as its place allows.
    pub(crate) fn push(&mut self, item: Item) -> Result<(), Full> {
        let mut node = self.current.ok_or(Full)?;
        if let Item::Fresh { pages } = item
            && self.count > 0
            && let Item::Fresh { pages: before } = Item::of(self.word(node, self.in_current).load())
        {
            self.word(node, self.in_current).store(Item::Fresh { pages: before + pages }.entry());
            return Ok(());
        }
        if self.in_current == PER_NODE {
            node = self.next(node).ok_or(Full)?;
            (self.current, self.in_current) = (Some(node), 0);
        }
        self.in_current += 1;
        self.word(node, self.in_current).store(item.entry());
        self.count += 1;
        self.room -= 1;
        Ok(())
    }

    pub(crate) fn for_each(&self, mut act: impl FnMut(Item)) {
        let mut left = self.count;
        let mut node = self.first;
        while let (Some(here), true) = (node, left > 0) {
            for index in 1..=left.min(PER_NODE) {
                act(Item::of(self.word(here, index).load()));
            }
            left -= left.min(PER_NODE);
            node = self.next(here);
        }
    }

    /// Gives up the list, whose frames other words hold now.
    pub(crate) fn forget(mut self) {
        self.count = 0;
    }

    fn next(&self, node: Pfn) -> Option<Pfn> {
        let link = self.word(node, 0).load();
        (link != Entry::EMPTY).then(|| Pfn::new((link.bits() & bits::ADDRESS) >> 12))
    }

    fn word(&self, node: Pfn, index: usize) -> &TableEntry {
        let place = self.frames.machine().direct(node.addr()).plus(Entry::offset(index));
        // SAFETY: a word of a frame of the direct map that is the list's alone, for as long as the list has it (I1).
        unsafe { TableEntry::at(place) }
    }
}

const fn link(node: Pfn) -> Entry {
    Entry::from_bits(node.get() << 12 | 1)
}

impl<M: Machine> Drop for Items<M> {
    fn drop(&mut self) {
        let guard = self.frames.machine().pin();
        let pinned = guard.pinned();
        let shared = Marks::new(Protection::Nothing, Inherit::Copy).shared();
        self.for_each(|item| {
            match item {
                Item::Fresh { .. } => {}
                // SAFETY: the item held the frame, which has a count, and no CPU reaches it by the item.
                Item::Page { pfn } => unsafe { share::give_up(self.frames, pinned, pfn, shared) },
                // SAFETY: the item held the sheet, and no CPU reaches a page of it by the item.
                Item::Named { slot } => unsafe { sheet::give_up(self.frames, pinned, slot.sheet, 1) },
            }
        });
        let mut node = self.first.take();
        while let Some(here) = node {
            node = self.next(here);
            // SAFETY: the node was the list's alone.
            unsafe { share::free(self.frames, pinned, here) };
        }
    }
}

const _: () = assert!(PageSize::Size4K.bytes() as usize == ENTRIES * size_of::<Entry>());
