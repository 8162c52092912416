//! Magazines: arrays of objects that move as one; and stacks of them. A leaf where `unsafe` lives.
//!
//! ```text
//!   magazine:  | next* | count | room | round 0 | round 1 | ... |
//! ```

use core::ptr::NonNull;

use rhumb_sync::atomic::{AtomicPtr, AtomicU32, Relaxed};
use rhumb_sync::counted;

#[repr(C)]
struct Head {
    next: Option<Magazine>,
    /// The rounds in it, while it is not loaded.
    count: u32,
    /// The rounds that it may hold.
    room: u32,
}

/// A magazine: memory of this crate's own. The value is moved, not copied, so that each magazine has one holder.
#[derive(PartialEq, Eq, Debug)]
#[must_use = "the memory of a magazine that is dropped is lost"]
pub(crate) struct Magazine(NonNull<Head>);

// SAFETY: a magazine owns its memory, which any CPU can reach, and a CPU uses it only as its holder.
unsafe impl Send for Magazine {}

/// An object's address in a magazine.
pub(crate) type Round = NonNull<u8>;

impl Magazine {
    /// Returns how many bytes a magazine for so many rounds takes.
    pub(crate) const fn bytes_for(room: u32) -> usize {
        size_of::<Head>() + room as usize * size_of::<Round>()
    }

    /// Returns an empty magazine for `room` rounds in `cell`.
    ///
    /// # Safety
    /// The cell is the caller's alone, is aligned to 8, and has [`Magazine::bytes_for`] `room` rounds.
    pub(crate) unsafe fn place(cell: NonNull<u8>, room: u32) -> Self {
        let head = cell.cast::<Head>();
        // SAFETY: the caller promises that the cell is its own, large enough for a header, and aligned.
        unsafe { head.write(Head { next: None, count: 0, room }) };
        Self(head)
    }

    /// Returns the memory that it was placed in.
    pub(crate) const fn cell(&self) -> NonNull<u8> {
        self.0.cast()
    }

    fn head(&self) -> &Head {
        counted::read(self.0.as_ptr());
        // SAFETY: `place` wrote the header, and its memory belongs to the magazine's one holder, which lends it here.
        unsafe { self.0.as_ref() }
    }

    fn head_mut(&mut self) -> &mut Head {
        counted::written(self.0.as_ptr());
        // SAFETY: `place` wrote the header, and its memory belongs to the magazine's one holder, which lends it
        // exclusively here.
        unsafe { self.0.as_mut() }
    }

    /// Returns how many rounds it may hold.
    pub(crate) fn room(&self) -> u32 {
        self.head().room
    }

    /// Returns how many bytes its cell has.
    pub(crate) fn bytes(&self) -> usize {
        Self::bytes_for(self.room())
    }

    pub(crate) const fn rounds(&self) -> *mut Round {
        // SAFETY: the rounds follow the header in the same cell.
        unsafe { self.0.as_ptr().add(1).cast() }
    }

    /// Takes the magazine whose rounds these are; none where they are null.
    ///
    /// # Safety
    /// They are the [`Magazine::rounds`] of a magazine that nothing holds.
    pub(crate) const unsafe fn from_rounds(rounds: *mut Round) -> Option<Self> {
        if rounds.is_null() {
            return None;
        }
        // SAFETY: the caller promises that these are a magazine's rounds, and its header lies before them in one cell.
        Some(Self(unsafe { NonNull::new_unchecked(rounds.cast::<Head>().sub(1)) }))
    }

    pub(crate) fn count(&self) -> u32 {
        self.head().count
    }

    pub(crate) fn set_count(&mut self, count: u32) {
        self.head_mut().count = count;
    }

    pub(crate) fn take_next(&mut self) -> Option<Self> {
        self.head_mut().next.take()
    }

    /// Links a magazine behind this one, which has none behind it.
    pub(crate) fn set_next(&mut self, next: Option<Self>) {
        self.head_mut().next = next;
    }

    /// Returns the `index`-th round, which the caller has set.
    pub(crate) fn round(&self, index: u32) -> Round {
        debug_assert!(index < self.room(), "round {index} of {}", self.room());
        // SAFETY: the caller has set the round, so it is within the room and written; the memory belongs to the
        // magazine's one holder, which lends it here.
        unsafe {
            let round = self.rounds().add(index as usize);
            counted::read(round);
            round.read()
        }
    }

