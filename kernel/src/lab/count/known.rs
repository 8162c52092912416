//! Code whose count is known beforehand. If these rows are wrong, so is every other.

use core::arch::asm;

use super::Operation;
use crate::facts::Boot;
use crate::lab::failure::Failure;

regions! {
    0: Empty, "empty", "nothing: 0 instructions";
    1: Nops<100>, "known/100", "100 instructions";
    2: Nops<101>, "known/101", "101 instructions: one more must be seen";
    3: Strings, "known/string", "4 instructions and 64 iterations: 64 loads and 64 stores in 2 lines";
}

struct Empty;

impl Operation for Empty {
    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        Ok(Self)
    }

    #[inline(always)]
    fn run(&mut self) {}
}

struct Nops<const COUNT: usize>;

impl<const COUNT: usize> Operation for Nops<COUNT> {
    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        Ok(Self)
    }

    #[inline(always)]
    fn run(&mut self) {
        // SAFETY: these instructions do nothing.
        unsafe { asm!(".rept {}", "nop", ".endr", const COUNT, options(nomem, nostack, preserves_flags)) };
    }
}

/// Two lines of data on lines of their own: what is copied from and to.
#[repr(C, align(64))]
struct Strings {
    from: [u8; 64],
    to: [u8; 64],
}

impl Operation for Strings {
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
