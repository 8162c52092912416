//! The features that a CPU must have to take part: those that the boot CPU has and the kernel uses.

use super::features::Features;
use super::{apic, pkrs};

/// Returns the name of a feature that a CPU must have because the boot CPU has it, and that a CPU with the features
/// `mine` lacks; `None` if it lacks none.
pub fn missing(boot: &Features, mine: &Features) -> Option<&'static str> {
    [
        (boot.huge_pages, mine.huge_pages, "1-GiB pages"),
        (boot.machine_check, mine.machine_check, "machine-check exceptions"),
        (boot.global_pages, mine.global_pages, "global pages"),
        (boot.five_levels, mine.five_levels, "5-level paging"),
        (boot.invpcid, mine.invpcid, "INVPCID"),
        (boot.smep, mine.smep, "SMEP"),
        (boot.smap, mine.smap, "SMAP"),
        (boot.umip, mine.umip, "UMIP"),
        (pkrs::are_used(), mine.pks, "protection keys for supervisor pages"),
        (apic::is_x2apic(), mine.x2apic, "x2APIC"),
        (boot.tsc_deadline, mine.tsc_deadline, "the timer's TSC deadline"),
        (boot.invariant_tsc, mine.invariant_tsc, "a TSC of one rate"),
        (boot.tsc_adjust, mine.tsc_adjust, "an adjustment of the TSC"),
        (boot.machine_check_banks, mine.machine_check_banks, "banks of machine checks"),
        (true, mine.physical_bits >= boot.physical_bits, "as many physical address bits"),
    ]
    .into_iter()
    .find_map(|(needed, there, name)| (needed && !there).then_some(name))
}
