//! CPU-local windows: short-lived mappings of frames that the direct map does not show.
//!
//! ```text
//!   ffff_f000_0000_0000 + CPU * 2 MiB:   one page-table page a CPU, made at boot; each CPU uses its own
//!   slot 0 ............................................................................ 495 | 496 ................ 511
//!        [spent][spent][held][spent][next ->                                               | only with interrupts off
//! ```
//!
//! Opening writes one entry; closing clears it. Neither flushes, and no other CPU hears of it. What the TLB keeps of
//! closed slots is dropped all at once when the last clean slot has been used (a *wrap*): one local flush for some 490
//! windows, of non-global translations only, so that the kernel's own stay.
//!
//! - **I4** Windows are read-write, never executable. Whoever opens one onto a frame that is executable elsewhere
//!   breaks the rule: the caller's part.
//! - **I6** A slot that was used is *spent*: nobody gets it before the flush that follows its closing. Its translation
//!   may stay in this CPU's TLB until then; the address belongs to nobody, so nothing uses it.
//!   [`Window::close_flushed`] is for those whom that does not please.
//! - A window is held by a pinned CPU: the guard borrows the token, so it is not `Send`.
//!
//! | module | owns |
//! |---|---|
//! | [`mod@slots`] | [`CpuSlots`]: which slots are held and spent |
//! | [`window`] | [`Window`], the guard |
//! | [`copy`] | `copy_to`, `copy_from`, `zero`: whole frames through a window at a time; they never fail for want of a slot |
//! | [`tables`] | [`WindowTables`]: how an entry is written, and the page behind it reached |
//!
//! Locking: each CPU has its own slots, and looks at them with interrupts off, for tens of instructions. A handler that
//! opens a window in between finds them whole. The sixteen slots at the end are for code with interrupts off: however
//! many windows a task holds, a handler finds one.

pub mod copy;
pub mod slots;
pub mod tables;
pub mod window;

use core::fmt;

use rhumb_frames::{Frame, Presence};
use rhumb_machine::{CpuId, FlushScope, IrqOff, Machine, PageRun, PageSize, Pfn, Pinned};
use rhumb_pagetable::{Access, Attributes, CacheMode, Entry, Privilege, Scope};

pub use copy::OutOfFrame;
pub use slots::{CpuSlots, RESERVED, SLOTS};
pub use tables::{WINDOW_BASE, WindowTables, slot_address};
pub use window::Window;

use slots::Place;

/// Why a window cannot be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WindowError {
    /// All slots of this CPU that the caller may use are held.
    NoSlot,
    /// The CPU has no slots: it is past those that the windows were made for.
    NoSuchCpu,
    /// The frame has no page of this number.
    NoSuchPage {
        /// The number.
        page: u64,
        /// How many it has.
        pages: u64,
    },
}

impl fmt::Display for WindowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSlot => f.write_str("every window of this CPU is held"),
            Self::NoSuchCpu => f.write_str("this CPU has no windows"),
            Self::NoSuchPage { page, pages } => write!(f, "page {page} of a frame that has {pages}"),
        }
    }
}

impl core::error::Error for WindowError {}

/// How often what was done, on all CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct WindowCounters {
    /// Windows opened.
    pub opened: u64,
    /// Local flushes because all slots were spent.
    pub wraps: u64,
    /// Local flushes of one page, asked for.
    pub single_flushes: u64,
    /// Windows held now.
    pub held: u64,
}

/// The windows of all CPUs. See the module.
#[derive(Debug)]
pub struct Windows<M: Machine, T: WindowTables> {
    machine: M,
    tables: T,
    cpus: &'static [CpuSlots],
}

impl<M: Machine, T: WindowTables> Windows<M, T> {
    /// For CPUs `0..cpus.len()`, whose tables are prepared, all entries clear. `cpus` is 192 bytes a CPU.
    pub const fn new(machine: M, tables: T, cpus: &'static [CpuSlots]) -> Self {
        Self { machine, tables, cpus }
    }

