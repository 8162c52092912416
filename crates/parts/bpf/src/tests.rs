//! The tests, by subject, and what they share.

extern crate std;

mod accepted;
mod files;
mod maps;
mod oracle;
mod random;
mod ranges;
mod refused;
mod shown;
mod sound;

use core::cell::Cell;
use std::string::String;
use std::vec::Vec;

use rhumb_machine::testing::TestMachine;
use rhumb_machine::{CpuId, IrqGuard, Machine};

use crate::assembler;
use crate::{Context, Environment, Fault, LoadError, Object};

std::thread_local! {
    static CPU: Cell<usize> = const { Cell::new(0) };
}

/// A machine on which each thread is the CPU that it says it is ([`be`]).
static MACHINE: TestMachine =
    TestMachine { this_cpu: || CpuId::new(CPU.get()).expect("a CPU"), ..TestMachine::new(4, 1) };

/// Makes this thread a CPU, alone.
pub(crate) fn be(cpu: usize) {
    CPU.set(cpu);
}

/// Time and place of the tests.
pub(crate) struct Fixed;

impl Environment for Fixed {
    fn now_ns(&self) -> u64 {
        1_234_567
    }
    fn call_site(&self) -> u64 {
        0xffff_ffff_8100_0000
    }
}

/// Turns interrupts off on the CPU that this thread is.
pub(crate) fn irq_off() -> IrqGuard<'static, TestMachine> {
    MACHINE.irq_off()
}

/// Loads a text, for four CPUs.
pub(crate) fn load(text: &str) -> Result<Object, LoadError> {
    let file = assembler::assemble(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    Object::from_elf("test", &file, 4)
}

/// Loads the instructions of one program.
pub(crate) fn load_raw(text: &str) -> Result<Object, LoadError> {
    let bytes = assembler::assemble_raw(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    Object::from_raw("test", &bytes)
}

/// Runs the first program of an object.
pub(crate) fn run(object: &Object, context: &Context) -> Result<u64, Fault> {
    let guard = irq_off();
    object.run(0, context, &Fixed, guard.irq_off()).expect("it has a program")
}

/// Encodes one instruction.
pub(crate) fn encode(opcode: u8, to: u8, from: u8, offset: i16, immediate: i32) -> [u8; 8] {
    let [low, high] = offset.to_le_bytes();
    let [i0, i1, i2, i3] = immediate.to_le_bytes();
    [opcode, to | from << 4, low, high, i0, i1, i2, i3]
}

/// Returns the lines of a map as it is shown.
pub(crate) fn lines(object: &Object, map: usize) -> Vec<String> {
    use std::string::ToString;
    let shown = crate::show::Shown { map: &object.maps()[map], names: &crate::show::Plain };
    shown.to_string().lines().map(String::from).collect()
}
