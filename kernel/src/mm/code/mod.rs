//! Executable memory, and the data beside it: the kernel's one [`CodePool`].
//!
//! ```text
//!   pool().allocate(Request::new(Kind::Code, bytes).owner(..).named(..))  -> Part, which traps   (data: zero)
//!   pool().write(&mut [Write { part, bytes }, ..])                        -> every CPU may run it
//!   pool().free([part, ..])                                               -> every CPU traps there
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`home`] | the pool's frames, windows, page-table entries, flushes and locks |
//!
//! The pool begins empty, and has memory while it has parts. Its changes are made with interrupts on, and not by
//! interrupt handlers. Reports ask [`find`], which waits for nothing.
//!
//! In the direct map's journal the blocks are held by one owner, `code pool`; each part has an owner of its own.

mod home;

use core::fmt;

use rhumb_code::{CodePool, PartInfo};
use rhumb_frames::Frames;
use rhumb_machine::VirtAddr;
use spin::Once;

use crate::cpu::backtrace;
use crate::cpu::machine::KernelMachine;
use crate::layout;
use crate::mm::owners::Name;
pub use home::KernelHome;

static POOL: Once<CodePool<KernelHome>> = Once::new();

/// Why there is no pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartError {
    /// There are no windows.
    NoWindows,
    /// Boot has left no table for the pool's addresses.
    NoTable,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoWindows => "there are no windows",
            Self::NoTable => "there is no table for it",
        })
    }
}

/// Makes the pool. Once, at boot, when there are windows.
///
/// # Errors
/// [`StartError`]: there is no pool then.
pub fn start(frames: &'static Frames<KernelMachine>) -> Result<(), StartError> {
    let home = KernelHome::new(frames)?;
    POOL.call_once(|| CodePool::new(home, layout::range(layout::CODE, layout::CODE_BYTES)));
    backtrace::name_code_by(find);
    Ok(())
}

/// Returns the pool; `None` before [`start`].
pub fn pool() -> Option<&'static CodePool<KernelHome>> {
    POOL.get()
}

/// Tells whether `address` is one of the pool's, mapped or not.
pub fn is_in_range(address: VirtAddr) -> bool {
    layout::range(layout::CODE, layout::CODE_BYTES).contains(address)
}

/// Returns the part that `address` lies in. Waits for nothing: where the pool is just noting a change, the answer is
/// `None`.
pub fn find(address: VirtAddr) -> Option<PartInfo> {
    pool()?.try_find(address)
}

/// A sentence about an address of the pool.
pub struct At(pub VirtAddr);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(part) = find(self.0) else {
            return f.write_str("no part of it is there: what is free traps");
        };
        let PartInfo { range, kind, owner, name, is_written } = part;
        write!(f, "it is {:#x} into the {kind} of '{name}' ({})", self.0.since(range.start()), Name(owner))?;
        if is_written { Ok(()) } else { f.write_str(", which nothing was written to") }
    }
}
