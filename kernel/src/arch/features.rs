//! The features of this CPU, by CPUID.
//!
//! The boot CPU's features decide for all; a CPU that has less does not take part: see [`super::requirements`].

use core::arch::x86_64::__cpuid_count;

use spin::Once;

use super::quirks;

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
    /// Reads the features of the CPU on which this runs.
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
}

static BOOT_FEATURES: Once<Features> = Once::new();

/// Returns the boot CPU's features, read once.
pub fn features() -> &'static Features {
    BOOT_FEATURES.call_once(Features::read)
}
