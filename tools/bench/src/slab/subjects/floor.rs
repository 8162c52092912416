//! The floor: as little as an allocator of objects can do. For each CPU and size class an array of free objects and a
//! full one in reserve; whole arrays are exchanged at a depot under a lock; fresh objects come from the end of what was
//! used. No slabs, no way back for memory, no checks: it shows what the harness and the caches cost.

use std::alloc::Layout;
use std::cell::UnsafeCell;
use std::ptr::NonNull;

use rhumb_machine::Pinned;

use crate::driver::Unfit;
use crate::slab::subject::{ObjectSubject, Place};

/// Objects of a magazine: 2 KiB of pointers.
const ROUNDS: usize = 256;
/// The largest object, and how far apart classes are, in bytes.
const LARGEST_BYTES: usize = 2048;
const STEP_BYTES: usize = 64;
const CLASSES: usize = LARGEST_BYTES / STEP_BYTES + 1;

/// A stack of free objects.
struct Magazine {
    top: usize,
    objects: [*mut u8; ROUNDS],
}

impl Magazine {
    fn empty() -> Box<Self> {
        Box::new(Self { top: 0, objects: [std::ptr::null_mut(); ROUNDS] })
    }
}

/// A CPU's part of a class.
#[repr(align(128))]
struct Local {
    loaded: Box<Magazine>,
    other: Box<Magazine>,
}

/// The part of a class that all CPUs share.
#[derive(Default)]
#[expect(clippy::vec_box, reason = "whole magazines are exchanged, not copied")]
struct Depot {
    full: Vec<Box<Magazine>>,
    empty: Vec<Box<Magazine>>,
}

/// Classes by size, locals by CPU and class.
pub(super) struct Floor {
    locals: Box<[UnsafeCell<Local>]>,
    depots: Box<[spin::Mutex<Depot>]>,
    /// The unused rest of the region: address and end.
    fresh: spin::Mutex<(usize, usize)>,
}

// SAFETY: a local is reached with its CPU's token alone, by one thread at a time; the rest is locked.
unsafe impl Sync for Floor {}
// SAFETY: it owns what it points to.
unsafe impl Send for Floor {}
// SAFETY: free objects have no user.
unsafe impl Send for Magazine {}

#[inline(always)]
fn class_of(bytes: usize) -> usize {
    bytes.div_ceil(STEP_BYTES) % CLASSES
}

impl Floor {
    #[cold]
    #[inline(never)]
    fn refill(&self, local: &mut Local, class: usize) {
        std::mem::swap(&mut local.loaded, &mut local.other);
        if local.loaded.top > 0 {
            return;
        }
        let mut depot = self.depots[class].lock();
        if let Some(full) = depot.full.pop() {
            depot.empty.push(std::mem::replace(&mut local.loaded, full));
            return;
        }
        drop(depot);
        let (bytes, mut fresh) = (class * STEP_BYTES, self.fresh.lock());
        // A page at a time, so that small classes do not touch what they never use.
        let count = (4096 / bytes).clamp(1, ROUNDS).min((fresh.1 - fresh.0) / bytes);
        for index in (0..count).rev() {
            local.loaded.objects[local.loaded.top] = (fresh.0 + index * bytes) as *mut u8;
            local.loaded.top += 1;
        }
        fresh.0 += count * bytes;
    }

    #[cold]
    #[inline(never)]
    fn empty(&self, local: &mut Local, class: usize) {
        std::mem::swap(&mut local.loaded, &mut local.other);
        if local.loaded.top < ROUNDS {
            return;
        }
        let mut depot = self.depots[class].lock();
        let empty = depot.empty.pop().unwrap_or_else(Magazine::empty);
        depot.full.push(std::mem::replace(&mut local.loaded, empty));
    }
}

impl ObjectSubject for Floor {
    const NAME: &'static str = crate::report::FLOOR;

    fn fresh(place: &Place, _one_size: Layout) -> Result<Self, Unfit> {
        let local = |_| UnsafeCell::new(Local { loaded: Magazine::empty(), other: Magazine::empty() });
        Ok(Self {
            locals: (0..place.cpus * CLASSES).map(local).collect(),
            depots: (0..CLASSES).map(|_| spin::Mutex::default()).collect(),
            fresh: spin::Mutex::new((place.base() as usize, place.base() as usize + place.bytes())),
        })
    }

    #[inline(always)]
    fn get(&self, pinned: Pinned<'_>, layout: Layout) -> Option<NonNull<u8>> {
        let class = class_of(layout.size());
        // SAFETY: the token is this CPU's, and no reference to its magazines outlives a call.
        let local = unsafe { &mut *self.locals[pinned.cpu().index() * CLASSES + class].get() };
        if local.loaded.top == 0 {
            self.refill(local, class);
        }
        let magazine = &mut *local.loaded;
        magazine.top = magazine.top.checked_sub(1)?;
        NonNull::new(magazine.objects[magazine.top % ROUNDS])
    }

    #[inline(always)]
    unsafe fn put(&self, pinned: Pinned<'_>, object: NonNull<u8>, layout: Layout) {
        let class = class_of(layout.size());
        // SAFETY: the token is this CPU's, and no reference to its magazines outlives a call.
        let local = unsafe { &mut *self.locals[pinned.cpu().index() * CLASSES + class].get() };
        if local.loaded.top == ROUNDS {
            self.empty(local, class);
        }
        let magazine = &mut *local.loaded;
        magazine.objects[magazine.top % ROUNDS] = object.as_ptr();
        magazine.top += 1;
    }
}
