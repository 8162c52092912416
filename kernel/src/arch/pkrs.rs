//! The register of supervisor protection keys: IA32_PKRS. Each CPU has its own, and a handler begins with it as it was.
//!
//! One key is in use, that of page tables, and only where boot has decided so ([`use_keys`]). It is closed on every CPU
//! but for the moment in which that CPU writes a table.
//!
//! Source: Intel SDM volume 3, 2.7 (Protection-Key Rights Registers), and volume 4, table 2-2.

use core::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};

use rhumb_machine::IrqOff;
use rhumb_tableguard::{Key, KeyRegister, Rights};
use x86_64::registers::control::{Cr4, Cr4Flags};
use x86_64::registers::model_specific::Msr;

const IA32_PKRS: u32 = 0x6e1;

/// The key of page tables. No other page has one.
pub const KEY: Key = match Key::new(1) {
    Some(key) => key,
    None => panic!("1 is a key"),
};

/// The key register of a CPU that does not write tables now.
pub const CLOSED: u32 = KEY.with_rights(0, Rights::ReadOnly);

static IN_USE: AtomicBool = AtomicBool::new(false);

/// Lets CPUs use keys from now on. Once, by boot, before another CPU starts.
pub fn use_keys() {
    IN_USE.store(true, Release);
}

/// Tells whether CPUs must have protection keys, and use them.
pub fn are_used() -> bool {
    IN_USE.load(Acquire)
}

/// This CPU's register. Only where CPUID has supervisor keys.
#[derive(Clone, Copy, Debug)]
pub struct Pkrs;

impl Pkrs {
    /// Returns its value.
    pub fn value(self) -> u32 {
        // SAFETY: a read; the callers are those that use keys, which `arch::control` allows only where the CPU has
        // them.
        unsafe { Msr::new(IA32_PKRS).read() as u32 }
    }

    /// Sets it.
    pub fn set(self, value: u32) {
        // SAFETY: the callers are those that use keys, which `arch::control` allows only where the CPU has them. No
        // page has a key but page tables, whose writers open it for themselves.
        unsafe { Msr::new(IA32_PKRS).write(u64::from(value)) };
    }

    /// Tells whether this CPU looks at it.
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

/// The key is closed while a handler runs, and as it was before when it returns to what it interrupted.
pub struct Closed(Option<u32>);

impl Closed {
    /// Closes the key, as the first thing in a handler that may have interrupted a write of a table.
    pub fn for_handler() -> Self {
        let before = are_used().then(|| Pkrs.value()).filter(|&before| before != CLOSED);
        if before.is_some() {
            Pkrs.set(CLOSED);
        }
        Self(before)
    }

    /// Tells whether what was interrupted had the key open.
    #[cfg_attr(
        not(feature = "lab"),
        expect(dead_code, reason = "for handlers of non-maskable interrupts: see `trap::on_nmi`")
    )]
    pub fn found_open(&self) -> bool {
        self.0.is_some_and(|before| KEY.rights(before) == Rights::ReadWrite)
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        if let Some(before) = self.0 {
            Pkrs.set(before);
        }
    }
}
