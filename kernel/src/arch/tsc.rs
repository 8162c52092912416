//! The time-stamp counter, and the register that adjusts it.
//!
//! Source: Intel SDM volume 3, 18.17.

use core::arch::x86_64::_rdtsc;

use x86_64::registers::model_specific::Msr;

const IA32_TSC_ADJUST: u32 = 0x3b;

/// Returns the ticks of this CPU's counter.
#[inline(always)]
pub fn ticks() -> u64 {
    // SAFETY: every 64-bit CPU has it, and ring 0 may always read it.
    unsafe { _rdtsc() }
}

/// Returns the number that this CPU adds to its counter.
///
/// # Safety
/// CPUID has the register (`Features::tsc_adjust`).
pub unsafe fn adjustment() -> u64 {
    // SAFETY: the register is there, by the caller's promise, and reading it changes nothing.
    unsafe { Msr::new(IA32_TSC_ADJUST).read() }
}

/// Sets that number: the counter jumps.
///
/// # Safety
/// CPUID has the register (`Features::tsc_adjust`), and no code measures time on this CPU yet.
pub unsafe fn adjust(adjustment: u64) {
    // SAFETY: the register is there, and no measurement is under way that the jump would spoil, by the caller's
    // promise.
    unsafe { Msr::new(IA32_TSC_ADJUST).write(adjustment) };
}
