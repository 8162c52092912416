//! [`Batch`]: pages whose frames are exchanged together, and the steps of the exchange, which any CPU can make.
//!
//! ```text
//!             entry               frames: old │ new         the other CPUs
//!   Protect   old, read-only           in use │ free        may have the old entry, and write by it
//!   Flush     ..                              │             have the old entry read-only at most; a write faults
//!   Copy      ..                       reads  │ written
//!   Switch    new, read-only           reads  │ reads       read either frame: the contents are the same
//!   Flush     ..                       unused │ reads       have the new entry, read-only
//!   Restore   new, its old rights             │ in use      write
//! ```
//!
//! **No write is lost, no read is torn.** No CPU can write a frame while it is copied, because every CPU has dropped the
//! writable translation before the copy begins. Two frames are visible at once only from the first switch to the end of
//! the second flush, and no CPU can write either of them then. So a CPU that has read a new value never finds the old
//! one again.
//!
//! **A writer that faults makes the steps itself.** It does not wait for the CPU that moves the area: that CPU may be
//! the writer's own, below an interrupt handler, or may wait for a lock that the writer holds. The steps that are left
//! are in the batch, under a lock, so that each CPU can take the next one ([`KernelMap::drive`]). A CPU that makes a flush
//! holds no lock, and its flush counts if it began after the entries were written, whichever CPU has written them. So
//! a writer waits for nothing but the answers to its own flush.
//!
//! **The shadow.** A table that is not in the tree has, at the index of each entry that is exchanged, the leaf of its new
//! frame, and after the switch the one of its old frame with the mark [`bits::SOFTWARE`]. Both have the rights that the
//! entry had, and gets back.
//!
//! One batch at a time is under way in a map. A CPU that begins another one finishes it first.
//!
//! Locking: the lock of the batch is a leaf, taken with interrupts off, and held for [`STEP`] entries, or for the copy of
//! one page of 4 KiB.

use core::ops::Range;

use rhumb_machine::{Machine, PageSize, Pfn, Pinned, VirtAddr, VirtRange, impossible};
use rhumb_pagetable::{Access, Attributes, Entry, TableMemory, bits, descend};
use rhumb_sync::Lock;
use rhumb_sync::atomic::{AtomicU64, Relaxed};

use super::KernelMap;
use super::flushes::flush_exactly;
use super::home::{Home, NotCopied};
use super::release::copy_page;

/// Entries that one step writes.
const STEP: usize = 32;

/// Turns for which a CPU waits for the flush of another one, before it flushes itself.
const PATIENCE: u32 = 4096;

/// The kind of the next step. See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Protect,
    FlushOld,
    Copy,
    Switch,
    FlushNew,
    Restore,
}

/// Pages that are exchanged together: entries of one table.
#[derive(Debug)]
pub(super) struct Batch {
    /// The addresses of all entries.
    pub(super) addresses: VirtRange,
    pub(super) table: Pfn,
    pub(super) shadow: Pfn,
    pub(super) entries: Range<usize>,
    /// The size of the pages.
    pub(super) size: PageSize,
    /// The size of the allocator's blocks that the pages are parts of.
    pub(super) block: PageSize,
}

/// A batch under way.
#[derive(Debug)]
struct UnderWay {
    batch: Batch,
    number: u64,
    phase: Phase,
    /// Entries that the phase has passed; pages of 4 KiB where it copies.
    at: usize,
    /// Whether an entry was writable.
    is_writable: bool,
    /// Whether a CPU makes the flush that the phase asks for.
    is_flushing: bool,
}

/// The next act of a CPU that drives a batch.
enum Due {
    Step,
    /// To flush, because no CPU does.
    Flush(Phase, VirtRange, Option<PageSize>),
    /// To wait for the CPU that flushes, or to flush, too.
    FlushOrWait(Phase, VirtRange, Option<PageSize>),
    Over,
}

/// The batch under way, and how many there were.
#[derive(Debug)]
struct Current {
    last: u64,
    batch: Option<UnderWay>,
}

/// The moves of a map.
#[derive(Debug)]
pub(super) struct Moves {
    current: Lock<Current>,
    pages: AtomicU64,
    writes: AtomicU64,
}

impl Moves {
    pub(super) fn new() -> Self {
        Self {
            current: Lock::new(Current { last: 0, batch: None }),
            pages: AtomicU64::new(0),
            writes: AtomicU64::new(0),
        }
    }

    /// Returns how many pages of 4 KiB have moved.
    pub(super) fn pages(&self) -> u64 {
        self.pages.load(Relaxed)
    }

