//! Arithmetic against `rbpf`'s interpreter, which is another author's.

use std::vec::Vec;

use proptest::prelude::*;

use super::{encode, run};
use crate::{Context, Object};

/// The opcodes of arithmetic on which both agree: `rbpf` has no other.
const ALU: [u8; 12] = [0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x90, 0xa0, 0xb0, 0xc0];
const JUMPS: [u8; 11] = [0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xa0, 0xb0, 0xc0, 0xd0];

/// One instruction; `rest` is how many follow it.
fn instruction() -> impl Strategy<Value = (u8, u8, u8, u16, i32)> {
    let immediate = prop_oneof![any::<i32>(), -2..70, Just(i32::MIN), Just(i32::MAX)];
    (any::<u8>(), 0_u8..10, 0_u8..10, any::<u16>(), immediate)
}

fn program(choices: &[(u8, u8, u8, u16, i32)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for register in 0..10 {
        bytes.extend(encode(0xb7, register, 0, 0, i32::from(register) * 0x123_4567 - 0x500_0000));
    }
    for (index, &(choice, to, from, far, immediate)) in choices.iter().enumerate() {
        let class = if choice & 1 == 0 { 0x07 } else { 0x04 };
        let by_register = choice & 2 != 0;
        let x = if by_register { 0x08 } else { 0 };
        let (from, immediate) = if by_register { (from, 0) } else { (0, immediate) };
        let rest = choices.len() - index - 1;
        let one = match choice >> 2 {
            // `rbpf` leaves the upper half where it divides 32 bits by zero for the rest; the standard clears it.
            0..40 if class == 0x04 && ALU[usize::from(choice >> 2) % ALU.len()] == 0x90 => {
                encode(0x94, to, 0, 0, immediate | 1)
            }
            0..40 => encode(ALU[usize::from(choice >> 2) % ALU.len()] | x | class, to, from, 0, immediate),
            // `rbpf` extends immediates of jumps by zeros, where the standard extends the sign.
            40..52 => {
                let class = if choice & 1 == 0 { 0x05 } else { 0x06 };
                let ahead = usize::from(far) % (rest + 1);
                let opcode = JUMPS[usize::from(choice >> 2) % JUMPS.len()] | x | class;
                encode(opcode, to, from, ahead as i16, immediate & i32::MAX)
            }
            // `rbpf` panics where 64 bits cannot be negated.
            52..56 => encode(0x84, to, 0, 0, 0),
            _ => encode(
                if choice & 1 == 0 { 0xd4 } else { 0xdc },
                to,
                0,
                0,
                [16, 32, 64][usize::from(far) % 3],
            ),
        };
        bytes.extend(one);
    }
    bytes.extend(encode(0x95, 0, 0, 0, 0));
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn both_interpreters_agree(choices in proptest::collection::vec(instruction(), 1..40)) {
        let bytes = program(&choices);
        let object = Object::from_raw("test", &bytes).expect("numbers alone are let pass");
        let theirs = rbpf::EbpfVmNoData::new(Some(&bytes)).expect("it is well-formed").execute_program();
        prop_assert_eq!(run(&object, &Context::EMPTY).expect("no fault"), theirs.expect("no fault"));
    }
}
