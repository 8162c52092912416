//! Instructions of one program with two maps: refused, or run without a fault.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rhumb_bpf::{Context, Environment, Field, Object};
use rhumb_machine::Machine;
use rhumb_machine::testing::TestMachine;

static MACHINE: TestMachine = TestMachine::new(4, 1);

/// The program's beginning; the input's instructions follow.
const TEXT: &str = "
    map words hash key=number value=16 entries=4
    map bars percpu_histogram entries=4
    program fuzz
        lddw r7, @words
        lddw r8, @bars
        mov r9, r1
        stdw [r10-8], 1
        stdw [r10-16], 2
";
/// Instructions that the input may fill.
const ROOM: usize = 48;

struct Fixed;

impl Environment for Fixed {
    fn now_ns(&self) -> u64 {
        1
    }
    fn call_site(&self) -> u64 {
        2
    }
}

fuzz_target!(|input: &[u8]| {
    let filler = "mov r0, 0\n".repeat(ROOM);
    let text = format!("{TEXT}{filler}mov r0, 0\nexit");
    let mut file = rhumb_bpf::assembler::assemble(&text).expect("it is right");
    // The fillers are found by their bytes.
    let one = [0xb7_u8, 0, 0, 0, 0, 0, 0, 0];
    let fillers = one.repeat(ROOM);
    let start = file.windows(fillers.len()).position(|bytes| bytes == fillers).expect("it is there");
    let length = input.len().min(fillers.len()) / 8 * 8;
    file[start..start + length].copy_from_slice(&input[..length]);
    let Ok(object) = Object::from_elf("fuzz", &file, 4) else { return };
    let guard = MACHINE.irq_off();
    for size in [0, 1, 8, u64::MAX] {
        let context = Context::EMPTY.with(Field::Size, size).with(Field::Owner, size);
        let ran = object.run(0, &context, &Fixed, guard.irq_off());
        assert!(matches!(ran, Some(Ok(_))), "{ran:?}");
    }
});
