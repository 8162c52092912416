//! What this CPU can do, and the control registers that make it do so.
//!
//! Each control-register bit is gated on its CPUID feature: setting one that the CPU lacks is a general-protection
//! fault on hardware and an endless loop in some emulators. The boot CPU's features decide for all; a CPU that has less
//! is not started.

use rhumb_machine::VirtAddr;
use rhumb_pagetable::attributes::{IA32_PAT, PAT_LAYOUT};
use spin::Once;
use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags};
use x86_64::registers::model_specific::{Efer, EferFlags, Msr};

use core::arch::naked_asm;
use core::arch::x86_64::__cpuid_count;
use core::sync::atomic::Ordering::Relaxed;

use crate::arch::idt::TrapFrame;
use crate::arch::pkrs::Pkrs;
use crate::arch::{apic, percpu, quirks};
use crate::mm::protect;

/// The features that Rhumb uses, each optional.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Features {
    /// 1-GiB pages in page tables.
    pub huge_pages: bool,
    /// Machine checks are reported by an exception.
    pub machine_check: bool,
    /// Global translations.
    pub global_pages: bool,
    /// 5-level paging.
    pub five_levels: bool,
    /// Process-context identifiers.
    pub pcid: bool,
    /// The INVPCID instruction.
    pub invpcid: bool,
    /// Supervisor-mode execution prevention.
    pub smep: bool,
    /// Supervisor-mode access prevention.
    pub smap: bool,
    /// User-mode instruction prevention.
    pub umip: bool,
    /// Protection keys for supervisor pages.
    pub pks: bool,
    /// The APIC is programmed through MSRs.
    pub x2apic: bool,
    /// The APIC timer can wait for a TSC value.
    pub tsc_deadline: bool,
    /// The TSC runs at one rate in all power states.
    pub invariant_tsc: bool,
    /// The TSC has an adjustment that can be read and written.
    pub tsc_adjust: bool,
    /// Machine checks are recorded in banks of registers.
    pub machine_check_banks: bool,
    /// Physical address bits.
    pub physical_bits: u8,
}

impl Features {
    /// Asks this CPU.
    pub fn read() -> Self {
        let leaf = |leaf: u32| {
            let most = __cpuid_count(leaf & 0x8000_0000, 0).eax;
            if leaf <= most { Some(__cpuid_count(leaf, 0)) } else { None }
        };
        let bit = |word: Option<u32>, bit: u32| word.is_some_and(|word| word & (1 << bit) != 0);
        let (one, seven) = (leaf(1), leaf(7));
        let (extended, power, sizes) = (leaf(0x8000_0001), leaf(0x8000_0007), leaf(0x8000_0008));
        Self {
            huge_pages: bit(extended.map(|r| r.edx), 26),
            machine_check: bit(one.map(|r| r.edx), 7),
            global_pages: bit(one.map(|r| r.edx), 13),
            five_levels: bit(seven.map(|r| r.ecx), 16),
            pcid: bit(one.map(|r| r.ecx), 17),
            invpcid: bit(seven.map(|r| r.ebx), 10),
            smep: bit(seven.map(|r| r.ebx), 7),
            smap: bit(seven.map(|r| r.ebx), 20),
            umip: bit(seven.map(|r| r.ecx), 2),
            pks: bit(seven.map(|r| r.ecx), 31),
            x2apic: bit(one.map(|r| r.ecx), 21),
            tsc_deadline: bit(one.map(|r| r.ecx), 24) && !quirks::deadline_is_broken(),
            invariant_tsc: bit(power.map(|r| r.edx), 8),
            tsc_adjust: bit(seven.map(|r| r.ebx), 1),
            machine_check_banks: bit(one.map(|r| r.edx), 14),
            physical_bits: sizes.map_or(36, |r| r.eax as u8),
        }
    }

    /// Names of what `self` has and `other` lacks, for a report.
    pub fn missing_in(&self, other: &Self) -> Option<&'static str> {
        [
            (self.huge_pages, other.huge_pages, "1-GiB pages"),
            (self.machine_check, other.machine_check, "machine-check exceptions"),
            (self.global_pages, other.global_pages, "global pages"),
            (self.five_levels, other.five_levels, "5-level paging"),
            (self.invpcid, other.invpcid, "INVPCID"),
            (self.smep, other.smep, "SMEP"),
            (self.smap, other.smap, "SMAP"),
            (self.umip, other.umip, "UMIP"),
            (protect::wants_keys(), other.pks, "protection keys for supervisor pages"),
            (apic::is_x2apic(), other.x2apic, "x2APIC"),
            (self.tsc_deadline, other.tsc_deadline, "the timer's TSC deadline"),
            (self.invariant_tsc, other.invariant_tsc, "a TSC of one rate"),
            (self.tsc_adjust, other.tsc_adjust, "an adjustment of the TSC"),
            (self.machine_check_banks, other.machine_check_banks, "banks of machine checks"),
            (true, other.physical_bits >= self.physical_bits, "as many physical address bits"),
        ]
        .into_iter()
        .find_map(|(needed, there, name)| (needed && !there).then_some(name))
    }
}

static BOOT_FEATURES: Once<Features> = Once::new();

/// What the boot CPU can do, read once.
pub fn features() -> &'static Features {
    BOOT_FEATURES.call_once(Features::read)
}

/// The control registers that say what this CPU allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Controls {
    pub cr0: u64,
    pub cr4: u64,
    pub efer: u64,
}

