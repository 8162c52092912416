//! CPU-local windows: short-lived mappings of frames that the direct map does not show.
//!
//! ```text
//!   ffff_f000_0000_0000 + CPU * 2 MiB:   one page table for each CPU, made at boot, written by that CPU alone
//!   slot 0 ............................................ 383 | 384 ......... 431 | 432 ......... 510 | 511
//!        [spent][spent][open][clean][clean ->               | nested windows    | writers of tables | never a window
//! ```
//!
//! A window is open for the length of a closure ([`Windows::with_page`]), with interrupts off. Opening writes one entry
//! and closing clears it. Neither flushes, and no other CPU hears of it. The TLB forgets closed slots all at once, when
//! the last clean slot has been used (a *wrap*): one local flush for 384 windows, of non-global translations only, so
//! that the kernel's own stay.
//!
//! - **I4** Windows are read-write, never executable, and open onto frames whose handle the caller has: frames that are
//!   executable elsewhere have another handle, which opens none.
//! - **I6** A slot that was used is *spent*: it is used again after a flush that follows its closing. Its translation
//!   may stay in this CPU's TLB until then; no code has the address, so nothing uses it.
//! - A window is open while its closure runs, and no longer: there is no guard to forget. At most [`slots::DEPTH`] are
//!   open at once, and one of a writer of tables, which therefore always finds a slot.
//!
//! | module | owns |
//! |---|---|
//! | [`mod@slots`] | [`CpuSlots`]: which slots are open and spent |
//! | [`window`] | [`Window`]: the page while it can be seen |
//! | `copy` | `copy_to`, `copy_from`, `zero`: whole frames, through one window after another |
//! | [`error`] | why a window is not opened, or a copy not made |
//! | [`tables`] | [`WindowTables`]: how an entry is written, and the page behind it reached |
//! | [`planted`] | faults that the tests plant |
//!
//! Locking: none. Each CPU has its own slots, and looks at them with interrupts off. Code that non-maskable interrupts
//! run opens no window.
//!
//! Memory types: a window caches its frame (write-back). A frame that a driver wants uncached must have had no window
//! since the last wrap on any CPU, since the translation of a closed window may still be used speculatively; a full
//! flush does the same.
#![no_std]
#![deny(unsafe_code)]

mod copy;
pub mod error;
pub mod planted;
pub mod slots;
pub mod tables;
pub mod window;

use rhumb_frames::{Brand, Frame, Frames, Presence};
use rhumb_machine::{CpuId, FlushScope, PageSize, Pfn, Tlb};
use rhumb_pagetable::{Access, Attributes, CacheMode, Entry, Privilege, Scope};

pub use error::{CopyError, OutOfFrame, WindowError};
pub use slots::{CpuSlots, DEPTH, KEPT_SLOT, RING, SLOTS};
pub use tables::{WINDOW_BASE, WindowTables, slot_address};
pub use window::Window;

use slots::Place;

use planted::Fault;

/// How often what was done, on all CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct WindowCounters {
    /// Windows opened.
    pub opened: u64,
    /// Local flushes because all slots were spent.
    pub wraps: u64,
    /// Windows open now.
    pub open: u64,
}

/// The windows of all CPUs. See the module.
#[derive(Debug)]
pub struct Windows<M: Tlb, T: WindowTables> {
    machine: M,
    tables: T,
    cpus: &'static [&'static mut CpuSlots],
    /// Whose frames can be shown.
    brand: Brand,
}

