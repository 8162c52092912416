//! The register of supervisor protection keys: IA32_PKRS. Each CPU has its own, and a handler begins with it as it was.
//!
//! Source: Intel SDM volume 3, 2.7 (Protection-Key Rights Registers), and volume 4, table 2-2.

use rhumb_machine::IrqOff;
use rhumb_tableguard::KeyRegister;
use x86_64::registers::control::{Cr4, Cr4Flags};
use x86_64::registers::model_specific::Msr;

const IA32_PKRS: u32 = 0x6e1;

/// This CPU's register. Only where CPUID has supervisor keys.
#[derive(Clone, Copy, Debug)]
pub struct Pkrs;

impl Pkrs {
    /// Its value.
    pub fn value(self) -> u32 {
        // SAFETY: a read; the callers are those that use keys, which `arch::cpu` allows only where the CPU has them.
        unsafe { Msr::new(IA32_PKRS).read() as u32 }
    }

    /// Sets it.
    pub fn set(self, value: u32) {
        // SAFETY: as above. No page has a key but page tables, whose writers open it for themselves.
        unsafe { Msr::new(IA32_PKRS).write(u64::from(value)) };
    }

    /// Whether this CPU looks at it.
    pub fn is_on(self) -> bool {
        Cr4::read().contains(Cr4Flags::PROTECTION_KEY_SUPERVISOR)
    }
}

impl KeyRegister for Pkrs {
    #[inline(always)]
    fn read(&self, _: IrqOff<'_>) -> u32 {
        self.value()
    }

    #[inline(always)]
    fn write(&self, _: IrqOff<'_>, value: u32) {
        self.set(value);
    }
}