/// CR0 of every CPU, whatever its loader left: paging and write protection on, caches on, floating-point errors by their
/// own exception.
const CR0: Cr0Flags = Cr0Flags::PROTECTED_MODE_ENABLE
    .union(Cr0Flags::MONITOR_COPROCESSOR)
    .union(Cr0Flags::EXTENSION_TYPE)
    .union(Cr0Flags::NUMERIC_ERROR)
    .union(Cr0Flags::WRITE_PROTECT)
    .union(Cr0Flags::PAGING);

/// SYSENTER's code segment: with 0 the instruction faults.
const IA32_SYSENTER_CS: u32 = 0x174;

impl Controls {
    /// This CPU's now.
    pub fn read() -> Self {
        Self { cr0: Cr0::read_raw(), cr4: Cr4::read_raw(), efer: Efer::read_raw() }
    }

    /// What every CPU must have. Of what is there only the number of levels of page tables is kept, which cannot be
    /// changed any more, and what EFER has beside.
    fn wanted() -> Self {
        let features = features();
        let mut cr4 = Cr4Flags::PHYSICAL_ADDRESS_EXTENSION | Cr4::read() & Cr4Flags::L5_PAGING;
        for (there, bit) in [
            (features.machine_check, Cr4Flags::MACHINE_CHECK_EXCEPTION),
            (features.global_pages, Cr4Flags::PAGE_GLOBAL),
            (features.smep, Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION),
            (features.smap, Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION),
            (features.umip, Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION),
            (protect::wants_keys(), Cr4Flags::PROTECTION_KEY_SUPERVISOR),
        ] {
            if there {
                cr4 |= bit;
            }
        }
        let efer = (Efer::read() | EferFlags::NO_EXECUTE_ENABLE) - EferFlags::SYSTEM_CALL_EXTENSIONS;
        Self { cr0: CR0.bits(), cr4: cr4.bits(), efer: efer.bits() }
    }

    /// What `area`'s CPU noted last.
    pub fn noted(area: &percpu::PerCpu) -> Self {
        let [cr0, cr4, efer] = area.controls.each_ref().map(|word| word.load(Relaxed));
        Self { cr0, cr4, efer }
    }

    /// Notes this CPU's registers in its area, for other CPUs to read.
    pub fn note() {
        let Self { cr0, cr4, efer } = Self::read();
        for (word, value) in percpu::here().controls.iter().zip([cr0, cr4, efer]) {
            word.store(value, Relaxed);
        }
    }

    /// Names of the protections that are on.
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

/// Gives the control registers the same value on each CPU: what the kernel's own tables rely on (write protection,
/// no-execute, global pages, SMEP, SMAP, UMIP, protection keys where tables have one, closed from the start), and machine
/// checks, which reset the machine without a word where they cannot raise their exception. System calls stay off. Called
/// once the kernel's tables are loaded. PCIDs stay off: see `rhumb_pagetable::flush::sequence`.
///
/// # Errors
/// The CPU did not take a value: it may not go on.
pub fn enable_protections() -> Result<(), NotTaken> {
    if protect::wants_keys() {
        Pkrs.set(protect::CLOSED);
    }
    // SAFETY: every 64-bit CPU has the PAT. Its first four slots, all that the boot tables use, keep their meaning.
    unsafe { Msr::new(IA32_PAT).write(PAT_LAYOUT) };
    // SAFETY: every 64-bit CPU has it; nothing uses SYSENTER.
    unsafe { Msr::new(IA32_SYSENTER_CS).write(0) };
    let wanted = Controls::wanted();
    // SAFETY: each bit is there by CPUID; kernel memory is supervisor memory, so SMEP and SMAP take nothing from us; what
    // is cleared nothing uses.
    unsafe {
        Efer::write_raw(wanted.efer);
        Cr0::write_raw(wanted.cr0);
        // Global pages last: turning the bit on drops every translation, the boot tables' included.
        Cr4::write_raw(wanted.cr4);
    }
    Controls::note();
    let found = Controls::read();
    if found == wanted { Ok(()) } else { Err(NotTaken { wanted, found }) }
}

/// What the last debug exception was for: DR6.
pub fn debug_status() -> u64 {
    let status: u64;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, dr6", out(reg) status, options(nomem, nostack, preserves_flags)) };
    status
}

/// Where a CPU is that has turned interrupts on and is about to halt.
pub fn idle_halt() -> VirtAddr {
    unsafe extern "C" {
        static idle_halt: u8;
    }
    VirtAddr::from(&raw const idle_halt)
}

/// Turns interrupts on and halts until one comes. One that waits already ends the halt: interrupts come on behind the
/// instruction that follows.
///
/// A non-maskable interrupt may come between the two; those that wait then strike when it returns, before the halt,
/// which nothing would end: see [`skip_halt`].
#[unsafe(naked)]
pub extern "sysv64" fn enable_interrupts_and_halt() {
    naked_asm!("sti", ".globl idle_halt", "idle_halt:", "hlt", "ret")
}

/// Called by a non-maskable interrupt that returns: a CPU that was about to halt does not. It looks again whether there
/// is anything to do.
pub fn skip_halt(frame: &mut TrapFrame) {
    if frame.rip == idle_halt().get() {
        // `hlt` is one byte.
        frame.rip += 1;
    }
}

/// Stops this CPU for good.
pub fn halt_for_ever() -> ! {
    loop {
        x86_64::instructions::interrupts::disable();
        x86_64::instructions::hlt();
    }
}
