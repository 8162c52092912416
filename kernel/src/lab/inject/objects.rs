//! Faults with objects, made on purpose: a check that cannot fail checks nothing.
//!
//! They happen to an object of the class for 64 bytes, and only where that class is checked (boot with
//! `slab_debug=FZPU`): the room around an object is then the allocator's own, and no other data is written.

use core::alloc::Layout;
use core::fmt;
use core::ptr::NonNull;

use rhumb_machine::Machine;
use rhumb_slab::{AllocError, Checks, Slabs};

use crate::cpu::machine::{KernelMachine, MACHINE};

/// The fault to make.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A byte behind the object is written.
    Overrun,
    /// A byte before it is.
    Underrun,
    /// A byte of it is, after it was freed.
    WriteAfterFree,
    /// It is freed twice.
    DoubleFree,
    /// An address that is no object is freed.
    ForeignFree,
    /// It is never freed.
    Leak,
}

impl Fault {
    /// Their names at the prompt.
    pub const NAMES: &'static [&'static str] =
        &["overrun", "underrun", "write-after-free", "double-free", "foreign-free", "leak"];
    const ALL: [Self; 6] = [
        Self::Overrun,
        Self::Underrun,
        Self::WriteAfterFree,
        Self::DoubleFree,
        Self::ForeignFree,
        Self::Leak,
    ];

    /// Returns the one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().zip(Self::ALL).find_map(|(&known, fault)| (known == name).then_some(fault))
    }
}

/// Why nothing was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotInjected {
    /// The class is not checked.
    Unchecked,
    /// There was no object.
    NoMemory(AllocError),
}

impl fmt::Display for NotInjected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unchecked => f.write_str("objects of 64 bytes are not checked: boot with slab_debug=FZPU"),
            Self::NoMemory(error) => error.fmt(f),
        }
    }
}

/// Does it, and says how many faults the allocator reported of it.
#[inline(never)] // Reports name it as the caller.
pub fn inject(slabs: &Slabs<KernelMachine>, fault: Fault) -> Result<u64, NotInjected> {
    let layout = Layout::new::<[u64; 8]>();
    let wanted = Checks::RED_ZONES.with(Checks::POISON).with(Checks::USERS);
    let mut checked = false;
    slabs.for_each_report(|cache| {
        checked |= cache.object_bytes as usize == layout.size() && cache.checks.has(wanted);
    });
    if !checked {
        return Err(NotInjected::Unchecked);
    }
    let before = slabs.totals().faults;
    let guard = MACHINE.pin();
    let object = slabs.alloc(guard.pinned(), layout).map_err(NotInjected::NoMemory)?;
    // SAFETY: the class is checked, so the 16 bytes before and behind the object are its red zones, and a freed object
    // has no user until it is taken again; the frees are wrong on purpose, and the allocator refuses them.
    unsafe {
        let write = |at: isize| object.as_ptr().offset(at).write_volatile(0xff);
        match fault {
            Fault::Overrun => write(layout.size() as isize),
            Fault::Underrun => write(-1),
            Fault::Leak => return Ok(slabs.totals().faults - before),
            _ => {}
        }
        slabs.free(guard.pinned(), object, layout);
        match fault {
            Fault::WriteAfterFree => {
                write(0);
                // It is noticed when the object is taken again.
                if let Ok(again) = slabs.alloc(guard.pinned(), layout) {
                    slabs.free(guard.pinned(), again, layout);
                }
            }
            Fault::DoubleFree => slabs.free(guard.pinned(), object, layout),
            Fault::ForeignFree => slabs.free(guard.pinned(), NonNull::from(&guard).cast(), layout),
            _ => {}
        }
    }
    Ok(slabs.totals().faults - before)
}
