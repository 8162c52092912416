//! The decision, the contents of the key register, and when the key is open.

extern crate std;

mod store;

use core::cell::Cell;
use std::boxed::Box;
use std::string::ToString;

use rhumb_machine::testing::TestMachine;
use rhumb_machine::{PageSize, Pfn, PhysAddr};
use rhumb_pagetable::{Access, Attributes};

use super::keyed::while_open;
use super::*;
use crate::planted::{self, Fault};
use rhumb_machine::{IrqOff, Machine};
use rhumb_pagetable::{Entry, TableMemory};

#[test]
fn never_less_than_was_asked_for() {
    use SupervisorKeys::{Absent, Present};
    let cases = [
        (Wish::Off, Present, Ok(Protection::Off)),
        (Wish::Off, Absent, Ok(Protection::Off)),
        (Wish::Best, Present, Ok(Protection::Keys)),
        (Wish::Best, Absent, Ok(Protection::Windows)),
        (Wish::Windows, Present, Ok(Protection::Windows)),
        (Wish::Windows, Absent, Ok(Protection::Windows)),
        (Wish::Keys, Present, Ok(Protection::Keys)),
        (Wish::Keys, Absent, Err(NoKeys)),
    ];
    for (wish, keys, decided) in cases {
        assert_eq!(decide(wish, keys), decided, "{wish:?} {keys:?}");
    }
    for (word, wish) in
        [("off", Wish::Off), ("on", Wish::Best), ("window", Wish::Windows), ("pks", Wish::Keys)]
    {
        assert_eq!(word.parse(), Ok(wish));
    }
    assert_eq!("PKS".parse::<Wish>(), Err(UnknownWish));
    assert!(NoKeys.to_string().contains("windows"));
}

#[test]
fn a_key_has_two_bits_of_the_register_and_four_of_an_entry() {
    assert_eq!((Key::new(0), Key::new(16)), (None, None));
    for number in 1..16 {
        let key = Key::new(number).unwrap();
        for register in [0, u32::MAX, 0x5555_5555, 0x1234_5678] {
            for rights in [Rights::ReadWrite, Rights::ReadOnly, Rights::Nothing] {
                let set = key.with_rights(register, rights);
                assert_eq!(key.rights(set), rights);
                assert_eq!((set ^ register) & !(3 << (2 * number)), 0, "another key changed");
            }
        }
        // Access disabled alone forbids writing, too.
        assert_eq!(key.rights(0b01 << (2 * number)), Rights::Nothing);
        let attributes = Attributes::kernel(Access::ReadWrite);
        let leaf = Entry::leaf(PhysAddr::new(0x1234_5000), PageSize::Size4K, attributes);
        let keyed = leaf.with_key(Key::new(15).unwrap());
        assert_eq!(keyed.with_key(key).key(), Some(key));
        assert_eq!(leaf.with_key(key).bits() & !rhumb_pagetable::bits::KEY, leaf.bits());
    }
}

const ONE_CPU: TestMachine = TestMachine::new(1, 1);

struct Register<'a>(&'a Cell<u32>);

impl KeyRegister for Register<'_> {
    fn read(&self, _: IrqOff<'_>) -> u32 {
        self.0.get()
    }
    fn write(&self, _: IrqOff<'_>, value: u32) {
        self.0.set(value);
    }
}

/// Tables that fault where the key is closed.
struct Locked<'a> {
    register: &'a Cell<u32>,
    key: Key,
    writes: usize,
}

impl TableMemory for Locked<'_> {
    fn read(&self, _: Pfn, _: usize) -> Entry {
        assert_ne!(self.key.rights(self.register.get()), Rights::Nothing);
        Entry::EMPTY
    }
    fn write(&mut self, _: Pfn, _: usize, _: Entry) {
        assert_eq!(self.key.rights(self.register.get()), Rights::ReadWrite);
        self.writes += 1;
    }
}

#[test]
fn the_key_is_open_while_tables_are_written_and_as_before_after_that() {
    let key = Key::new(5).unwrap();
    for others in [0u32, 0x5555_5555] {
        let closed = key.with_rights(others, Rights::ReadOnly);
        let register = Cell::new(closed);
        let locked = Locked { register: &register, key, writes: 0 };
        let mut tables = KeyedTables::new(locked, ONE_CPU, Register(&register), key);
        tables.write(Pfn::new(1), 0, Entry::EMPTY);
        tables.write_run(Pfn::new(1), 0, Entry::EMPTY, 0, 512);
        assert_eq!(tables.read(Pfn::new(1), 3), Entry::EMPTY);
        assert_eq!((register.get(), tables.inner().writes), (closed, 513));
    }
}

/// Opens the key within a stretch in which it is open, and returns the rights between the two ends, and after both.
fn rights_of_nested_writers(key: Key) -> (Rights, Rights) {
    let register = Cell::new(key.with_rights(0, Rights::ReadOnly));
    let guard = ONE_CPU.irq_off();
    let (irq_off, by) = (guard.irq_off(), Register(&register));
    let between = while_open(&by, key, irq_off, || {
        while_open(&by, key, irq_off, || assert_eq!(key.rights(register.get()), Rights::ReadWrite));
        key.rights(register.get())
    });
    (between, key.rights(register.get()))
}

#[test]
fn a_writer_within_a_writer_leaves_the_key_open_for_the_outer_one() {
    let key = Key::new(5).unwrap();
    assert_eq!(rights_of_nested_writers(key), (Rights::ReadWrite, Rights::ReadOnly));
    let found = planted::with(Fault::KeyClosedNotRestored, || rights_of_nested_writers(key));
    assert_eq!(found.0, Rights::ReadOnly, "the planted fault was not seen");
}

#[test]
fn a_writer_that_panics_leaves_the_key_closed() {
    let key = Key::new(5).unwrap();
    let register = Cell::new(key.with_rights(0, Rights::ReadOnly));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let guard = ONE_CPU.irq_off();
        while_open(&Register(&register), key, guard.irq_off(), || std::panic::resume_unwind(Box::new(())));
    }));
    assert!(panicked.is_err());
    assert_eq!(key.rights(register.get()), Rights::ReadOnly);
}
