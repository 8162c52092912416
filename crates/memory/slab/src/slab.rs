//! A slab's header: 64 bytes outside of the slab's pages (128 where a slab has more than 128 objects). A leaf where
//! `unsafe` lives.
//!
//! ```text
//!  0      next, previous      the slabs beside it in its bin
//!  16     newer, older        the slabs of its node that were made after it and before it
//!  32     first               the address of the first slot
//!  40     cache, free, node, bin
//!  48     a bit for each free slot: two words, or eight
//! ```
//! A free object is one bit, not a link through the object: a free touches no line of the object; there is nothing in
//! the object that an overrun could corrupt, so nothing to harden; a slot that is freed twice is seen; and 64 objects
//! that come back together cost one line.
//!
//! All of it belongs to the holder of the node's lock, but for `first`, `cache` and `node`, which stay as they are
//! while any of the slab's objects is out. The bits are atomics: checks look without the lock whether an object of
//! theirs is free.

use core::ptr::NonNull;
// Those of `core` also in a build for a model checker, whose atomics cannot lie in the bytes of a cell. The node's lock
// orders all accesses but those of checks, which may see an old bit.
use core::sync::atomic::AtomicU64;

use rhumb_machine::impossible;

use crate::magazine::Round;
use crate::shape::Shape;
use rhumb_sync::atomic::Relaxed;

#[repr(C, align(64))]
struct Header {
    next: Option<SlabRef>,
    previous: Option<SlabRef>,
    newer: Option<SlabRef>,
    older: Option<SlabRef>,
    first: usize,
    cache: u16,
    free: u16,
    node: u8,
    bin: u8,
    bits: [AtomicU64; NEAR_WORDS],
}

/// Words of bits in the first 64 bytes.
const NEAR_WORDS: usize = 2;

const _: () = assert!(
    size_of::<Header>() == 64 && core::mem::offset_of!(Header, bits) == 48,
    "a slab's header is laid out for addresses of 64 bits"
);

/// Returns how many bytes the header of a slab with this many words of bits has.
pub(crate) const fn header_bytes(words: usize) -> usize {
    if words <= NEAR_WORDS { 64 } else { 128 }
}

/// Reads a field of a slab's header, and no other byte: others may be written meanwhile.
macro_rules! read {
    ($slab:expr, $field:ident) => {{
        rhumb_sync::counted::read($slab.0.as_ptr());
        // SAFETY: a slab's header lives as long as its name is followed; the field belongs to the holder of the lock,
        // or does not change while an object is out.
        unsafe { (*$slab.0.as_ptr()).$field }
    }};
}

/// Writes a field of a slab's header.
macro_rules! write {
    ($slab:expr, $field:ident, $value:expr) => {{
        let value = $value;
        rhumb_sync::counted::written($slab.0.as_ptr());
        // SAFETY: a slab's header lives as long as its name is followed; the field belongs to the holder of the lock,
        // which is the caller.
        unsafe { (*$slab.0.as_ptr()).$field = value }
    }};
}

/// Makes a reader and a writer for each link of a header.
macro_rules! links {
    ($($field:ident $set:ident,)*) => {$(
        pub(crate) fn $field(self) -> Option<Self> {
            read!(self, $field)
        }

        pub(crate) fn $set(self, slab: Option<Self>) {
            write!(self, $field, slab);
        }
    )*};
}

/// A slab that is in no list of a node. The value is moved, not copied: its holder is the only one, so that the holder
/// may add the slab to a node or give its memory back.
#[derive(Debug)]
#[must_use = "the frames of a slab that is dropped are lost"]
pub(crate) struct Slab(SlabRef);

impl Slab {
    /// Makes a slab whose slots are all free.
    ///
    /// # Safety
    /// `cell` is the caller's alone and has [`header_bytes`]; `first` is where the slots begin.
    pub(crate) unsafe fn place(cell: NonNull<u8>, first: usize, cache: u16, node: u8, shape: &Shape) -> Self {
        let header = cell.cast::<Header>();
        let new = Header {
            next: None,
            previous: None,
            newer: None,
            older: None,
            first,
            cache,
            free: shape.objects as u16,
            node,
            bin: u8::MAX,
            bits: [const { AtomicU64::new(0) }; NEAR_WORDS],
        };
        // SAFETY: the cell is the caller's alone, and cells are aligned to their size.
        unsafe { header.write(new) };
        let slab = SlabRef(header);
        (0..shape.words()).for_each(|word| slab.set_word(word, slots_of(shape, word)));
        Self(slab)
    }

