//! `bitmap-allocator`: a segment tree of bitmaps, 16 branches a node. It has no lock of its own.

use bitmap_allocator::{BitAlloc, BitAlloc1M, BitAlloc16M};
use rhumb_machine::{Order, Pfn, Pinned};
use spin::Mutex;

use crate::driver::Unfit;
use crate::frames::subject::{FrameSubject, Region};

/// The capacity of [`Small`]: 4 GiB.
pub(super) const SMALL_FRAMES: u64 = BitAlloc1M::CAP as u64;

/// Up to 4 GiB.
pub(super) type Small = Bitmap<BitAlloc1M>;
/// Up to 64 GiB.
pub(super) type Large = Bitmap<BitAlloc16M>;

/// The tree, boxed: it is too large for a stack.
pub(super) struct Bitmap<B> {
    tree: Mutex<Box<B>>,
    first: Pfn,
}

impl<B: BitAlloc + Send + 'static> FrameSubject for Bitmap<B> {
    const NAME: &'static str = "bitmap-allocator";
    type Held = usize;
    type Storage = Box<B>;

    fn storage(region: &Region) -> Result<Self::Storage, Unfit> {
        if region.frames().frames() > B::CAP as u64 {
            return Err(Unfit(format!("its largest type but one holds {} frames", B::CAP)));
        }
        let mut tree = Box::<B>::new_uninit();
        // SAFETY: `BitAlloc` is implemented by trees of `u16` alone, for which zero is a value: the empty set, as
        // `B::DEFAULT` has it. Writing the bytes touches the memory.
        let mut tree = unsafe {
            tree.as_mut_ptr().write_bytes(0, 1);
            tree.assume_init()
        };
        std::hint::black_box(&mut tree);
        Ok(tree)
    }

    fn new(region: &Region, mut tree: Self::Storage) -> Result<Self, Unfit> {
        tree.insert(0..region.frames().frames() as usize);
        Ok(Self { tree: Mutex::new(tree), first: region.frames().start() })
    }

    /// Of all frames that the type can hold: it comes in powers of 16 only.
    fn metadata_bytes(&self) -> Option<u64> {
        Some(size_of::<B>() as u64)
    }

    #[inline]
    fn get(&self, _pinned: Pinned<'_>, order: Order) -> Option<usize> {
        let mut tree = self.tree.lock();
        if order == Order::BASE {
            tree.alloc()
        } else {
            tree.alloc_contiguous(None, order.frames() as usize, order.get().into())
        }
    }

    #[inline]
    fn put(&self, _pinned: Pinned<'_>, index: usize, order: Order) {
        let mut tree = self.tree.lock();
        if order == Order::BASE {
            tree.dealloc(index);
        } else {
            tree.dealloc_contiguous(index, order.frames() as usize);
        }
    }

    #[inline]
    fn first(&self, index: &usize) -> Pfn {
        self.first.plus(*index as u64)
    }
}
