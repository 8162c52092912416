//! CPUs that do not keep what their features promise.
//!
//! Sources: Intel's specification updates (errata "APIC timer may not be as expected in TSC-deadline mode", HSE, BDF,
//! SKX and others; the revisions are those that Linux demands); AMD's BIOS and Kernel Developer's Guide for family 10h,
//! 2.4.3.3.3 (C1E).

use core::arch::x86_64::__cpuid_count;

use x86_64::registers::model_specific::Msr;

const IA32_BIOS_SIGN_ID: u32 = 0x8b;
const AMD_INTERRUPT_PENDING: u32 = 0xc001_0055;
/// The two ways in which both cores' halt becomes a deeper sleep, in which the APIC timer does not count.
const AMD_C1E: u64 = 1 << 27 | 1 << 28;

/// The make of this CPU.
struct Model {
    is_intel: bool,
    is_amd: bool,
    is_virtual: bool,
    family: u32,
    model: u32,
    stepping: u32,
}

impl Model {
    fn read() -> Self {
        let (vendor, one) = (__cpuid_count(0, 0).ebx, __cpuid_count(1, 0));
        let (mut family, mut model) = (one.eax >> 8 & 0xf, one.eax >> 4 & 0xf);
        if family == 0xf || family == 6 {
            model |= one.eax >> 12 & 0xf0;
        }
        if family == 0xf {
            family += one.eax >> 20 & 0xff;
        }
        Self {
            is_intel: vendor == u32::from_le_bytes(*b"Genu"),
            is_amd: vendor == u32::from_le_bytes(*b"Auth"),
            is_virtual: one.ecx >> 31 != 0,
            family,
            model,
            stepping: one.eax & 0xf,
        }
    }
}

/// Returns the first revision of the microcode with which a model's APIC timer keeps its deadlines; 0 where all do.
const fn deadline_microcode(model: u32, stepping: u32) -> u32 {
    match (model, stepping) {
        (0x3f, 2) => 0x3a,
        (0x3f, 4) => 0x0f,
        (0x4f, _) => 0x0b00_0020,
        (0x56, 2) => 0x14,
        (0x56, 3) => 0x0700_000e,
        (0x56, 4) => 0x0f00_000c,
        (0x56, 5) => 0x0e00_0003,
        (0x55, 3) => 0x0100_0136,
        (0x55, 4) => 0x0200_0014,
        (0x3c, _) => 0x22,
        (0x45, _) => 0x20,
        (0x46 | 0x47, _) => 0x17,
        (0x3d, _) => 0x25,
        (0x4e | 0x5e, _) => 0xb2,
        (0x8e | 0x9e, _) => 0x52,
        _ => 0,
    }
}

/// Tells whether the APIC timer of this CPU misses TSC deadlines. A virtual machine's timer is its host's affair.
pub fn deadline_is_broken() -> bool {
    let cpu = Model::read();
    if !cpu.is_intel || cpu.is_virtual || cpu.family != 6 {
        return false;
    }
    let needed = deadline_microcode(cpu.model, cpu.stepping);
    needed != 0 && microcode() < needed
}

/// Returns the revision of this CPU's microcode: CPUID puts it into the register.
fn microcode() -> u32 {
    let mut signature = Msr::new(IA32_BIOS_SIGN_ID);
    // SAFETY: every Intel CPU of family 6 has the register, and a write of 0 changes nothing but its own next value.
    unsafe {
        signature.write(0);
        __cpuid_count(1, 0);
        (signature.read() >> 32) as u32
    }
}

/// Keeps a halted CPU's APIC timer counting, on the AMD families where the firmware may have it sleep deeper. Each CPU.
pub fn keep_timer_in_halt() {
    let cpu = Model::read();
    if !cpu.is_amd || cpu.is_virtual || !(0xf..=0x11).contains(&cpu.family) {
        return;
    }
    // Family 0fh has the register from revision F on.
    if cpu.family == 0xf && cpu.model < 0x40 {
        return;
    }
    let mut register = Msr::new(AMD_INTERRUPT_PENDING);
    // SAFETY: these families have the register; without the two bits a halt is a plain halt.
    unsafe {
        let value = register.read();
        if value & AMD_C1E != 0 {
            register.write(value & !AMD_C1E);
        }
    }
}
