//! HPET: where the high-precision event timer's registers are.
//!
//! ```text
//!  36 hardware id u32   40 registers (address structure)   52 number u8   53 least tick u16   55 protection u8
//! address structure:  0 space u8   1 width u8   2 offset u8   3 access size u8   4 address u64
//! ```
//!
//! The registers are a KiB, of which the first 256 bytes are the counter's own. Their content (the period) is read by
//! `rhumb_smp::clock::hpet_rate`, not here.
//!
//! Source: IA-PC HPET Specification 1.0a, sections 2.3 and 3.2.4.

use rhumb_machine::{PageSize, PhysAddr};

use super::finding::{FirmwareFinding, TableFault};
use super::tables::Table;
use crate::phys::Fields;

const TABLE_BYTES: usize = 56;
const SPACE: usize = 40;
const ADDRESS: usize = 44;
const SPACE_MEMORY: u8 = 0;
/// Registers that a reader of the counter needs.
const REGISTER_BYTES: u64 = 0x100;

/// Returns where the registers are; `None` where the table names none (address 0).
pub(super) fn from_table(hpet: &Table<'_>) -> Result<Option<PhysAddr>, FirmwareFinding> {
    let address = Fields(hpet.bytes).u64(ADDRESS).filter(|_| hpet.bytes.len() >= TABLE_BYTES);
    let at = PhysAddr::new(address.ok_or_else(|| hpet.too_short())?);
    if at == PhysAddr::ZERO {
        return Ok(None);
    }
    // They are used through one page, and by aligned accesses of 8 bytes.
    let is_usable = hpet.bytes[SPACE] == SPACE_MEMORY
        && at.get().is_multiple_of(8)
        && at.offset_in(PageSize::Size4K) + REGISTER_BYTES <= PageSize::Size4K.bytes()
        && at.get() < 1 << 52;
    if is_usable { Ok(Some(at)) } else { Err(hpet.finding(TableFault::RegisterSpace("event timer"))) }
}
