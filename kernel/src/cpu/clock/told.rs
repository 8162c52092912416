//! Rates that the CPU or its hypervisor tells.

use core::arch::x86_64::__cpuid_count;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use x86_64::registers::model_specific::Msr;

use super::NS_PER_SECOND;
use crate::layout::IMAGE_OFFSET;

/// Returns the TSC's rate, where the CPU tells it.
pub(super) fn cpuid_hz() -> Option<u64> {
    if __cpuid_count(0, 0).eax < 0x15 {
        return None;
    }
    let leaf = __cpuid_count(0x15, 0);
    if leaf.eax == 0 || leaf.ebx == 0 || leaf.ecx == 0 {
        return None;
    }
    Some(u64::from(leaf.ecx) * u64::from(leaf.ebx) / u64::from(leaf.eax))
}

/// Returns the TSC's rate, where a hypervisor tells it. It knows better than CPUID's leaf 0x15, which may be the
/// hardware's: a guest's TSC can be scaled.
pub(super) fn hypervisor_hz() -> Option<u64> {
    const IS_VIRTUAL: u32 = 1 << 31;
    if __cpuid_count(1, 0).ecx & IS_VIRTUAL == 0 {
        return None;
    }
    let leaf = __cpuid_count(0x4000_0000, 0);
    let mut signature = [0; 12];
    for (part, register) in signature.as_chunks_mut().0.iter_mut().zip([leaf.ebx, leaf.ecx, leaf.edx]) {
        *part = register.to_le_bytes();
    }
    // These three define leaf 0x40000010 as the TSC's rate in kHz; others use the number otherwise, or not at all.
    let by_leaf = || {
        let khz = if leaf.eax >= 0x4000_0010 { __cpuid_count(0x4000_0010, 0).eax } else { 0 };
        (khz > 0).then(|| u64::from(khz) * 1000)
    };
    match &signature {
        b"KVMKVMKVM\0\0\0" => by_leaf().or_else(kvm_clock_hz),
        b"VMwareVMware" | b"bhyve bhyve " => by_leaf(),
        b"Microsoft Hv" => hyper_v_hz(),
        _ => None,
    }
    .filter(|&hz| hz > 0)
}

/// Returns the rate that Hyper-V tells in a register, if it grants access to the registers of rates.
fn hyper_v_hz() -> Option<u64> {
    const ACCESS_TO_RATES: u32 = 1 << 11;
    const HV_X64_MSR_TSC_FREQUENCY: u32 = 0x4000_0022;
    if __cpuid_count(0x4000_0003, 0).eax & ACCESS_TO_RATES == 0 {
        return None;
    }
    // SAFETY: the hypervisor grants access.
    Some(unsafe { Msr::new(HV_X64_MSR_TSC_FREQUENCY).read() })
}

/// Returns the rate that follows from KVM's clock: KVM writes the factors from TSC ticks to nanoseconds to a place that
/// it is told.
fn kvm_clock_hz() -> Option<u64> {
    const HAS_CLOCK: u32 = 1 << 3;
    const MSR_KVM_SYSTEM_TIME_NEW: u32 = 0x4b56_4d01;
    const ENABLE: u64 = 1;
    /// Version, TSC and nanoseconds at some moment, multiplier, shift and flags. One cache line, in one page.
    #[repr(C, align(64))]
    struct Clock([AtomicU64; 4]);
    static CLOCK: Clock = Clock([const { AtomicU64::new(0) }; 4]);

    if __cpuid_count(0x4000_0001, 0).eax & HAS_CLOCK == 0 {
        return None;
    }
    let place = core::ptr::from_ref(&CLOCK) as u64 - IMAGE_OFFSET;
    let mut register = Msr::new(MSR_KVM_SYSTEM_TIME_NEW);
    // SAFETY: the hypervisor has the register; it writes to the static, which is atomic words, until the second write.
    let factors = unsafe {
        register.write(place | ENABLE);
        let factors = CLOCK.0[3].load(Relaxed);
        register.write(0);
        factors
    };
    // ns = ticks * 2^shift * multiplier / 2^32.
    let (multiplier, shift) = (factors as u32, (factors >> 32) as u8 as i8);
    if multiplier == 0 || !(-32..=32).contains(&shift) {
        return None;
    }
    let scaled = (u128::from(NS_PER_SECOND) << 64) / u128::from(multiplier);
    u64::try_from(scaled >> (32 + i32::from(shift))).ok()
}
