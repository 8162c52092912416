//! The slots in which calls wait for a CPU.
//!
//! A slot has one writer, the CPU that sends, and one reader, the CPU of the inbox.

use rhumb_machine::mask::{WORD_CPUS, words_for};
use rhumb_machine::{CpuId, CpuMask};
use rhumb_sync::atomic::{AcqRel, Acquire, AtomicPtr, AtomicU64, IS_MODELLED, Relaxed, Release};

/// Slots for the CPUs of a word. A model checker's state grows with each atomic, so its tests have few CPUs.
const SLOTS: usize = if IS_MODELLED { 3 } else { WORD_CPUS };

/// The calls of 64 CPUs that wait for another CPU.
#[repr(C, align(64))]
pub struct Senders {
    pub(super) filled: AtomicU64,
    pub(super) slots: [AtomicPtr<Call<'static>>; SLOTS],
    /// In an inbox's first senders: whether the CPU of the inbox owes interrupts for a call of its own. No other CPU
    /// looks at this.
    owes: AtomicU64,
}

impl Senders {
    rhumb_sync::const_fn! {
        /// Returns the empty slots of 64 senders.
        pub fn new() -> Self {
            Self {
                filled: AtomicU64::new(0),
                slots: rhumb_sync::atomics!(AtomicPtr::new(core::ptr::null_mut())),
                owes: AtomicU64::new(0),
            }
        }
    }

    /// Returns how many `Senders` an inbox needs on a machine of `cpus` CPUs.
    pub const fn needed(cpus: usize) -> usize {
        words_for(cpus)
    }
}

impl Default for Senders {
    fn default() -> Self {
        Self::new()
    }
}

/// The calls that wait for one CPU.
pub struct Inbox(pub(super) &'static [Senders]);

impl Inbox {
    /// Makes an empty inbox for the calls of CPUs `0..64 * senders.len()`; [`Senders::needed`] says how many these are.
    pub const fn new(senders: &'static [Senders]) -> Self {
        Self(senders)
    }

    /// Tells whether a call waits.
    #[inline]
    pub fn has_calls(&self) -> bool {
        self.0.iter().any(|senders| senders.filled.load(Relaxed) != 0)
    }

    /// Notes whether this inbox's CPU, which is the caller, owes interrupts.
    pub(super) fn set_owes(&self, owes: bool) {
        if let Some(first) = self.0.first() {
            first.owes.store(u64::from(owes), Relaxed);
        }
    }

    /// Tells whether this inbox's CPU, which is the caller, owes interrupts.
    pub(super) fn owes(&self) -> bool {
        self.0.first().is_some_and(|first| first.owes.load(Relaxed) != 0)
    }
}

const _: () = assert!(IS_MODELLED || size_of::<Senders>() == 9 * 64);

/// A function, its argument, and which CPUs have yet to acknowledge.
pub(super) struct Call<'a> {
    pub(super) function: unsafe fn(*const ()),
    pub(super) argument: *const (),
    pub(super) pending: &'a [AtomicU64],
}

impl Call<'_> {
    pub(super) fn is_done(&self) -> bool {
        self.pending.iter().all(|word| word.load(Acquire) == 0)
    }

    pub(super) fn pending(&self) -> CpuMask {
        CpuMask::from_words(self.pending.iter().map(|word| word.load(Relaxed)))
    }

    /// Acknowledges the call. The serving CPU may not use the call afterwards, because it may be gone.
    pub(super) fn acknowledge(&self, cpu: CpuId) {
        self.pending[cpu.word()].fetch_and(!cpu.bit(), Release);
    }
}

/// The outcome of putting a call into a slot.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Posted {
    /// It is there, and the target must be interrupted.
    First,
    /// It is there, and an interrupt of the target is on its way.
    BehindAnother,
    /// An earlier call of the same sender is still there, and nothing was changed.
    SlotIsFull,
}

/// Puts a call into the slot of `from`.
pub(super) fn post(inbox: &Inbox, from: CpuId, call: &Call<'_>) -> Posted {
    let pointer = core::ptr::from_ref(call).cast_mut().cast();
    let senders = &inbox.0[from.word()];
    if senders.slots[from.index() % WORD_CPUS]
        .compare_exchange(core::ptr::null_mut(), pointer, Release, Relaxed)
        .is_err()
    {
        return Posted::SlotIsFull;
    }
    match senders.filled.fetch_or(from.bit(), AcqRel) {
        0 => Posted::First,
        _ => Posted::BehindAnother,
    }
}

/// Clears the lowest bit of `word`, and returns its number. Only the CPU that serves clears bits.
pub(super) fn take_lowest(word: &AtomicU64) -> Option<usize> {
    let filled = word.load(Relaxed);
    if filled == 0 {
        return None;
    }
    let lowest = filled.trailing_zeros();
    word.fetch_and(!(1 << lowest), AcqRel);
    Some(lowest as usize)
}
