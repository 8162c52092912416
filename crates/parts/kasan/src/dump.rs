//! [`Dump`]: the shadow around an address, as Linux prints it.

use core::fmt;

use rhumb_machine::VirtAddr;

use crate::shadow::Shadow;
use crate::state::GRANULE_BYTES;

const ROW_GRANULES: u64 = 16;
const ROW_BYTES: u64 = ROW_GRANULES * GRANULE_BYTES;
const ROWS_AROUND: u64 = 2;

/// The shadow bytes around an address: five rows of 16, the granule itself pointed at.
pub struct Dump<'a> {
    /// Where the bytes are.
    pub shadow: &'a Shadow<'a>,
    /// The address that the dump points at.
    pub address: VirtAddr,
}

impl fmt::Display for Dump<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let here = self.address.get() & !(ROW_BYTES - 1);
        let first = here.saturating_sub(ROWS_AROUND * ROW_BYTES);
        for row in (0..=2 * ROWS_AROUND).filter_map(|row| first.checked_add(row * ROW_BYTES)) {
            let mark = if row == here { '>' } else { ' ' };
            write!(f, "{mark}{row:016x}:")?;
            for granule in 0..ROW_GRANULES {
                match self.shadow.byte(VirtAddr::new(row + granule * GRANULE_BYTES)) {
                    Some(byte) => write!(f, " {byte:02x}")?,
                    None => f.write_str(" --")?,
                }
            }
            writeln!(f)?;
            if row == here {
                let column = 18 + 3 * ((self.address.get() - here) / GRANULE_BYTES) as usize;
                writeln!(f, "{:column$} ^^", "")?;
            }
        }
        Ok(())
    }
}
