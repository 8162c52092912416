//! A slab's header: 64 bytes outside of the slab's pages (128 where a slab has more than 256 objects). A leaf where
//! `unsafe` lives.
//!
//! ```text
//!  0      next, previous      the slabs beside it in its bin
//!  16     first               the address of the first slot
//!  24     cache, free, node, bin, order
//!  32     a bit for each free slot: four words, or eight
//! ```
//! What is free is one bit, not a link through the object: a free touches no line of the object; there is nothing in
//! the object that an overrun could corrupt, so nothing to harden; a slot that is freed twice is seen; and 64 objects
//! that come back together cost one line.
//!
//! All of it belongs to the holder of the node's lock, but for `first`, `cache` and `node`, which stay as they are
//! while any of the slab's objects is out.

use core::ptr::NonNull;

use crate::magazine::Round;
use crate::shape::Shape;

#[repr(C, align(64))]
struct Header {
    next: Option<Slab>,
    previous: Option<Slab>,
    first: usize,
    cache: u16,
    free: u16,
    node: u8,
    bin: u8,
    order: u8,
    bits: [u64; 4],
}

const _: () = assert!(size_of::<Header>() == 64 && core::mem::offset_of!(Header, bits) == 32);

/// Bytes of the header of a slab with this many words of bits.
pub(crate) const fn header_bytes(words: usize) -> usize {
    if words <= 4 { 64 } else { 128 }
}

/// Reads a field of a slab's header, and no other byte: others may be written meanwhile.
macro_rules! read {
    ($slab:expr, $field:ident) => {
        // SAFETY: a slab's header lives as long as its name; the field is the lock holder's, or does not change.
        unsafe { (*$slab.0.as_ptr()).$field }
    };
}

/// Writes a field of a slab's header.
macro_rules! write {
    ($slab:expr, $field:ident, $value:expr) => {{
        let value = $value;
        // SAFETY: a slab's header lives as long as its name; the caller holds the lock.
        unsafe { (*$slab.0.as_ptr()).$field = value }
    }};
}

/// A slab, named by its header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Slab(NonNull<Header>);

// SAFETY: it is a number; who touches the header is settled by the node's lock.
unsafe impl Send for Slab {}

/// Which slot was found to be free already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct AlreadyFree;

impl Slab {
    /// A slab all of whose slots are free.
    ///
    /// # Safety
    /// `cell` is the caller's alone and has [`header_bytes`]; `first` is where the slots begin.
    pub(crate) unsafe fn place(cell: NonNull<u8>, first: usize, cache: u16, node: u8, shape: &Shape) -> Self {
        let header = cell.cast::<Header>();
        let order = shape.order.get();
        let new = Header {
            next: None,
            previous: None,
            first,
            cache,
            free: shape.objects as u16,
            node,
            bin: u8::MAX,
            order,
            bits: [0; 4],
        };
        // SAFETY: the caller's promise; cells are aligned to their size.
        unsafe { header.write(new) };
        let slab = Self(header);
        for word in 0..shape.words() {
            let slots = shape.objects - word as u32 * 64;
            slab.set_word(word, if slots >= 64 { u64::MAX } else { (1 << slots) - 1 });
        }
        slab
    }

    /// The slab that a frame's private word names.
    ///
    /// # Safety
    /// The word was made by [`Slab::to_private`], of a slab that lives.
    pub(crate) unsafe fn from_private(word: u64) -> Option<Self> {
        NonNull::new(core::ptr::with_exposed_provenance_mut(word as usize)).map(Self)
    }

    pub(crate) fn to_private(self) -> u64 {
        self.0.as_ptr().expose_provenance() as u64
    }

    pub(crate) const fn cell(self) -> NonNull<u8> {
        self.0.cast()
    }

    const fn word_at(self, word: usize) -> *mut u64 {
        // SAFETY: the bits follow the first 32 bytes of the header; words are below the shape's count, for which the
        // cell was made.
        unsafe { self.0.as_ptr().cast::<u64>().add(core::mem::offset_of!(Header, bits) / 8 + word) }
    }

    pub(crate) fn word(self, word: usize) -> u64 {
        // SAFETY: see `word_at`; read under the lock.
        unsafe { self.word_at(word).read() }
    }

    fn set_word(self, word: usize, bits: u64) {
        // SAFETY: see `word_at`; written under the lock.
        unsafe { self.word_at(word).write(bits) }
    }

    pub(crate) fn first(self) -> usize {
        read!(self, first)
    }

    /// The address of the slab's memory.
    pub(crate) fn start(self) -> Option<NonNull<u8>> {
        // Colours are less than a page.
        NonNull::new(core::ptr::with_exposed_provenance_mut(read!(self, first) & !4095))
    }

    pub(crate) fn cache(self) -> u16 {
        read!(self, cache)
    }

    pub(crate) fn node(self) -> usize {
        usize::from(read!(self, node))
    }

    pub(crate) fn free(self) -> u32 {
        u32::from(read!(self, free))
    }

    pub(crate) fn bin(self) -> usize {
        usize::from(read!(self, bin))
    }

    pub(crate) fn set_bin(self, bin: usize) {
        write!(self, bin, bin as u8);
    }

    pub(crate) fn next(self) -> Option<Self> {
        read!(self, next)
    }

    pub(crate) fn set_next(self, next: Option<Self>) {
        write!(self, next, next);
    }

    pub(crate) fn previous(self) -> Option<Self> {
        read!(self, previous)
    }

    pub(crate) fn set_previous(self, previous: Option<Self>) {
        write!(self, previous, previous);
    }

    /// The slot that begins at `address`.
    pub(crate) fn index(self, shape: &Shape, address: usize) -> Option<u32> {
        shape.index(address.checked_sub(self.first())?)
    }

    pub(crate) fn slot(self, shape: &Shape, index: u32) -> usize {
        self.first() + (index * shape.slot_bytes) as usize
    }

    pub(crate) fn is_free(self, index: u32) -> bool {
        self.word(index as usize / 64) & 1 << (index % 64) != 0
    }

    /// Takes up to `want` free slots, lowest first, and says how many.
    pub(crate) fn take(self, shape: &Shape, want: u32, mut each: impl FnMut(Round)) -> u32 {
        let mut taken = 0;
        for word in 0..shape.words() {
            let mut bits = self.word(word);
            while bits != 0 && taken < want {
                let index = word as u32 * 64 + bits.trailing_zeros();
                bits &= bits - 1;
                taken += 1;
                // SAFETY: a slot's address is not null.
                each(unsafe {
                    NonNull::new_unchecked(core::ptr::with_exposed_provenance_mut(self.slot(shape, index)))
                });
            }
            self.set_word(word, bits);
            if taken == want {
                break;
            }
        }
        write!(self, free, read!(self, free) - taken as u16);
        taken
    }

    /// Frees a slot.
    ///
    /// # Errors
    /// It is free already; then nothing has changed.
    pub(crate) fn put(self, index: u32) -> Result<(), AlreadyFree> {
        let word = self.word(index as usize / 64);
        let bit = 1 << (index % 64);
        if word & bit != 0 {
            return Err(AlreadyFree);
        }
        self.set_word(index as usize / 64, word | bit);
        write!(self, free, read!(self, free) + 1);
        Ok(())
    }
}
