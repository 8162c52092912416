//! Doubly linked lists through descriptors, with a cursor at any frame that says that it is in the list.

use core::marker::PhantomData;
use core::sync::atomic::{AtomicU64, Ordering};

use super::UniqueFrame;
use super::meta::{self, AnyFrameMeta, MetaSlot};
use crate::mm::Paddr;

type Node = Option<&'static MetaSlot>;

/// Metadata with links.
#[derive(Debug)]
pub struct Link<M> {
    next: Node,
    previous: Node,
    meta: M,
}

impl<M> Link<M> {
    /// In no list.
    pub const fn new(meta: M) -> Self {
        Self { next: None, previous: None, meta }
    }
}

impl<M> core::ops::Deref for Link<M> {
    type Target = M;

    #[inline]
    fn deref(&self) -> &M {
        &self.meta
    }
}

impl<M> core::ops::DerefMut for Link<M> {
    #[inline]
    fn deref_mut(&mut self) -> &mut M {
        &mut self.meta
    }
}

impl<M: core::fmt::Debug> AnyFrameMeta for Link<M> {}

/// A list.
#[derive(Debug)]
pub struct LinkedList<M> {
    front: Node,
    back: Node,
    size: usize,
    /// A number that each frame in the list bears; 0 until it is needed.
    id: u64,
    _meta: PhantomData<M>,
}

/// A place in a list.
#[derive(Debug)]
pub struct CursorMut<'list, M> {
    list: &'list mut LinkedList<M>,
    current: Node,
}

impl<M: core::fmt::Debug> LinkedList<M> {
    /// Empty.
    pub const fn new() -> Self {
        Self { front: None, back: None, size: 0, id: 0, _meta: PhantomData }
    }

    /// Tells whether it is empty.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.size == 0
    }

    fn id(&mut self) -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        if self.id == 0 {
            self.id = NEXT.fetch_add(1, Ordering::Relaxed);
        }
        self.id
    }

    fn link(slot: &'static MetaSlot) -> *mut Link<M> {
        slot.meta_ptr()
    }

    /// Adds a frame.
    #[inline]
    pub fn push_front(&mut self, mut frame: UniqueFrame<Link<M>>) {
        let slot = frame.slot;
        frame.meta_mut().next = self.front;
        match self.front {
            // SAFETY: frames in the list belong to it, and the list is borrowed mutably.
            Some(front) => unsafe { (*Self::link(front)).previous = Some(slot) },
            None => self.back = Some(slot),
        }
        self.front = Some(slot);
        slot.in_list.store(self.id(), Ordering::Relaxed);
        self.size += 1;
    }

    /// Takes the first.
    #[inline]
    pub fn pop_front(&mut self) -> Option<UniqueFrame<Link<M>>> {
        let current = self.front;
        CursorMut { list: self, current }.take_current()
    }

    /// Returns the place of a frame, if it is in this list.
    #[inline]
    pub fn cursor_mut_at(&mut self, frame: Paddr) -> Option<CursorMut<'_, M>> {
        let slot = meta::slot(frame)?;
        if slot.in_list.load(Ordering::Relaxed) != self.id() {
            return None;
        }
        Some(CursorMut { list: self, current: Some(slot) })
    }
}

impl<M: core::fmt::Debug> Default for LinkedList<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: core::fmt::Debug> CursorMut<'_, M> {
    /// Takes the frame out of the list.
    #[inline]
    pub fn take_current(&mut self) -> Option<UniqueFrame<Link<M>>> {
        let slot = self.current?;
        let mut frame = UniqueFrame::<Link<M>> { slot, _meta: PhantomData };
        let (next, previous) = (frame.meta_mut().next.take(), frame.meta_mut().previous.take());
        match previous {
            // SAFETY: frames in the list belong to it, and the list is borrowed mutably.
            Some(previous) => unsafe { (*LinkedList::<M>::link(previous)).next = next },
            None => self.list.front = next,
        }
        match next {
            // SAFETY: as above.
            Some(next) => unsafe { (*LinkedList::<M>::link(next)).previous = previous },
            None => self.list.back = previous,
        }
        slot.in_list.store(0, Ordering::Relaxed);
        self.current = next;
        self.list.size -= 1;
        Some(frame)
    }
}
