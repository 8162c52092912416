//! [`Pageable`]: all pageable memory of a kernel. Areas are made here, and given back.

use core::fmt;

use rhumb_frames::{Mobility, Owner, Request};
use rhumb_kernelmap::{Area, KernelMap};
use rhumb_machine::{Machine, PageSize, Pinned, VirtAddr, VirtRange, impossible};
use rhumb_pagetable::{Entry, TableMemory, descend};
use rhumb_sync::Lock;
use rhumb_sync::atomic::{AtomicU64, Relaxed, relax};

use crate::counters::Counters;
use crate::entry::{Present, State, plain};
use crate::error::{MakeError, PageError};
use crate::hand::Hand;
use crate::home::PageHome;
use crate::may_fault::MayFault;
use crate::store::Store;
use crate::turn::Turn;

/// Locks of entries: so many that CPUs seldom meet at one.
const STRIPES: usize = 64;

/// All pageable memory: its pages are in areas of a kernel map, their contents in frames or in a store. See the
/// [crate](crate).
pub struct Pageable<H: PageHome + 'static, S: Store> {
    pub(crate) home: H,
    pub(crate) map: &'static KernelMap<H>,
    pub(crate) store: S,
    pub(crate) frames: Request,
    stripes: [Lock<()>; STRIPES],
    pub(crate) hand: Turn<Hand<S::Scratch>>,
    /// The addresses within which all areas have been so far.
    pub(crate) lowest: AtomicU64,
    pub(crate) highest: AtomicU64,
    pub(crate) counters: Counters,
}

/// An area of pageable memory: addresses of the kernel map, whose contents are in memory while they are needed. Its
/// holder alone has it, until the holder gives it back ([`PageableArea::free`]).
///
/// ```compile_fail
/// #![deny(unused_must_use)]
/// use rhumb_pageable::{MayFault, Pageable, PageHome, Store};
/// fn lose<H: PageHome, S: Store>(all: &Pageable<H, S>, may_fault: MayFault<'_>) -> Option<()> {
///     all.alloc(may_fault, 4, rhumb_frames::Owner::NONE).ok()?;
///     Some(())
/// }
/// ```
#[must_use = "an area that is lost keeps its addresses and memory permanently"]
pub struct PageableArea<'all, H: PageHome + 'static, S: Store> {
    pub(crate) all: &'all Pageable<H, S>,
    pub(crate) area: Area,
}

