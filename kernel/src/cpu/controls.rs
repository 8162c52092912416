//! Whether each CPU has the control registers that boot decided on: no code changes them later.

use core::fmt;

use rhumb_machine::{CpuId, Machine};

use super::machine::MACHINE;
use super::{area, call, online};
use crate::arch::control::{self, Controls};

/// Has each CPU that runs note its control registers.
///
/// Cost: a call of each CPU.
pub fn note_all() {
    let guard = MACHINE.pin();
    let note = || area::here(MACHINE.pin().pinned()).note_controls();
    call::run_on(guard.pinned(), &online(), &note, note);
}

/// Returns each CPU that runs with what it noted last.
pub fn noted() -> impl Iterator<Item = (CpuId, Controls)> {
    area::all().filter(|area| online().contains(area.id())).map(|area| (area.id(), area.noted_controls()))
}

/// A CPU whose control registers are not those that boot decided on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stray {
    cpu: CpuId,
    found: Controls,
    pinned: Controls,
}

impl fmt::Display for Stray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, found, pinned } = self;
        write!(
            f,
            "CPU {cpu} has other control registers than boot decided on: cr0 {:#x}, cr4 {:#x}, efer {:#x}, not {:#x}, \
             {:#x}, {:#x}",
            found.cr0, found.cr4, found.efer, pinned.cr0, pinned.cr4, pinned.efer
        )
    }
}

/// Asks each CPU that runs, and returns those that stray.
///
/// Cost: a call of each CPU.
pub fn strays() -> impl Iterator<Item = Stray> {
    note_all();
    let pinned = control::pinned();
    noted().filter_map(move |(cpu, found)| {
        let pinned = pinned.filter(|&pinned| pinned != found)?;
        Some(Stray { cpu, found, pinned })
    })
}