    /// Returns the slab that the caller has just taken out of its node's lists.
    pub(crate) const fn taken_out(slab: SlabRef) -> Self {
        Self(slab)
    }

    /// Returns the name under which the slab is in its node's lists from here on.
    pub(crate) const fn into_list(self) -> SlabRef {
        self.0
    }

    /// Returns the slab's name, to look at it.
    pub(crate) const fn name(&self) -> SlabRef {
        self.0
    }
}

/// The name of a slab, as lists, descriptors and objects lead to it. The holder of the node's lock may follow it, and
/// so may the holder of an object that is out, which keeps the slab where it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SlabRef(NonNull<Header>);

// SAFETY: a name is an address; the node's lock says which CPU may touch the header.
unsafe impl Send for SlabRef {}

/// Returns a bit for each slot that a word has.
fn slots_of(shape: &Shape, word: usize) -> u64 {
    let slots = shape.objects - word as u32 * 64;
    if slots >= 64 { u64::MAX } else { (1 << slots) - 1 }
}

/// The slot is free already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct AlreadyFree;

impl SlabRef {
    /// Returns the slab that a frame's private word names.
    ///
    /// # Safety
    /// The word was made by [`SlabRef::to_private`], of a slab that lives.
    pub(crate) unsafe fn from_private(word: u64) -> Option<Self> {
        NonNull::new(core::ptr::with_exposed_provenance_mut(word as usize)).map(Self)
    }

    pub(crate) fn to_private(self) -> u64 {
        self.0.as_ptr().expose_provenance() as u64
    }

    pub(crate) const fn cell(self) -> NonNull<u8> {
        self.0.cast()
    }

    const fn word_at(&self, word: usize) -> &AtomicU64 {
        // SAFETY: the bits follow the first 48 bytes of the header; words are below the shape's count, for which the
        // cell was made. Any bits are an atomic's value.
        unsafe { self.0.cast::<AtomicU64>().add(core::mem::offset_of!(Header, bits) / 8 + word).as_ref() }
    }

    pub(crate) fn word(self, word: usize) -> u64 {
        rhumb_sync::counted::read(self.word_at(word));
        self.word_at(word).load(Relaxed)
    }

    /// Sets a word of bits. For the holder of the lock.
    fn set_word(self, word: usize, bits: u64) {
        rhumb_sync::counted::written(self.word_at(word));
        self.word_at(word).store(bits, Relaxed);
    }

    pub(crate) fn first(self) -> usize {
        read!(self, first)
    }

    /// Returns the address of the slab's memory.
    pub(crate) fn start(self) -> NonNull<u8> {
        // Colours are less than a page.
        let start = core::ptr::with_exposed_provenance_mut(read!(self, first) & !4095);
        NonNull::new(start).unwrap_or_else(|| impossible!("a slab at address 0" => NonNull::dangling()))
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

    links! {
        next set_next,
        previous set_previous,
        newer set_newer,
        older set_older,
    }

    /// Returns the slot that begins at `address`.
    pub(crate) fn index(self, shape: &Shape, address: usize) -> Option<u32> {
        shape.index(address.checked_sub(self.first())?)
    }

    pub(crate) fn slot(self, shape: &Shape, index: u32) -> usize {
        self.first() + (index * shape.slot_bytes) as usize
    }

    /// Returns the slots of a word that are out, as bits.
    pub(crate) fn out(self, shape: &Shape, word: usize) -> u64 {
        !self.word(word) & slots_of(shape, word)
    }

    /// Returns the objects in the slots that `bits` names of a word.
    pub(crate) fn objects(
        self,
        shape: &Shape,
        word: usize,
        bits: u64,
    ) -> impl Iterator<Item = Round> + use<> {
        let (shape, first) = (*shape, word as u32 * 64);
        let some = |bits: u64| (bits != 0).then_some(bits);
        core::iter::successors(some(bits), move |bits| some(bits & (bits - 1))).filter_map(move |bits| {
            let at = self.slot(&shape, first + bits.trailing_zeros()) + shape.lead as usize;
            NonNull::new(core::ptr::with_exposed_provenance_mut(at))
        })
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
                // SAFETY: the slot lies in the slab's memory, which is not at address 0.
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
