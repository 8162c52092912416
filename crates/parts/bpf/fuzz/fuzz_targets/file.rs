//! ELF files: refused, or their programs run without a fault.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rhumb_bpf::{Context, Environment, Field, Object};
use rhumb_machine::Machine;
use rhumb_machine::testing::TestMachine;

static MACHINE: TestMachine = TestMachine::new(4, 1);

struct Fixed;

impl Environment for Fixed {
    fn now_ns(&self) -> u64 {
        1
    }
    fn call_site(&self) -> u64 {
        2
    }
}

fuzz_target!(|file: &[u8]| {
    let Ok(object) = Object::from_elf("fuzz", file, 4) else { return };
    let guard = MACHINE.irq_off();
    for program in 0..object.programs().len() {
        for size in [0, 1, 8, u64::MAX] {
            let context = Context::EMPTY.with(Field::Size, size).with(Field::Owner, size);
            let ran = object.run(program, &context, &Fixed, guard.irq_off());
            assert!(matches!(ran, Some(Ok(_))), "{ran:?}");
        }
    }
});
