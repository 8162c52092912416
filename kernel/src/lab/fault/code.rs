//! Faults in executable memory, to see that their reports name it.

use rhumb_code::{Kind, Request, Write};
use rhumb_monitor::CommandError;

use super::provoke;
use crate::mm::{code, owners};

/// The fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CodeFault {
    /// Code that was freed is called.
    Freed,
    /// Code is written to.
    Written,
    /// Code of the pool runs an invalid instruction.
    Invalid,
}

/// `ud2`.
const INVALID: [u8; 2] = [0x0f, 0x0b];

/// Provokes it, in code of the monitor's whose name is `fault`. Where the CPU lets it pass, the code is freed.
pub(super) fn provoke(fault: CodeFault) -> Result<(), CommandError> {
    let pool = code::pool().ok_or_else(|| CommandError::failed("there is no executable memory"))?;
    let request = Request::new(Kind::Code, 100).owner(owners::MONITOR.in_frames()).named("fault");
    let keeper = pool.allocate(request).map_err(CommandError::failed)?;
    let mut part = match pool.allocate(request) {
        Ok(part) => part,
        Err(error) => {
            let _ = pool.free([keeper]);
            return Err(CommandError::failed(error));
        }
    };
    let written = pool.write(&mut [Write { part: &mut part, bytes: &INVALID }]).map_err(CommandError::failed);
    let address = part.address();
    let freed = match fault {
        CodeFault::Freed => {
            let freed = pool.free([part]).map_err(|refused| CommandError::failed(refused.error));
            provoke::execute(address);
            freed.and(pool.free([keeper]).map_err(|refused| CommandError::failed(refused.error)))
        }
        CodeFault::Written | CodeFault::Invalid => {
            if fault == CodeFault::Written {
                provoke::write(address)
            } else {
                provoke::execute(address)
            }
            pool.free([part, keeper]).map_err(|refused| CommandError::failed(refused.error))
        }
    };
    written.and(freed)
}
