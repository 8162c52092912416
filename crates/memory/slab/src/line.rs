//! A CPU's part of a cache: a loaded magazine, and a few full and empty ones. The common path; a leaf where
//! `unsafe` lives.
//!
//! Only the CPU itself touches its line, as the [`rhumb_machine::Pinned`] token of the caller proves. The accesses are
//! relaxed atomics, which are plain instructions: no locked operation, no shared line, and no byte of the object. A
//! [`CpuGate`] keeps interrupt handlers out of an operation's middle: a handler that finds the gate busy goes to the
//! slabs, whose locks are taken with interrupts off only. Other CPUs ask for the magazines through the same gate, look
//! at the counts, and set those of visits and swaps to 0.
//!
//! ```text
//!   line:  | rounds* | count | gate: limit, busy | visits | swaps | full: top*, count, objects | empty: the same |
//! ```
//! The magazines that are not loaded are stacks, so that the one used last, which the CPU's caches still hold, is the
//! first to be used again, and the coldest ones leave. A CPU that has [`MOST_FULL`] gives all but [`KEPT`] of them away
//! in one visit to the node, and one that has none takes as many: between two visits in different directions lies the
//! work of [`KEPT`] magazines, and a magazine that was just given away is not taken back a moment later. Of objects
//! larger than 8 KiB, whose magazines have two rounds, a CPU keeps fewer: the work is that of one magazine then.

use rhumb_sync::atomic::{AtomicPtr, AtomicU32, Relaxed};
use rhumb_sync::{CpuGate, counted};

use crate::magazine::{Magazine, Round, SharedStack, Stack};

/// Full magazines beside the loaded one that a CPU keeps at most: 64 KiB of objects where magazines are the largest. Of
/// larger objects than 8 KiB there are fewer (see `shape.rs`). It keeps the magazines that it empties, because it
/// may fill them again, until its next visit to the node: beside the loaded one there are [`MOST_FULL`] + [`KEPT`] at
/// most.
pub(crate) const MOST_FULL: u32 = 4;
/// Full magazines that stay when others leave, the most that are taken at once, and the most empty ones that are kept.
pub(crate) const KEPT: u32 = MOST_FULL / 2;
// Else a line that is full has none to give away, and a free would ask it for some again and again. Shapes keep half of
// what they have at most, too.
const _: () = assert!(KEPT < MOST_FULL);

/// A CPU's part of one cache: a line of its own.
#[repr(C, align(64))]
pub(crate) struct CpuLine {
    /// The rounds of the loaded magazine; null where there is none, and then the count is 0, and the cap is 0 or
    /// negative. While magazines are exchanged, the cap is still that of the old one.
    rounds: AtomicPtr<Round>,
    count: AtomicU32,
    /// Its cap is how many rounds the loaded magazine may hold; 0 or less sends the next free to the slow path.
    pub(crate) gate: CpuGate,
    /// Visits to the node for magazines, and exchanges without a visit, since they were counted last.
    visits: AtomicU32,
    swaps: AtomicU32,
    /// Magazines with objects, most of them full.
    pub(crate) full: SharedStack,
    pub(crate) empty: SharedStack,
}

impl CpuLine {
    rhumb_sync::const_fn! {
        /// Makes a line that is closed: nothing is in it, and it has no room.
        pub(crate) fn new() -> Self {
            const { assert!(cfg!(any(loom, shuttle)) || size_of::<CpuLine>() == 64) };
            Self {
                rounds: AtomicPtr::new(core::ptr::null_mut()),
                count: AtomicU32::new(0),
                gate: CpuGate::new(),
                visits: AtomicU32::new(0),
                swaps: AtomicU32::new(0),
                full: SharedStack::new(),
                empty: SharedStack::new(),
            }
        }
    }

    /// Takes the newest object, unless the magazine is empty or the CPU's own operation was interrupted.
    #[inline(always)]
    pub(crate) fn pop(&self) -> Option<Round> {
        let popped = self.gate.alone(|| {
            // A word, so that the index needs no extension.
            let left = u64::from(self.count.load(Relaxed)).wrapping_sub(1);
            if (left as i64) < 0 {
                return None;
            }
            self.count.store(left as u32, Relaxed);
            // SAFETY: rounds below the count are written, and the loaded magazine is this CPU's alone: the gate keeps
            // this CPU's handlers away, and no other CPU touches it.
            Some(unsafe {
                let round = self.rounds.load(Relaxed).add(left as usize);
                counted::read(round);
                round.read()
            })
        });
        popped.flatten()
    }

    /// Keeps `object`, unless the magazine is full or the CPU's own operation was interrupted.
    #[inline(always)]
    pub(crate) fn push(&self, object: Round) -> bool {
        let kept = self.gate.alone(|| {
            let count = self.count.load(Relaxed);
            let fits = (count as i32) < self.gate.cap();
            if fits {
                // SAFETY: the cap is at most the room of the loaded magazine, which is this CPU's alone: the gate keeps
                // this CPU's handlers away, and no other CPU touches it.
                unsafe {
                    let round = self.rounds.load(Relaxed).add(count as usize);
                    counted::written(round);
                    round.write(object);
                }
                self.count.store(count + 1, Relaxed);
            }
            fits
        });
        kept == Some(true)
    }

    // From here on: on this CPU, with interrupts off, while the gate is not busy.

    pub(crate) fn is_loaded(&self) -> bool {
        !self.rounds.load(Relaxed).is_null()
    }

    /// Returns how many objects are in all magazines; exact on this CPU, a glimpse on others.
    pub(crate) fn objects(&self) -> u32 {
        self.count.load(Relaxed) + self.full.objects()
    }