impl<M: Tlb, T: WindowTables> Windows<M, T> {
    /// Makes windows for CPUs `0..cpus.len()` of the allocator's machine, whose tables are prepared, all entries clear.
    /// They show frames of `frames`, and refuse those of other allocators: another machine has other memory under the
    /// same numbers.
    ///
    /// Slots are exclusively these windows', as the tables are. Each CPU's may lie in memory near it.
    ///
    ///
    /// ```compile_fail,E0308
    /// use rhumb_machine::Tlb;
    /// use rhumb_frames::Frames;
    /// use rhumb_windows::{CpuSlots, WindowTables, Windows};
    /// fn shared<M: Tlb + Copy, T: WindowTables>(
    ///     frames: &Frames<M>,
    ///     tables: T,
    ///     cpus: &'static [&'static CpuSlots],
    /// ) -> Windows<M, T> {
    ///     Windows::new(frames, tables, cpus)
    /// }
    /// ```
    pub fn new(frames: &Frames<M>, tables: T, cpus: &'static mut [&'static mut CpuSlots]) -> Self
    where
        M: Copy,
    {
        Self { machine: *frames.machine(), tables, cpus, brand: frames.brand() }
    }

    /// Refuses frames of another allocator.
    #[inline]
    fn check<P: Presence>(&self, frame: &Frame<P>) -> Result<(), WindowError> {
        if frame.brand() == self.brand { Ok(()) } else { Err(WindowError::OtherAllocator) }
    }

    /// Shows page `page` (0 for a frame of order 0) of a frame to this CPU while `act` runs, with interrupts off.
    ///
    /// # Errors
    /// [`WindowError`]; `act` has not run then.
    ///
    /// Cost: two entries written; once in [`RING`] times a local flush of non-global translations.
    #[inline]
    pub fn with_page<P: Presence, A>(
        &self,
        frame: &mut Frame<P>,
        page: u64,
        act: impl FnOnce(&mut Window<'_, T>) -> A,
    ) -> Result<A, WindowError> {
        self.check(frame)?;
        let pages = frame.order().frames();
        if page >= pages {
            return Err(WindowError::NoSuchPage { page, pages });
        }
        self.with_pfn(frame.pfn().plus(page), Place::Caller, act)
    }

    /// Adds up the CPUs' counters.
    pub fn counters(&self) -> WindowCounters {
        let mut sum = WindowCounters::default();
        for cpu in self.cpus {
            cpu.add_to(&mut sum);
        }
        sum
    }

    /// Checks that a slot has an entry where it is open, and only there.
    ///
    /// # Errors
    /// The first CPU and slot that are wrong. Only while no other CPU opens or closes.
    pub fn validate(&self) -> Result<(), (CpuId, usize)> {
        for (index, slots) in self.cpus.iter().enumerate() {
            let Some(cpu) = CpuId::new(index) else { break };
            let is_wrong = |slot: &usize| slots.is_open(*slot) != self.tables.read(cpu, *slot).is_present();
            if let Some(slot) = (0..KEPT_SLOT).find(is_wrong) {
                return Err((cpu, slot));
            }
        }
        Ok(())
    }

    /// Opens a window onto `pfn`, runs `act` and closes it, with interrupts off throughout. The CPU is the one that
    /// turned interrupts off, so no token is asked for.
    #[inline]
    pub(crate) fn with_pfn<A>(
        &self,
        pfn: Pfn,
        place: Place,
        act: impl FnOnce(&mut Window<'_, T>) -> A,
    ) -> Result<A, WindowError> {
        let guard = self.machine.irq_off();
        let pinned = guard.irq_off().pinned();
        let cpu = pinned.cpu();
        let slots = self.cpus.get(cpu.index()).ok_or(WindowError::NoSuchCpu)?;
        // The fault: interrupts are as they were.
        let guard = if planted::is(Fault::InterruptibleWindow) {
            drop(guard);
            None
        } else {
            Some(guard)
        };
        let flush = || {
            // All slots of the ring are spent, and their entries clear: after this nothing leads to them.
            let guard = self.machine.irq_off();
            self.machine.flush_local(guard.irq_off().pinned(), FlushScope::NonGlobal);
        };
        let slot = slots.open(place, flush).ok_or(WindowError::TooDeep)?;
        self.tables.write(cpu, slot, entry_of(pfn));
        let closed = Closed { tables: &self.tables, slots, cpu, slot, place };
        let answer = act(&mut Window::new(&self.tables, cpu, slot));
        drop(closed);
        drop(guard);
        Ok(answer)
    }
}

/// Closes a window when its closure has returned, or has panicked where panics unwind.
struct Closed<'a, T: WindowTables> {
    tables: &'a T,
    slots: &'a CpuSlots,
    cpu: CpuId,
    slot: usize,
    place: Place,
}

impl<T: WindowTables> Drop for Closed<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if planted::is(Fault::ReleasedBeforeCleared) {
            self.slots.close(self.place);
        }
        if !planted::is(Fault::EntryNotCleared) {
            self.tables.write(self.cpu, self.slot, Entry::EMPTY);
        }
        if !planted::is(Fault::ReleasedBeforeCleared) {
            self.slots.close(self.place);
        }
    }
}

/// Makes a window's entry: read-write, never executable (I4), and not global, so that a wrap's flush may spare global
/// translations.
const fn entry_of(pfn: Pfn) -> Entry {
    const WINDOW: Attributes = Attributes {
        access: Access::ReadWrite,
        cache: CacheMode::WriteBack,
        privilege: Privilege::Supervisor,
        scope: Scope::AddressSpace,
        key: None,
    };
    Entry::leaf(pfn.addr(), PageSize::Size4K, WINDOW)
}

/// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
