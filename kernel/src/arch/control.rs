//! The control registers that say what a CPU allows, with the same values on every CPU.
//!
//! Each bit is gated on its CPUID feature: setting one that the CPU lacks is a general-protection fault on hardware and
//! an endless loop in some emulators.

use rhumb_pagetable::attributes::{IA32_PAT, PAT_LAYOUT};
use rhumb_speculation::Measures;
use spin::Once;
use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags};
use x86_64::registers::model_specific::{Efer, EferFlags, Msr};

use super::features::features;
use super::pkrs::{self, Pkrs};

/// Executes a serialising instruction: the CPU runs nothing behind it that it fetched before it.
///
/// A write of CR2, with the value that it has, serialises on every CPU (SDM volume 3, 9.3: "MOV to control register, with
/// the exception of MOV CR8"; APM volume 2, 7.6.4), and unlike CPUID, it does not leave a virtual machine. A fault between the two
/// instructions would find its own address overwritten, but neither can fault, and the handlers of non-maskable
/// interrupts do not fault either.
pub fn serialise() {
    // SAFETY: the register says nothing to the CPU, and gets the value that it has.
    unsafe {
        core::arch::asm!("mov {0}, cr2", "mov cr2, {0}", out(reg) _, options(nostack, preserves_flags));
    }
}

/// Sets the address of the last page fault to what it was, for a report: a handler has let others come in between.
pub fn set_fault_address(address: u64) {
    // SAFETY: the register says nothing to the CPU.
    unsafe { core::arch::asm!("mov cr2, {0}", in(reg) address, options(nostack, preserves_flags)) };
}

/// The control registers that say what this CPU allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Controls {
    pub cr0: u64,
    pub cr4: u64,
    pub efer: u64,
}

/// CR0 of every CPU, whatever its loader left: paging and write protection on, caches on, floating-point errors by
/// their own exception.
const CR0: Cr0Flags = Cr0Flags::PROTECTED_MODE_ENABLE
    .union(Cr0Flags::MONITOR_COPROCESSOR)
    .union(Cr0Flags::EXTENSION_TYPE)
    .union(Cr0Flags::NUMERIC_ERROR)
    .union(Cr0Flags::WRITE_PROTECT)
    .union(Cr0Flags::PAGING);

/// EFER.AutoIBRS (APM volume 2, 3.1.7).
const AUTO_IBRS: u64 = 1 << 21;

/// SYSENTER's code segment (with 0 the instruction faults), stack and code; and the bases of FS and of the GS that SWAPGS
/// takes. Loaders may have left values there, and a program would get them.
const UNUSED: [u32; 5] = [0x174, 0x175, 0x176, 0xc000_0100, 0xc000_0102];

impl Controls {
    /// Returns this CPU's now.
    pub fn read() -> Self {
        Self { cr0: Cr0::read_raw(), cr4: Cr4::read_raw(), efer: Efer::read_raw() }
    }

    /// Returns the controls that every CPU must have. Of the old ones only the number of levels of page tables is kept,
    /// which cannot be changed any more, and what EFER has beside.
    fn wanted(measures: &Measures) -> Self {
        let features = features();
        let mut cr4 = Cr4Flags::PHYSICAL_ADDRESS_EXTENSION | Cr4::read() & Cr4Flags::L5_PAGING;
        for (there, bit) in [
            (features.machine_check, Cr4Flags::MACHINE_CHECK_EXCEPTION),
            (features.global_pages, Cr4Flags::PAGE_GLOBAL),
            (features.smep, Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION),
            (features.smap, Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION),
            (features.umip, Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION),
            (pkrs::are_used(), Cr4Flags::PROTECTION_KEY_SUPERVISOR),
        ] {
            if there {
                cr4 |= bit;
            }
        }
        let efer = (Efer::read() | EferFlags::NO_EXECUTE_ENABLE) - EferFlags::SYSTEM_CALL_EXTENSIONS;
        let auto_ibrs = if measures.auto_ibrs { AUTO_IBRS } else { 0 };
        Self { cr0: CR0.bits(), cr4: cr4.bits(), efer: efer.bits() | auto_ibrs }
    }

