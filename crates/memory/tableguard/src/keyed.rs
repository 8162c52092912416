//! [`KeyedTables`]: tables that are written while a protection key is open.
//!
//! The register is the CPU's own, and an interrupt handler runs with the register as it is, so that a key is open with
//! interrupts off only.

use rhumb_machine::{IrqOff, Machine, Pfn};
use rhumb_pagetable::{Entry, Key, Rights, TableMemory};

use crate::planted::{self, Fault};

/// The register IA32_PKRS (MSR 6E1h) of this CPU.
pub trait KeyRegister {
    /// Returns its value.
    fn read(&self, irq_off: IrqOff<'_>) -> u32;

    /// Sets it.
    fn write(&self, irq_off: IrqOff<'_>, value: u32);
}

/// Runs `act` with the key open, and restores the register, which may leave the key open because writers of tables
/// nest.
///
/// Cost: one read of the register and two writes.
pub fn while_open<A>(
    register: &impl KeyRegister,
    key: Key,
    irq_off: IrqOff<'_>,
    act: impl FnOnce() -> A,
) -> A {
    /// Restores the register when `act` has returned, or has panicked where panics unwind.
    struct Restored<'a, K: KeyRegister>(&'a K, IrqOff<'a>, u32);
    impl<K: KeyRegister> Drop for Restored<'_, K> {
        #[inline]
        fn drop(&mut self) {
            self.0.write(self.1, self.2);
        }
    }
    let found = register.read(irq_off);
    let left = if planted::is(Fault::KeyClosedNotRestored) {
        key.with_rights(found, Rights::ReadOnly)
    } else {
        found
    };
    let _restored = Restored(register, irq_off, left);
    register.write(irq_off, key.with_rights(found, Rights::ReadWrite));
    act()
}

/// Tables whose pages have a key that is open only while they are written.
#[derive(Debug)]
pub struct KeyedTables<R: TableMemory, M: Machine, K: KeyRegister> {
    inner: R,
    machine: M,
    register: K,
    key: Key,
}

impl<R: TableMemory, M: Machine, K: KeyRegister> KeyedTables<R, M, K> {
    /// Wraps `inner`, which writes through the direct map.
    pub const fn new(inner: R, machine: M, register: K, key: Key) -> Self {
        Self { inner, machine, register, key }
    }

    /// Returns the tables' memory below.
    pub const fn inner(&self) -> &R {
        &self.inner
    }
}

impl<R: TableMemory, M: Machine, K: KeyRegister> TableMemory for KeyedTables<R, M, K> {
    fn read(&self, table: Pfn, index: usize) -> Entry {
        self.inner.read(table, index)
    }

    fn write(&mut self, table: Pfn, index: usize, entry: Entry) {
        self.write_run(table, index, entry, 0, 1);
    }

    fn write_run(&mut self, table: Pfn, index: usize, first: Entry, step_bytes: u64, count: usize) {
        let guard = self.machine.irq_off();
        let inner = &mut self.inner;
        while_open(&self.register, self.key, guard.irq_off(), || {
            inner.write_run(table, index, first, step_bytes, count);
        });
    }
}