    /// Shows page `page` (0 for a frame of order 0) of a frame to this CPU, read-write. Closed when the guard is
    /// dropped.
    ///
    /// # Errors
    /// [`WindowError::NoSlot`] where 496 windows are held on this CPU; a page that the frame has not.
    ///
    /// Cost: one entry written; once in about 490 times a local flush of non-global translations.
    pub fn open<'a, P: Presence>(
        &'a self,
        pinned: Pinned<'a>,
        frame: &'a mut Frame<P>,
        page: u64,
    ) -> Result<Window<'a, M, T>, WindowError> {
        let pfn = Self::page_of(frame, page)?;
        self.open_pfn(pinned, pfn, Place::Ring)
    }

    /// As [`Windows::open`], for code that runs with interrupts off: it may use the reserve, too, so that it finds a
    /// slot however many windows the interrupted code holds.
    ///
    /// # Errors
    /// As [`Windows::open`]: [`WindowError::NoSlot`] only where this CPU holds sixteen opened in this way.
    pub fn open_nested<'a, P: Presence>(
        &'a self,
        irq_off: IrqOff<'a>,
        frame: &'a mut Frame<P>,
        page: u64,
    ) -> Result<Window<'a, M, T>, WindowError> {
        let pfn = Self::page_of(frame, page)?;
        self.open_pfn(irq_off.pinned(), pfn, Place::Anywhere)
    }

    /// What was done so far.
    pub fn counters(&self) -> WindowCounters {
        let mut sum = WindowCounters::default();
        for cpu in self.cpus {
            cpu.add_to(&mut sum);
        }
        sum
    }

    /// The machine.
    pub const fn machine(&self) -> &M {
        &self.machine
    }

    /// Recomputes what can be: spent slots include the held ones, and a slot has an entry where it is held, and only
    /// there.
    ///
    /// # Errors
    /// The first CPU and slot that are wrong. Only while no CPU opens or closes.
    pub fn validate(&self) -> Result<(), (CpuId, usize)> {
        for (index, slots) in self.cpus.iter().enumerate() {
            let Some(cpu) = CpuId::new(index) else { break };
            for slot in 0..SLOTS {
                let held = slots.is_held(slot);
                let right =
                    (!held || slots.is_spent(slot)) && held == self.tables.read(cpu, slot).is_present();
                if !right {
                    return Err((cpu, slot));
                }
            }
        }
        Ok(())
    }

    fn page_of<P: Presence>(frame: &Frame<P>, page: u64) -> Result<Pfn, WindowError> {
        let pages = frame.order().frames();
        if page < pages { Ok(frame.pfn().plus(page)) } else { Err(WindowError::NoSuchPage { page, pages }) }
    }

    pub(crate) fn open_pfn<'a>(
        &'a self,
        pinned: Pinned<'a>,
        pfn: Pfn,
        place: Place,
    ) -> Result<Window<'a, M, T>, WindowError> {
        let slots = self.cpus.get(pinned.cpu().index()).ok_or(WindowError::NoSuchCpu)?;
        let guard = self.machine.irq_off();
        let slot = match slots.take(place) {
            Some(slot) => slot,
            None => {
                // All are spent. The entries of those that are not held are clear: after this nothing leads to them.
                self.machine.flush_local(guard.irq_off().pinned(), FlushScope::NonGlobal);
                slots.wrap();
                slots.take(place).ok_or(WindowError::NoSlot)?
            }
        };
        self.tables.write(pinned.cpu(), slot, entry_of(pfn));
        drop(guard);
        Ok(Window::new(self, pinned, slot))
    }

    pub(crate) fn close(&self, pinned: Pinned<'_>, slot: usize) {
        let _irq_off = self.machine.irq_off();
        self.tables.write(pinned.cpu(), slot, Entry::EMPTY);
        if let Some(slots) = self.cpus.get(pinned.cpu().index()) {
            slots.release(slot);
        }
    }

    /// Closes, and drops the translation: the slot may be used again at once.
    pub(crate) fn close_flushed(&self, pinned: Pinned<'_>, slot: usize) {
        let guard = self.machine.irq_off();
        self.tables.write(pinned.cpu(), slot, Entry::EMPTY);
        let page =
            rhumb_machine::VirtRange::of_length(slot_address(pinned.cpu(), slot), 1).unwrap_or_default();
        if let Some(run) = PageRun::covering(page, PageSize::Size4K) {
            let scope = FlushScope::Pages { runs: &[run] };
            self.machine.flush_local(guard.irq_off().pinned(), scope);
        }
        if let Some(slots) = self.cpus.get(pinned.cpu().index()) {
            slots.release_clean(slot);
        }
    }

    pub(crate) fn address(&self, cpu: CpuId, slot: usize) -> rhumb_machine::VirtAddr {
        self.tables.show(cpu, slot)
    }
}

/// Read-write, never executable (I4); not global, so that a wrap's flush may spare what is.
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
