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

use crate::arch::idt::TrapFrame;
use crate::arch::pkrs::Pkrs;
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
            tsc_deadline: bit(one.map(|r| r.ecx), 24),
            invariant_tsc: bit(power.map(|r| r.edx), 8),
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
            (self.x2apic, other.x2apic, "x2APIC"),
            (self.tsc_deadline, other.tsc_deadline, "the timer's TSC deadline"),
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

/// Turns on what the kernel's own tables rely on: write protection, no-execute, global pages, SMEP, SMAP, UMIP,
/// protection keys where tables have one (closed from the start); and machine checks, which reset the machine without a
/// word where they cannot raise their exception. Called on each CPU once its tables are loaded. PCIDs stay off: see
/// `rhumb_pagetable::flush::sequence`.
pub fn enable_protections() {
    let features = features();
    let mut bits = Cr4Flags::PHYSICAL_ADDRESS_EXTENSION;
    for (there, bit) in [
        (features.machine_check, Cr4Flags::MACHINE_CHECK_EXCEPTION),
        (features.global_pages, Cr4Flags::PAGE_GLOBAL),
        (features.smep, Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION),
        (features.smap, Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION),
        (features.umip, Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION),
        (protect::wants_keys(), Cr4Flags::PROTECTION_KEY_SUPERVISOR),
    ] {
        if there {
            bits |= bit;
        }
    }
    if protect::wants_keys() {
        Pkrs.set(protect::CLOSED);
    }
    // SAFETY: every 64-bit CPU has the PAT. Its first four slots, all that the boot tables use, keep their meaning.
    unsafe { Msr::new(IA32_PAT).write(PAT_LAYOUT) };
    // SAFETY: each bit is there by CPUID; kernel memory is supervisor memory, so SMEP and SMAP take nothing from us.
    unsafe {
        Efer::update(|efer| *efer |= EferFlags::NO_EXECUTE_ENABLE);
        Cr0::update(|cr0| *cr0 |= Cr0Flags::WRITE_PROTECT);
        // Global pages last: turning the bit on drops every translation, the boot tables' included.
        Cr4::update(|cr4| *cr4 |= bits);
    }
}

/// What is on now, for `cpus`: names separated by blanks.
pub fn enabled_protections() -> impl Iterator<Item = &'static str> {
    let (cr0, cr4, efer) = (Cr0::read(), Cr4::read(), Efer::read());
    [
        (efer.contains(EferFlags::NO_EXECUTE_ENABLE), "nx"),
        (cr0.contains(Cr0Flags::WRITE_PROTECT), "wp"),
        (cr4.contains(Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION), "smep"),
        (cr4.contains(Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION), "smap"),
        (cr4.contains(Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION), "umip"),
        (cr4.contains(Cr4Flags::PAGE_GLOBAL), "pge"),
        (cr4.contains(Cr4Flags::PCID), "pcid"),
        (cr4.contains(Cr4Flags::PROTECTION_KEY_SUPERVISOR), "pks"),
        (cr4.contains(Cr4Flags::L5_PAGING), "la57"),
    ]
    .into_iter()
    .filter_map(|(on, name)| on.then_some(name))
}

/// [`enabled_protections`] as one text.
pub struct ProtectionNames;

impl core::fmt::Display for ProtectionNames {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        enabled_protections().enumerate().try_for_each(|(index, name)| {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(name)
        })
    }
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
