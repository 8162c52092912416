//! [`PageHome`]: how a CPU reaches pages and frames, and when it may fault.
#![expect(unsafe_code, reason = "declares unsafe traits")]

use rhumb_frames::{Anywhere, Frame};
use rhumb_kernelmap::Home;
use rhumb_machine::{Pfn, VirtAddr};

/// Bytes of a page.
pub const PAGE_BYTES: usize = 4096;

/// The contents of a page.
pub type PageBytes = [u8; PAGE_BYTES];

/// A [`Home`] of a kernel map that has pageable memory, too.
///
/// # Safety
/// Contents are read and written where the home says, so an implementation promises:
/// - [`PageHome::place`] returns an address at which this CPU reads and writes the page of `pfn`, for as long as the
///   page is mapped at `address`.
/// - [`PageHome::with_bytes`] calls `act` with the bytes of the frame, and of no other.
/// - [`PageHome::may_fault`] is true only where the CPU takes interrupts and runs no interrupt handler, so that it
///   holds no lock for which a handler waits.
pub unsafe trait PageHome: Home {
    /// Tells whether the caller may wait for a page here: in thread context, with interrupts on.
    fn may_fault(&self) -> bool;

    /// Returns where this CPU reaches a page that is mapped: at its address, as a kernel does.
    fn place(&self, address: VirtAddr, pfn: Pfn) -> *mut u8 {
        let _ = pfn;
        address.as_mut_ptr()
    }

    /// Calls `act` with the bytes of a frame of order 0, in the direct map or through a window. `None` where the CPU
    /// cannot reach the frame; `act` has not run then.
    fn with_bytes<A>(&self, frame: &mut Frame<Anywhere>, act: impl FnOnce(&mut PageBytes) -> A) -> Option<A>;
}

/// A home where each page is reached at its own address, so that the pages of a pin are one slice.
///
/// # Safety
/// [`PageHome::place`] returns the address that it is given.
pub unsafe trait RealAddresses: PageHome {}