    pub(super) fn add_pages(&self, pages: u64) {
        self.pages.fetch_add(pages, Relaxed);
    }

    /// Returns how many writes have come to a page while it moved.
    pub(super) fn writes(&self) -> u64 {
        self.writes.load(Relaxed)
    }
}

impl UnderWay {
    fn step<H: Home>(&mut self, home: &H) -> Result<Due, NotCopied> {
        match self.phase {
            Phase::Protect => Ok(self.each(home, Phase::FlushOld, Self::protect)),
            Phase::Switch => Ok(self.each(home, Phase::FlushNew, Self::switch)),
            Phase::Restore => {
                let due = self.each(home, Phase::Restore, Self::restore);
                Ok(if self.at == 0 { Due::Over } else { due })
            }
            Phase::Copy => self.copy(home).map(|()| Due::Step),
            Phase::FlushOld if !self.is_writable => {
                self.begin(Phase::Copy);
                Ok(Due::Step)
            }
            Phase::FlushOld | Phase::FlushNew => {
                let Batch { addresses, size, block, .. } = self.batch;
                // Pages of a block that was split may be cached as the block.
                let size = (size == block).then_some(size);
                Ok(if core::mem::replace(&mut self.is_flushing, true) {
                    Due::FlushOrWait(self.phase, addresses, size)
                } else {
                    Due::Flush(self.phase, addresses, size)
                })
            }
        }
    }

    fn begin(&mut self, phase: Phase) {
        (self.phase, self.at, self.is_flushing) = (phase, 0, false);
    }

    /// Notes that every CPU has flushed since the phase began.
    fn has_flushed(&mut self, phase: Phase) {
        if self.phase == phase {
            self.begin(if phase == Phase::FlushOld { Phase::Copy } else { Phase::Restore });
        }
    }

    /// Passes some entries, and begins the phase `next` behind the last one.
    fn each<H: Home>(
        &mut self,
        home: &H,
        next: Phase,
        act: impl Fn(&mut Self, &mut H::Tables, usize, Entry),
    ) -> Due {
        let mut tables = home.tables();
        let Range { start, end } = self.batch.entries;
        let from = start + self.at;
        let to = (from + STEP).min(end);
        for index in from..to {
            let shadow = tables.read(self.batch.shadow, index);
            if shadow.is_present() {
                act(self, &mut tables, index, shadow);
            }
        }
        if to == end {
            self.begin(next)
        } else {
            self.at = to - start
        }
        Due::Step
    }

    fn protect<T: TableMemory>(&mut self, tables: &mut T, index: usize, _: Entry) {
        let Batch { table, size, .. } = self.batch;
        let entry = tables.read(table, index);
        if entry.permissions().writable {
            self.is_writable = true;
            tables.write(table, index, read_only(entry, size));
        }
    }

    fn switch<T: TableMemory>(&mut self, tables: &mut T, index: usize, new: Entry) {
        let Batch { table, shadow, size, .. } = self.batch;
        let old = tables.read(table, index);
        tables.write(table, index, read_only(new, size));
        let old = with_attributes_of(new, old.phys(size).pfn(), size);
        tables.write(shadow, index, Entry::from_bits(old.bits() | bits::SOFTWARE));
    }

    fn restore<T: TableMemory>(&mut self, tables: &mut T, index: usize, old: Entry) {
        let Batch { table, size, .. } = self.batch;
        let new = tables.read(table, index).phys(size).pfn();
        tables.write(table, index, with_attributes_of(old, new, size));
    }

    /// Copies one page of 4 KiB, if the page at the place is exchanged.
    fn copy<H: Home>(&mut self, home: &H) -> Result<(), NotCopied> {
        let Batch { table, shadow, size, block, .. } = self.batch;
        let pages = size.frames() as usize;
        let (index, page) = (self.batch.entries.start + self.at / pages, (self.at % pages) as u64);
        let tables = home.tables();
        let new = tables.read(shadow, index);
        let passed = if new.is_present() {
            let frame = |entry: Entry| entry.phys(size).pfn().plus(page);
            copy_page(home, frame(tables.read(table, index)), frame(new), block)?;
            1
        } else {
            pages
        };
        self.at += passed;
        if self.at >= self.batch.entries.len() * pages {
            self.begin(Phase::Switch);
        }
        Ok(())
    }
}