    /// Returns the names of the protections that are on.
    pub fn protections(&self) -> impl Iterator<Item = &'static str> {
        let (cr0, cr4) = (Cr0Flags::from_bits_truncate(self.cr0), Cr4Flags::from_bits_truncate(self.cr4));
        let efer = EferFlags::from_bits_truncate(self.efer);
        [
            (efer.contains(EferFlags::NO_EXECUTE_ENABLE), "nx"),
            (cr0.contains(Cr0Flags::WRITE_PROTECT), "wp"),
            (cr4.contains(Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION), "smep"),
            (cr4.contains(Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION), "smap"),
            (cr4.contains(Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION), "umip"),
            (cr4.contains(Cr4Flags::PAGE_GLOBAL), "pge"),
            (cr4.contains(Cr4Flags::PROTECTION_KEY_SUPERVISOR), "pks"),
            (cr4.contains(Cr4Flags::L5_PAGING), "la57"),
        ]
        .into_iter()
        .filter_map(|(on, name)| on.then_some(name))
    }
}

impl core::fmt::Display for Controls {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.protections().enumerate().try_for_each(|(index, name)| {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(name)
        })
    }
}

/// A control register does not hold what was written to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotTaken {
    pub wanted: Controls,
    pub found: Controls,
}

impl core::fmt::Display for NotTaken {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (w, o) = (self.wanted, self.found);
        write!(
            f,
            "CR0, CR4, EFER are {:#x}, {:#x}, {:#x}, not {:#x}, {:#x}, {:#x}",
            o.cr0, o.cr4, o.efer, w.cr0, w.cr4, w.efer
        )
    }
}

/// The boot CPU's, which all have.
static PINNED: Once<Controls> = Once::new();

/// Returns the controls that every CPU has, and keeps; `None` until the boot CPU has them.
pub fn pinned() -> Option<Controls> {
    PINNED.get().copied()
}

/// Gives the control registers the same value on each CPU: what the kernel's own tables rely on (write protection,
/// no-execute, global pages, SMEP, SMAP, UMIP, protection keys where tables have one, closed from the start), and
/// machine checks, which reset the machine without a word where they cannot raise their exception. System calls stay
/// off. `measures` are those against speculation. Called once the kernel's tables are loaded, by the boot CPU first, whose values are all others'. PCIDs stay off: see `rhumb_pagetable::flush::sequence`.
///
/// # Errors
/// The CPU did not take a value: it may not go on.
pub fn enable_protections(measures: &Measures) -> Result<(), NotTaken> {
    if pkrs::are_used() {
        Pkrs.set(pkrs::CLOSED);
    }
    // SAFETY: every 64-bit CPU has the PAT. Its first four slots, all that the boot tables use, keep their meaning.
    unsafe { Msr::new(IA32_PAT).write(PAT_LAYOUT) };
    // SAFETY: every 64-bit CPU has these registers, and nothing of the kernel uses them.
    UNUSED.into_iter().for_each(|register| unsafe { Msr::new(register).write(0) });
    let wanted = Controls::wanted(measures);
    // SAFETY: each bit is there by CPUID; kernel memory is supervisor memory, so SMEP and SMAP take nothing from us;
    // no code uses the bits that are cleared.
    unsafe {
        Efer::write_raw(wanted.efer);
        Cr0::write_raw(wanted.cr0);
        // Global pages last: turning the bit on drops every translation, the boot tables' included.
        Cr4::write_raw(wanted.cr4);
    }
    let (found, wanted) = (Controls::read(), *PINNED.call_once(|| wanted));
    if found == wanted { Ok(()) } else { Err(NotTaken { wanted, found }) }
}

/// Returns the reason of the last debug exception: DR6.
pub fn debug_status() -> u64 {
    let status: u64;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, dr6", out(reg) status, options(nomem, nostack, preserves_flags)) };
    status
}
