//! Windows: how each CPU sees, for a short while, frames that the direct map does not show.
//!
//! Boot has made a table for each CPU's windows; here is where it is found. [`super::window_tables`] writes its
//! entries, and all else is [`rhumb_windows`].

use core::fmt;

use arrayvec::ArrayVec;
use rhumb_frames::Frames;
use rhumb_machine::{CpuId, MAX_CPUS, PageSize, Pfn, impossible};
use rhumb_pagetable::{Access, Attributes, Entry, Scope, TableMemory};
use rhumb_tableguard::Protection;
use rhumb_windows::{CpuSlots, KEPT_SLOT, Windows};
use spin::Once;
use spin::mutex::{SpinMutex, SpinMutexGuard};

use super::window_tables::{self, KernelTables, KernelWindows};
use super::{protection, tables};
use crate::cpu::machine::KernelMachine;
use crate::facts::Boot;
use crate::layout;

static WINDOWS: Once<KernelWindows> = Once::new();
/// The slots of each CPU, in its node's memory, which the windows keep permanently.
static CPU_SLOTS: SpinMutex<ArrayVec<&mut CpuSlots, MAX_CPUS>> = SpinMutex::new(ArrayVec::new_const());

/// Gives the next CPU its slots: boot calls this for each CPU in turn, before [`start`].
pub fn add_cpu(slots: &'static mut CpuSlots) {
    if CPU_SLOTS.lock().try_push(slots).is_err() {
        impossible!("boot prepares no more than {MAX_CPUS} CPUs");
    }
}

/// Returns the windows; `None` before [`start`].
pub fn windows() -> Option<&'static KernelWindows> {
    WINDOWS.get()
}

/// Boot has left no table for a CPU's windows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoTable(pub CpuId);

impl fmt::Display for NoTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no table for the windows of CPU {}", self.0)
    }
}

/// Finds the tables. The windows show frames of `frames`. Once, at boot.
///
/// # Errors
/// [`NoTable`]: there are no windows at all then.
pub fn start(boot: &Boot, frames: &Frames<KernelMachine>) -> Result<&'static KernelWindows, NoTable> {
    let protection = protection::wanted();
    for cpu in (0..boot.cpus).filter_map(CpuId::new) {
        let walk = tables::walk(layout::windows(cpu).start());
        let last = walk.steps().last().filter(|step| step.level == 1).ok_or(NoTable(cpu))?;
        window_tables::set(cpu, last.table);
        if protection == Protection::Windows {
            show_own(last.table);
        }
    }
    Ok(WINDOWS.call_once(|| {
        let slots = SpinMutexGuard::leak(CPU_SLOTS.lock());
        Windows::new(frames, KernelTables::protected(protection), slots.as_mut_slice())
    }))
}

/// Shows a CPU its table in the slot that no window uses. Before that CPU opens a window.
fn show_own(table: Pfn) {
    let attributes = Attributes { scope: Scope::AddressSpace, ..Attributes::kernel(Access::ReadWrite) };
    let entry = Entry::leaf(table.addr(), PageSize::Size4K, attributes);
    // SAFETY: the table of a CPU's windows, in which this slot is for the table itself and shows it to that CPU alone.
    unsafe { tables::writer() }.write(table, KEPT_SLOT, entry);
}