/// Returns a leaf without the right to write.
fn read_only(entry: Entry, size: PageSize) -> Entry {
    match entry.attributes(size) {
        Some(attributes) if attributes.access == Access::ReadWrite => {
            Entry::leaf(entry.phys(size), size, Attributes { access: Access::ReadOnly, ..attributes })
        }
        _ => entry,
    }
}

/// Returns a leaf of a frame with the attributes of another one.
pub(super) fn with_attributes_of(entry: Entry, frame: Pfn, size: PageSize) -> Entry {
    match entry.attributes(size) {
        Some(attributes) => Entry::leaf(frame.addr(), size, attributes),
        None => impossible!("no page of an area is writable and executable" => entry),
    }
}

impl<H: Home> KernelMap<H> {
    /// Begins a batch, after the one that is under way, and returns its number.
    pub(super) fn begin_batch(&self, pinned: Pinned<'_>, batch: Batch) -> u64 {
        let mut batch = Some(batch);
        loop {
            let other = self.with_current(|current| {
                if let Some(other) = &current.batch {
                    return Err(other.number);
                }
                current.last += 1;
                current.batch = batch.take().map(|batch| UnderWay {
                    batch,
                    number: current.last,
                    phase: Phase::Protect,
                    at: 0,
                    is_writable: false,
                    is_flushing: false,
                });
                Ok(current.last)
            });
            match other {
                Ok(number) => return number,
                Err(other) => {
                    if self.drive(pinned, other).is_err() {
                        self.home.relax();
                    }
                }
            }
        }
    }

    /// Takes the steps of the batch with this number that are left, until it is over.
    ///
    /// # Errors
    /// [`NotCopied`]: this CPU cannot see a frame that the batch copies.
    ///
    /// Cost: at most all steps of a batch: 1,024 entries written, 512 pages of 4 KiB copied, two flushes.
    pub(super) fn drive(&self, pinned: Pinned<'_>, number: u64) -> Result<(), NotCopied> {
        let mut patience = PATIENCE;
        loop {
            let due = self.with_current(|current| match &mut current.batch {
                Some(under_way) if under_way.number == number => {
                    let due = under_way.step(&self.home);
                    if matches!(due, Ok(Due::Over)) {
                        current.batch = None;
                    }
                    due
                }
                _ => Ok(Due::Over),
            })?;
            match due {
                Due::Over => return Ok(()),
                Due::Step => {}
                Due::FlushOrWait(..) if patience > 0 => {
                    patience -= 1;
                    self.home.relax();
                }
                Due::Flush(phase, addresses, size) | Due::FlushOrWait(phase, addresses, size) => {
                    let is_flushed = flush_exactly(&self.home, pinned, |batch| match size {
                        Some(size) => batch.add_leaf(addresses, size),
                        None => batch.add_everything(),
                    });
                    if !is_flushed {
                        return impossible!("the home flushes the CPUs of its own machine" => Err(NotCopied));
                    }
                    self.with_current(|current| {
                        if let Some(under_way) =
                            current.batch.as_mut().filter(|under_way| under_way.number == number)
                        {
                            under_way.has_flushed(phase);
                        }
                    });
                }
            }
        }
    }

    /// Resolves the fault of a write to a page of the map that is present and read-only: where the page moves, the move
    /// is finished on this CPU. Tells whether the write may be tried again; `false` is a fault that stays one. For the
    /// handler of page faults, with interrupts off.
    ///
    /// The write had no lock held for which another CPU waits without answering calls; see
    /// [`AreaRequest::movable`](super::AreaRequest::movable).
    ///
    /// Cost: where the page moves, that of the steps that are left; else a walk.
    pub fn resolve_write(&self, pinned: Pinned<'_>, address: VirtAddr) -> bool {
        if !self.contains(address) {
            return false;
        }
        // The entry is read under the lock: outside of a batch it has the rights of its holder.
        let moving = self.with_current(|current| match &current.batch {
            Some(under_way) if under_way.batch.addresses.contains(address) => Err(under_way.number),
            _ => Ok(descend(&self.home.tables(), self.home.root(), address, 1)
                .is_some_and(|step| step.entry.is_present() && step.entry.permissions().writable)),
        });
        match moving {
            Ok(is_writable) => is_writable,
            Err(number) => {
                self.moves.writes.fetch_add(1, Relaxed);
                self.drive(pinned, number).is_ok()
            }
        }
    }

    fn with_current<A>(&self, act: impl FnOnce(&mut Current) -> A) -> A {
        let guard = self.home.machine().irq_off();
        let mut current = self.moves.current.lock(guard.irq_off());
        act(&mut current)
    }
}
