//! Code whose count is known beforehand. If these rows are wrong, so is every other.

use core::arch::asm;

use rhumb_mark::RegionId;

use super::{Operation, Region, number};
use crate::facts::Boot;
use crate::lab::failure::Failure;

pub const REGIONS: &[Region] =
    &[Region::of::<Empty>(), Region::of::<Hundred>(), Region::of::<HundredAndOne>(), Region::of::<Strings>()];

struct Empty;

impl Operation for Empty {
    const ID: RegionId = number(0);
    const NAME: &'static str = "empty";
    const SUMMARY: &'static str = "nothing: 0 instructions";

    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        Ok(Self)
    }

    #[inline(always)]
    fn run(&mut self) {}
}

struct Hundred;

impl Operation for Hundred {
    const ID: RegionId = number(1);
    const NAME: &'static str = "known/100";
    const SUMMARY: &'static str = "100 instructions";

    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        Ok(Self)
    }

    #[inline(always)]
    fn run(&mut self) {
        // SAFETY: does nothing.
        unsafe { asm!(".rept 100", "nop", ".endr", options(nomem, nostack, preserves_flags)) };
    }
}

struct HundredAndOne;

impl Operation for HundredAndOne {
    const ID: RegionId = number(2);
    const NAME: &'static str = "known/101";
    const SUMMARY: &'static str = "101 instructions: one more must be seen";

    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        Ok(Self)
    }

    #[inline(always)]
    fn run(&mut self) {
        // SAFETY: does nothing.
        unsafe { asm!(".rept 101", "nop", ".endr", options(nomem, nostack, preserves_flags)) };
    }
}

/// Two lines of data on lines of their own: what is copied from and to.
#[repr(C, align(64))]
struct Strings {
    from: [u8; 64],
    to: [u8; 64],
}

impl Operation for Strings {
    const ID: RegionId = number(3);
    const NAME: &'static str = "known/string";
    const SUMMARY: &'static str = "4 instructions and 64 iterations: 64 loads and 64 stores in 2 lines";

    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        Ok(Self { from: [7; 64], to: [0; 64] })
    }

    #[inline(always)]
    fn run(&mut self) {
        // SAFETY: from the first array of ours to the second, 64 bytes behind it; the direction flag is clear, as the
        // ABI has it.
        unsafe {
            asm!(
                "mov rsi, {strings}",
                "lea rdi, [{strings} + 64]",
                "mov ecx, 64",
                "rep movsb",
                strings = in(reg) core::ptr::from_mut(self),
                out("rsi") _,
                out("rdi") _,
                out("rcx") _,
                options(nostack, preserves_flags)
            );
        }
    }

    fn finish(self) -> Result<(), Failure> {
        if self.from == self.to { Ok(()) } else { Err(Failure::because("the string was not copied")) }
    }
}
