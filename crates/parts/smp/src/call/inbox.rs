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
    /// In an inbox's first senders: the CPU whose call is looked for first. No other CPU than that of the inbox looks at
    /// this, so a model has no use for it.
    next: core::sync::atomic::AtomicU32,
}

impl Senders {
    rhumb_sync::const_fn! {
        /// Returns the empty slots of 64 senders.
        pub fn new() -> Self {
            Self {
                filled: AtomicU64::new(0),
                slots: rhumb_sync::atomics!(AtomicPtr::new(core::ptr::null_mut())),
                owes: AtomicU64::new(0),
                next: core::sync::atomic::AtomicU32::new(0),
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

    /// Empties the bit of the next sender whose call waits, and returns its slot. The senders' turns go round, so that
    /// none waits for CPUs that call again and again.
    pub(super) fn take_next(&self) -> Option<&'static AtomicPtr<Call<'static>>> {
        let next = &self.0.first()?.next;
        let from = next.load(Relaxed) as usize;
        let (first, within) = (from / WORD_CPUS, from % WORD_CPUS);
        // The first word once more at the end, for its senders below.
        for number in 0..=self.0.len() {
            let word = (first + number) % self.0.len();
            let senders = &self.0[word];
            let lowest = if number == 0 { within } else { 0 };
            if let Some(sender) = take_from(&senders.filled, lowest) {
                next.store(((word * WORD_CPUS + sender + 1) % (self.0.len() * WORD_CPUS)) as u32, Relaxed);
                return senders.slots.get(sender);
            }
        }
        None
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

/// Clears the lowest bit of `word` from bit `from` on, and returns its number. Only the CPU that serves clears bits.
fn take_from(word: &AtomicU64, from: usize) -> Option<usize> {
    let filled = word.load(Relaxed) >> from << from;
    if filled == 0 {
        return None;
    }
    let lowest = filled.trailing_zeros();
    word.fetch_and(!(1 << lowest), AcqRel);
    Some(lowest as usize)
}