impl<H: PageHome + 'static, S: Store> Pageable<H, S> {
    /// Makes it, with no area. `owner` is that of the frames.
    ///
    /// # Safety
    /// `home` leads to what the home of `map` leads to. There is one value for a map.
    #[expect(unsafe_code, reason = "writes entries of the map")]
    pub unsafe fn new(home: H, map: &'static KernelMap<H>, store: S, owner: Owner) -> Self {
        let hand = Turn::new(Hand::new(store.scratch()));
        Self {
            home,
            map,
            store,
            frames: Request::FRAME.kind(Mobility::Reclaimable).owner(owner),
            stripes: [const { Lock::new(()) }; STRIPES],
            hand,
            lowest: AtomicU64::new(u64::MAX),
            highest: AtomicU64::new(0),
            counters: Counters::default(),
        }
    }

    /// Makes an area of `pages` pages, all of them zero. It has no memory yet but its page tables.
    ///
    /// # Errors
    /// [`MakeError`]; nothing has changed then.
    ///
    /// Cost: a write for each page; a frame for each 512 pages of addresses that never had areas before.
    pub fn alloc(
        &self,
        may_fault: MayFault<'_>,
        pages: u64,
        owner: Owner,
    ) -> Result<PageableArea<'_, H, S>, MakeError> {
        self.check(may_fault).map_err(|_| MakeError::MayNotFault)?;
        let guard = self.home.machine().pin();
        let area = self.map.reserve(guard.pinned(), pages, owner).map_err(MakeError::Area)?;
        for address in addresses(area.range()) {
            self.change(address, |entry| {
                debug_assert_eq!(entry, Entry::EMPTY, "an entry of a reserved area");
                (Some(State::Untouched), ())
            });
        }
        self.lowest.fetch_min(area.start().get(), Relaxed);
        self.highest.fetch_max(area.range().end().get(), Relaxed);
        Ok(PageableArea { all: self, area })
    }

    /// Returns the store.
    pub const fn store(&self) -> &S {
        &self.store
    }

    /// Changes the entry of a page, alone: `act` is shown the entry, and returns the state to be written, if any.
    /// Returns what else `act` returns; `None` where there is no table for the address.
    pub(crate) fn change<A>(
        &self,
        address: VirtAddr,
        act: impl FnOnce(Entry) -> (Option<State>, A),
    ) -> Option<A> {
        self.change_entry(address, |entry| {
            let (state, answer) = act(entry);
            (state.map(State::entry), answer)
        })
    }

    fn change_entry<A>(&self, address: VirtAddr, act: impl FnOnce(Entry) -> (Option<Entry>, A)) -> Option<A> {
        let mut tables = self.home.tables();
        let step = descend(&tables, self.home.root(), address, 1).filter(|step| step.level == 1)?;
        let guard = self.home.machine().irq_off();
        let page = (address.get() / PageSize::Size4K.bytes()) as usize;
        let _alone = self.stripes.get(page % STRIPES)?.lock(guard.irq_off());
        let (entry, answer) = act(tables.read(step.table, step.index));
        if let Some(entry) = entry {
            tables.write(step.table, step.index, entry);
        }
        Some(answer)
    }

    /// Reads the entry of a page: of one that no CPU can change now, or for a report.
    pub(crate) fn state(&self, address: VirtAddr) -> State {
        let step = descend(&self.home.tables(), self.home.root(), address, 1);
        step.filter(|step| step.level == 1).map_or(State::Foreign, |step| State::of(step.entry))
    }

    /// Waits a moment for the CPU that moves a page.
    pub(crate) fn wait(&self) {
        relax();
    }

    /// Takes the contents of a page out of the store, or leaves its frame to the kernel map, which frees the frame when
    /// the CPUs have flushed.
    fn discard(&self, pinned: Pinned<'_>, address: VirtAddr) {
        loop {
            let was = self.change_entry(address, |entry| match State::of(entry) {
                State::Busy => (None, State::Busy),
                State::Present(present) => (Some(plain(present.pfn)), State::Present(present)),
                state => (Some(Entry::EMPTY), state),
            });
            match was {
                Some(State::Busy) => self.wait(),
                Some(State::Out(slot)) => {
                    self.counters.out.fetch_sub(1, Relaxed);
                    // SAFETY: the entry had the slot, and has been cleared.
                    #[expect(unsafe_code, reason = "the entry had the slot")]
                    unsafe {
                        self.store.forget(pinned, slot);
                    }
                    return;
                }
                Some(State::Present(Present { .. })) => {
                    self.counters.resident.fetch_sub(1, Relaxed);
                    return;
                }
                Some(State::Untouched) => return,
                Some(State::Foreign) | None => {
                    return impossible!("{address} is in an area of pageable memory");
                }
            }
        }
    }
}

impl<H: PageHome + 'static, S: Store> PageableArea<'_, H, S> {
    /// Gives the area back. From now on a use of its addresses is an error.
    ///
    /// # Errors
    /// The area, where the caller may not wait.
    ///
    /// Cost: two writes for each page; the flush by the policy of the kernel map.
    pub fn free(self, may_fault: MayFault<'_>) -> Result<(), (PageError, Self)> {
        if let Err(error) = self.all.check(may_fault) {
            return Err((error, self));
        }
        let guard = self.all.home.machine().pin();
        for address in addresses(self.area.range()) {
            self.all.discard(guard.pinned(), address);
        }
        if self.all.map.free(guard.pinned(), self.area).is_err() {
            impossible!("the area was reserved in this map");
        }
        Ok(())
    }

    /// Returns its first address. A CPU that touches the area in thread context with interrupts on faults where the page
    /// is not in memory, waits for it, and goes on; elsewhere the touch is an error that ends the kernel.
    pub const fn start(&self) -> VirtAddr {
        self.area.start()
    }

    /// Returns its addresses.
    pub fn range(&self) -> VirtRange {
        self.area.range()
    }

    /// Returns how many pages it has.
    pub const fn pages(&self) -> u64 {
        self.area.pages()
    }
}

impl<H: PageHome + 'static, S: Store> fmt::Debug for PageableArea<'_, H, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageableArea({})", self.range())
    }
}

/// Returns the first address of each page of a range.
pub(crate) fn addresses(range: VirtRange) -> impl Iterator<Item = VirtAddr> {
    let bytes = PageSize::Size4K.bytes();
    (0..range.bytes() / bytes).map(move |page| range.start().plus(page * bytes))
}
