//! Pageable kernel memory: zeroed at its first touch, paged out under pressure, and in again. See docs/pageable.md.
//!
//! ```text
//!   alloc(owner, pages) ─> Area ─> pin, read, write, or a touch of area.start() in thread context ─> free
//! ```
//!
//! Contents that go out are compressed in memory. The pages' addresses are the kernel map's; the frame allocator asks for
//! frames when it is short, as the last of its reclaimers.
//!
//! Locking: the locks of entries and that of the store are leaves. No lock is held while CPUs are flushed.

use core::fmt;

use rhumb_frames::{Anywhere, Frame, Frames, Reclaimer, Shortage};
use rhumb_machine::{Machine, Pinned, VirtAddr};
use rhumb_pageable::{
    CompressedStore, MakeError, MayFault, PageBytes, PageError, PageHome, Pageable, PageableArea,
    RealAddresses,
};
use spin::Once;
use x86_64::instructions::interrupts;

use super::kernel_map::{self, KernelHome};
use super::windows::windows;
use crate::cpu::machine::{self, KernelMachine, MACHINE};
use crate::cpu::once;
use crate::facts::Boot;
use crate::mm::owners::{self, Owner};

/// All pageable memory of this kernel.
pub type KernelPageable = Pageable<KernelHome, CompressedStore<KernelHome>>;
/// An area of it.
pub type Area = PageableArea<'static, KernelHome, CompressedStore<KernelHome>>;

static PAGEABLE: Once<KernelPageable> = Once::new();

/// The frames that a reclaim frees at least, if it can, so that one flush serves many; and at most.
const LEAST_WANTED: u64 = 32;
const MOST_WANTED: u64 = 256;

/// Why there is no pageable memory.
#[derive(Debug)]
pub enum StartError {
    /// There is no kernel map.
    NoMap,
    /// The allocator has no place for another reclaimer.
    TooManyReclaimers,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoMap => "there is no kernel map",
            Self::TooManyReclaimers => "the allocator has too many reclaimers",
        })
    }
}

// SAFETY: each CPU reaches a page that is mapped at its own address; the bytes of a frame are those that the direct map
// shows, or a window; interrupts are on in thread context alone, since handlers run with interrupts off, but for that of
// page faults, which turns them on where the code that faulted had them on.
unsafe impl PageHome for KernelHome {
    fn may_fault(&self) -> bool {
        interrupts::are_enabled() && !machine::holds_irqs_off()
    }

    fn with_bytes<A>(&self, frame: &mut Frame<Anywhere>, act: impl FnOnce(&mut PageBytes) -> A) -> Option<A> {
        if frame.is_high() {
            let windows = windows()?;
            return windows
                .with_page(frame, 0, |window| {
                    // SAFETY: the window shows the frame's page to this CPU while the closure runs, and the frame is
                    // borrowed exclusively.
                    act(unsafe { &mut *window.address().as_mut_ptr::<PageBytes>() })
                })
                .ok();
        }
        // SAFETY: the frame is borrowed exclusively, and the direct map shows it (I1).
        Some(act(unsafe { &mut *MACHINE.direct(frame.addr()).as_mut_ptr::<PageBytes>() }))
    }
}

// SAFETY: `PageHome::place` is the default.
unsafe impl RealAddresses for KernelHome {}

/// Makes it, and tells the allocator. Once, at boot, behind all cheaper reclaimers.
///
/// # Errors
/// [`StartError`]: no area can be had then.
pub fn start(boot: &'static Boot, frames: &'static Frames<KernelMachine>) -> Result<(), StartError> {
    let map = kernel_map::map().ok_or(StartError::NoMap)?;
    let home = || KernelHome::new(boot, frames);
    // SAFETY: all such homes lead to the one allocator and the one tree, and this value is the only one.
    let made =
        unsafe { Pageable::new(home(), map, CompressedStore::new(home()), owners::PAGEABLE.in_frames()) };
    once::fill(&PAGEABLE, made);
    frames.register_reclaimer(&ColdPages).map_err(|_| StartError::TooManyReclaimers)
}

/// Returns it; `None` before [`start`].
pub fn pageable() -> Option<&'static KernelPageable> {
    PAGEABLE.get()
}

/// Returns the right to wait for pages.
///
/// # Errors
/// [`PageError::MayNotFault`] with interrupts off, in a handler, or before [`start`].
pub fn may_fault() -> Result<MayFault<'static>, PageError> {
    pageable().ok_or(PageError::MayNotFault)?.may_fault()
}

/// Makes an area. See [`Pageable::alloc`].
///
/// # Errors
/// [`MakeError`].
#[cfg_attr(
    not(feature = "lab"),
    expect(dead_code, reason = "only the laboratory has pageable memory so far")
)]
pub fn alloc(may_fault: MayFault<'static>, owner: Owner, pages: u64) -> Result<Area, MakeError> {
    pageable().ok_or(MakeError::MayNotFault)?.alloc(may_fault, pages, owner.in_frames())
}

/// Tells whether an address is a pageable page's: a walk of tables that stay, without a lock.
pub fn contains(address: VirtAddr) -> bool {
    pageable().is_some_and(|all| all.contains(address))
}

/// Brings the page of an address into memory, for the handler of its fault.
///
/// # Errors
/// [`PageError`]: the access cannot be made.
pub fn resolve(address: VirtAddr) -> Result<(), PageError> {
    pageable().ok_or(PageError::NotPageable(address))?.resolve(may_fault()?, address)
}

/// The reclaimer that the allocator is told of at boot.
struct ColdPages;

impl Reclaimer for ColdPages {
    fn name(&self) -> &str {
        "pageable memory"
    }

    /// Does nothing with interrupts off, because it flushes other CPUs.
    fn reclaim(&self, pinned: Pinned<'_>, shortage: &Shortage) -> u64 {
        let wanted = shortage.order.frames().clamp(LEAST_WANTED, MOST_WANTED);
        pageable().map_or(0, |all| all.evict(pinned, wanted, shortage.ceiling))
    }
}
