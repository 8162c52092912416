//! DMAR: whether the firmware can live with x2APICs.
//!
//! Of the table that describes interrupt and DMA remapping only its flags are read (offset 37). Bit 1 is the firmware's
//! request to leave the local APICs in xAPIC mode, because its own code (SMM) does not know the other one.
//!
//! Source: Intel Virtualization Technology for Directed I/O, revision 4.1, section 8.1.

use super::finding::FirmwareFinding;
use super::tables::Table;

const FLAGS: usize = 37;
const INTERRUPT_REMAPPING: u8 = 1 << 0;
const X2APIC_OPT_OUT: u8 = 1 << 1;

/// Interrupt remapping, as the platform describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remapping {
    /// Whether the platform has interrupt remapping.
    pub interrupts: bool,
    /// Whether the firmware asks that x2APIC mode is not turned on.
    pub x2apic_opt_out: bool,
}

/// Reads the DMAR.
pub(super) fn from_dmar(dmar: &Table<'_>) -> Result<Remapping, FirmwareFinding> {
    let flags = dmar.bytes.get(FLAGS).ok_or_else(|| dmar.too_short())?;
    Ok(Remapping {
        interrupts: flags & INTERRUPT_REMAPPING != 0,
        // Means something only beside the other bit (8.1).
        x2apic_opt_out: flags & (INTERRUPT_REMAPPING | X2APIC_OPT_OUT)
            == INTERRUPT_REMAPPING | X2APIC_OPT_OUT,
    })
}
