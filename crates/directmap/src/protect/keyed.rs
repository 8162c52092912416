//! [`KeyedTables`]: tables that are written while a protection key is open.
//!
//! The register is the CPU's own and a handler runs with it as it is: so a key is open with interrupts off only.

use rhumb_machine::{IrqOff, Machine, Pfn};
use rhumb_pagetable::{Entry, TableMemory, bits};

/// A protection key that tables have: 1 to 15. Key 0 is that of all other memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key(u8);

/// What the kernel may do with pages of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rights {
    /// Read and write.
    ReadWrite,
    /// Read.
    ReadOnly,
    /// Nothing.
    Nothing,
}

impl Key {
    /// The key, or `None` where it is 0 or past 15.
    pub const fn new(number: u8) -> Option<Self> {
        if 0 < number && number < 16 { Some(Self(number)) } else { None }
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The leaf with this key: which replaces the one that it had.
    pub const fn on(self, leaf: Entry) -> Entry {
        Entry::from_bits(leaf.bits() & !bits::KEY | (self.0 as u64) << bits::KEY_SHIFT)
    }

    /// The value of IA32_PKRS that gives `rights` on this key, and leaves the other keys as `register` has them.
    pub const fn with_rights(self, register: u32, rights: Rights) -> u32 {
        let shift = 2 * self.0 as u32;
        let denied: u32 = match rights {
            Rights::ReadWrite => 0b00,
            Rights::ReadOnly => 0b10,
            Rights::Nothing => 0b11,
        };
        register & !(0b11 << shift) | denied << shift
    }

    /// What a value of IA32_PKRS allows. A key that may not be accessed may not be written either.
    pub const fn rights(self, register: u32) -> Rights {
        match register >> (2 * self.0 as u32) & 0b11 {
            0b00 => Rights::ReadWrite,
            0b10 => Rights::ReadOnly,
            _ => Rights::Nothing,
        }
    }
}

/// The register IA32_PKRS (MSR 6E1h) of this CPU.
pub trait KeyRegister {
    /// Its value.
    fn read(&self, irq_off: IrqOff<'_>) -> u32;

    /// Sets it.
    fn write(&self, irq_off: IrqOff<'_>, value: u32);
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
    /// Around `inner`, which writes through the direct map.
    pub const fn new(inner: R, machine: M, register: K, key: Key) -> Self {
        Self { inner, machine, register, key }
    }

    /// The tables' memory below.
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
        let irq_off = guard.irq_off();
        // As it was, not closed: writers of tables may nest.
        let before = self.register.read(irq_off);
        self.register.write(irq_off, self.key.with_rights(before, Rights::ReadWrite));
        self.inner.write_run(table, index, first, step_bytes, count);
        self.register.write(irq_off, before);
    }
}
