//! A random number for seeds that must not be guessed: from the CPU's generator, and from the jitter of its clock.
//!
//! Each source is mixed in, so that the number is as good as the better of the two. RDSEED or RDRAND, where the CPU has
//! one, is taken at its word. The jitter is the low bits of the time that memory fences take, and is worth little on a
//! machine that is emulated step by step (`-icount`): there the number may be the same from boot to boot.
//!
//! For seeds of hashes, not for keys of ciphers.

use core::arch::asm;
use core::arch::x86_64::{__cpuid_count, _mm_mfence, _rdtsc};

/// Readings of the clock that are mixed in: at a quarter of a bit each, 64 bits.
const READINGS: u32 = 256;
/// Attempts at the generator, which may be empty for a moment (SDM volume 1, 7.3.17).
const ATTEMPTS: u32 = 16;

/// Returns a number that was drawn now.
pub fn random() -> u64 {
    let mut pool = generated().unwrap_or(0);
    for _ in 0..READINGS {
        // SAFETY: every 64-bit CPU has both instructions.
        let time = unsafe {
            _mm_mfence();
            _rdtsc()
        };
        pool = mix(pool ^ time);
    }
    pool
}

/// Returns the finalizer of splitmix64: each bit of the answer depends on each of the number's.
const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Returns a number from the CPU's generator, if the CPU has one that answers.
fn generated() -> Option<u64> {
    let most = __cpuid_count(0, 0).eax;
    let has_rdseed = most >= 7 && __cpuid_count(7, 0).ebx & (1 << 18) != 0;
    let has_rdrand = most >= 1 && __cpuid_count(1, 0).ecx & (1 << 30) != 0;
    let from = |read: fn() -> Option<u64>| (0..ATTEMPTS).find_map(|_| read());
    let seed = if has_rdseed { from(rdseed) } else { None };
    // Some generators answered with all ones, and said that they had (AMD families 15h to 17h, after a suspend).
    seed.or_else(|| if has_rdrand { from(rdrand) } else { None }).filter(|&number| number != u64::MAX)
}

fn rdseed() -> Option<u64> {
    let (number, is_valid): (u64, u8);
    // SAFETY: called where CPUID has the instruction, which writes a register and the carry flag.
    unsafe { asm!("rdseed {}", "setc {}", out(reg) number, out(reg_byte) is_valid, options(nomem, nostack)) };
    (is_valid != 0).then_some(number)
}

fn rdrand() -> Option<u64> {
    let (number, is_valid): (u64, u8);
    // SAFETY: called where CPUID has the instruction, which writes a register and the carry flag.
    unsafe { asm!("rdrand {}", "setc {}", out(reg) number, out(reg_byte) is_valid, options(nomem, nostack)) };
    (is_valid != 0).then_some(number)
}