    /// Sets the `index`-th round, for which the caller knows that there is room.
    pub(crate) fn set_round(&mut self, index: u32, round: Round) {
        debug_assert!(index < self.room(), "round {index} of {}", self.room());
        // SAFETY: the caller knows that the magazine has this round; the memory belongs to the magazine's one holder,
        // which lends it exclusively here.
        unsafe {
            let place = self.rounds().add(index as usize);
            counted::written(place);
            place.write(round);
        }
    }

    /// Adds a round, for which the caller knows that there is room.
    pub(crate) fn push(&mut self, round: Round) {
        let count = self.count();
        self.set_round(count, round);
        self.set_count(count + 1);
    }

    /// Takes out the round that was added last.
    pub(crate) fn pop(&mut self) -> Option<Round> {
        let left = self.count().checked_sub(1)?;
        self.set_count(left);
        Some(self.round(left))
    }
}

/// Magazines one on another, linked through their own memory.
#[derive(Default)]
#[must_use = "the memory of magazines that are dropped is lost"]
pub(crate) struct Stack {
    top: Option<Magazine>,
    pub(crate) count: u32,
    /// Objects in them.
    pub(crate) objects: u32,
}

impl Stack {
    pub(crate) fn push(&mut self, mut magazine: Magazine) {
        self.count += 1;
        self.objects += magazine.count();
        magazine.set_next(self.top.take());
        self.top = Some(magazine);
    }

    pub(crate) fn pop(&mut self) -> Option<Magazine> {
        let mut magazine = self.top.take()?;
        self.top = magazine.take_next();
        self.count -= 1;
        self.objects -= magazine.count();
        Some(magazine)
    }

    /// Moves the magazines of `other` here, the top one first.
    pub(crate) fn append(&mut self, mut other: Self) {
        other.drain().for_each(|magazine| self.push(magazine));
    }

    /// Takes out each magazine, from the top on, for as long as the iterator is asked.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Magazine> + '_ {
        core::iter::from_fn(|| self.pop())
    }

    /// Takes out the top magazines, at most so many; the top one is the last of them.
    pub(crate) fn take_top(&mut self, most: u32) -> Self {
        let mut taken = Self::default();
        self.drain().take(most as usize).for_each(|magazine| taken.push(magazine));
        taken
    }

    /// Takes out all magazines but the `kept` at the top, whose objects were used last.
    pub(crate) fn take_below(&mut self, kept: u32) -> Self {
        let top = self.take_top(kept);
        let below = core::mem::take(self);
        self.append(top);
        below
    }
}

/// A [`Stack`] that one CPU changes, and at whose counts the others may look.
pub(crate) struct SharedStack {
    top: AtomicPtr<Head>,
    count: AtomicU32,
    objects: AtomicU32,
}

impl SharedStack {
    rhumb_sync::const_fn! {
        pub(crate) fn new() -> Self {
            let (count, objects) = (AtomicU32::new(0), AtomicU32::new(0));
            Self { top: AtomicPtr::new(core::ptr::null_mut()), count, objects }
        }
    }

    /// Returns how many magazines are in it; exact on its CPU, a glimpse on others.
    pub(crate) fn count(&self) -> u32 {
        self.count.load(Relaxed)
    }

    /// Returns how many objects are in its magazines; exact on its CPU, a glimpse on others.
    pub(crate) fn objects(&self) -> u32 {
        self.objects.load(Relaxed)
    }

    /// Takes out the top magazine. On its CPU, with interrupts off.
    #[inline]
    pub(crate) fn pop(&self) -> Option<Magazine> {
        if self.count() > 0 { self.with(Stack::pop) } else { None }
    }

    /// Changes the stack. On its CPU, with interrupts off: nothing looks into it meanwhile.
    pub(crate) fn with<A>(&self, change: impl FnOnce(&mut Stack) -> A) -> A {
        let top = NonNull::new(self.top.load(Relaxed)).map(Magazine);
        self.top.store(core::ptr::null_mut(), Relaxed);
        let mut stack = Stack { top, count: self.count(), objects: self.objects() };
        let result = change(&mut stack);
        self.count.store(stack.count, Relaxed);
        self.objects.store(stack.objects, Relaxed);
        let top = stack.top.map_or(core::ptr::null_mut(), |top| top.0.as_ptr());
        self.top.store(top, Relaxed);
        result
    }
}