    /// Tells whether there is any magazine; exact on this CPU, a glimpse on others.
    pub(crate) fn has_magazines(&self) -> bool {
        self.is_loaded() || self.full.count() > 0 || self.empty.count() > 0
    }

    /// Counts a visit to the node for magazines, and says how many there have been.
    pub(crate) fn count_visit(&self) -> u32 {
        let visits = self.visits.load(Relaxed).wrapping_add(1);
        self.visits.store(visits, Relaxed);
        visits
    }

    /// Takes the count of visits and swaps, which begins anew. From any CPU: one that is counted meanwhile may undo
    /// this, which does no harm.
    pub(crate) fn take_uses(&self) -> u32 {
        let uses = self.visits.load(Relaxed).saturating_add(self.swaps.load(Relaxed));
        self.visits.store(0, Relaxed);
        self.swaps.store(0, Relaxed);
        uses
    }

    /// Takes out the loaded magazine, its count set.
    pub(crate) fn unload(&self) -> Option<Magazine> {
        let magazine = self.take_loaded()?;
        self.gate.bound(0);
        Some(magazine)
    }

    /// Takes out the loaded magazine, its count set, and leaves the cap as it is, for a caller that sets the cap for
    /// another magazine next: a load where that one has as much room, instead of two locked operations.
    ///
    /// Until then the cap promises room that there is not. No object is kept meanwhile, because only this CPU keeps
    /// objects here, and it executes the caller: its interrupts are off, and a non-maskable interrupt's handler neither
    /// allocates nor frees. (The gate is not busy, so that no operation that was interrupted goes on with the old
    /// magazine afterwards.) Other CPUs only put their request in the cap's place, which [`CpuGate::bound`] leaves
    /// alone.
    fn take_loaded(&self) -> Option<Magazine> {
        // SAFETY: `load` stored the rounds and kept no handle to their magazine; they leave the line below.
        let mut magazine = unsafe { Magazine::from_rounds(self.rounds.load(Relaxed)) }?;
        magazine.set_count(self.count.load(Relaxed));
        self.count.store(0, Relaxed);
        self.rounds.store(core::ptr::null_mut(), Relaxed);
        Some(magazine)
    }

    /// Loads `magazine`; the loaded one goes where it belongs by now, to the full or the empty ones.
    pub(crate) fn exchange(&self, magazine: Magazine) {
        if let Some(loaded) = self.take_loaded() {
            self.keep(loaded);
        }
        self.load(magazine);
    }

    /// Keeps a magazine beside the loaded one.
    fn keep(&self, magazine: Magazine) {
        let stack = if magazine.count() > 0 { &self.full } else { &self.empty };
        stack.with(|stack| stack.push(magazine));
    }

    /// Counts an exchange of magazines without a visit.
    pub(crate) fn count_swap(&self) {
        self.swaps.store(self.swaps.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Loads a magazine with objects that the CPU has, and says whether it had one.
    pub(crate) fn load_full(&self) -> bool {
        let full = self.full.pop();
        full.is_some_and(|full| {
            self.count_swap();
            self.exchange(full);
            true
        })
    }

    /// Takes out an empty magazine.
    pub(crate) fn take_empty(&self) -> Option<Magazine> {
        self.empty.pop()
    }

    /// Takes out the empty magazines past those that are kept.
    pub(crate) fn excess_empty(&self) -> Stack {
        self.empty.with(|empty| empty.take_below(KEPT))
    }

    /// Takes out the full magazines that were used least lately, all but `kept`, if there are as many as `most`.
    pub(crate) fn excess_full(&self, most: u32, kept: u32) -> Option<Stack> {
        (self.full.count() >= most).then(|| self.full.with(|full| full.take_below(kept)))
    }

    /// Keeps magazines with objects, which go on top.
    pub(crate) fn add_full(&self, magazines: Stack) {
        self.full.with(|full| full.append(magazines));
    }

    /// Keeps an empty magazine, or returns it where there are as many as are kept.
    pub(crate) fn keep_empty(&self, magazine: Magazine) -> Option<Magazine> {
        if self.empty.count() >= KEPT {
            return Some(magazine);
        }
        self.empty.with(|empty| empty.push(magazine));
        None
    }

    /// Takes empty magazines out of a stack, up to as many as are kept.
    pub(crate) fn take_empty_from(&self, magazines: &mut Stack) {
        let room = KEPT.saturating_sub(self.empty.count());
        self.empty.with(|empty| empty.append(magazines.take_top(room)));
    }

    /// Loads `magazine` where none is loaded.
    pub(crate) fn load(&self, magazine: Magazine) {
        counted::loaded(magazine.rounds());
        self.rounds.store(magazine.rounds(), Relaxed);
        self.count.store(magazine.count(), Relaxed);
        self.bound();
    }

    /// Sets the cap to the room of the loaded magazine, unless another CPU wants the magazine's objects.
    pub(crate) fn bound(&self) {
        // SAFETY: `load` stored the rounds and kept no handle; this one is forgotten before the magazine is taken out.
        let loaded = unsafe { Magazine::from_rounds(self.rounds.load(Relaxed)) };
        self.gate.bound(loaded.map_or(0, |loaded| loaded.room()));
    }

    /// Takes out all magazines, the loaded one last.
    pub(crate) fn take_all(&self) -> Stack {
        let mut all = self.empty.with(core::mem::take);
        all.append(self.full.with(core::mem::take));
        if let Some(loaded) = self.unload() {
            all.push(loaded);
        }
        all
    }

    /// Puts magazines back that were taken out by [`CpuLine::take_all`].
    pub(crate) fn put_back(&self, mut magazines: Stack) {
        if !self.is_loaded()
            && let Some(loaded) = magazines.pop()
        {
            self.load(loaded);
        }
        magazines.drain().for_each(|magazine| self.keep(magazine));
    }
}
