//! How much of its stack a report takes, told where it is too much.
//!
//! An exception's stack is short, and a report leaves its lower half to the exceptions that come meanwhile. A large
//! object in a function that a report may call is easily overlooked: what belongs to all CPUs takes 8 KiB. So a report
//! fills the unused part of its stack with a pattern, and looks at the end how much of the pattern is left.

use core::fmt::{self, Write};

use rhumb_machine::{Machine, VirtAddr, VirtRange};

use crate::cpu::area;
use crate::cpu::machine::MACHINE;
use crate::cpu::stacks::Part;
use crate::layout::Stack;

const PATTERN: u64 = 0x7573_6564_7573_6564;
/// Below the stack pointer of the function that fills, bytes that it may use itself.
const OWN_BYTES: u64 = 512;

/// The stack of a report, where it is an exception's.
pub struct StackUse(Option<VirtRange>);

impl StackUse {
    /// Fills the unused part of the stack on which this runs, if it is an exception's.
    #[inline(never)]
    pub fn begin() -> Self {
        let pointer: u64;
        // SAFETY: copies a register.
        unsafe {
            core::arch::asm!("mov {}, rsp", out(reg) pointer, options(nomem, nostack, preserves_flags))
        };
        // The checker of memory accesses knows the stack's own red zones.
        let guard = MACHINE.pin();
        let here = area::here(guard.pinned());
        let stacks = &here.stacks;
        let on = stacks.at(VirtAddr::new(pointer)).filter(|_| cfg!(not(feature = "kasan")));
        let Some((stack @ Stack::Interrupt(_), Part::Pages)) = on else { return Self(None) };
        let Some(range) = stacks.range(stack) else { return Self(None) };
        let mut at = range.start();
        while at.plus(OWN_BYTES).get() < pointer {
            // SAFETY: the word is on this CPU's stack, below all that this function and its callers use of it; what an
            // earlier exception has left there, no code reads.
            unsafe { at.as_mut_ptr::<u64>().write_volatile(PATTERN) };
            at = at.plus(8);
        }
        Self(Some(range))
    }

    /// Says so if more than the upper half has been used since.
    pub fn tell(&self, out: &mut dyn Write) -> fmt::Result {
        let Some(range) = self.0 else { return Ok(()) };
        let mut at = range.start();
        // SAFETY: the word is on this CPU's stack, which stays mapped.
        while at < range.end() && unsafe { at.as_ptr::<u64>().read_volatile() } == PATTERN {
            at = at.plus(8);
        }
        let (used, room) = (range.end().since(at), range.bytes() / 2);
        if used > room {
            writeln!(out, "this report took {used} bytes of stack, and an exception's has {room} for it")?;
        }
        Ok(())
    }
}
