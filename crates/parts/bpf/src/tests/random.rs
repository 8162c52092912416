//! Random programs: each is refused, or runs without a fault, although every access is compared with a shadow.

use std::format;
use std::string::String;

use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::{load, run};
use crate::context::{Context, Field};
use crate::{LoadError, Object};

/// Pieces of programs: right ones, and ones that are right after some others only. `T`, `S` are registers, `O` is an
/// offset, `N` a number, `L` a label further on.
const PIECES: &[&str] = &[
    "mov T, N",
    "mov T, S",
    "add T, N",
    "add T, S",
    "sub T, N",
    "and T, N",
    "and T, 56",
    "lsh T, 3",
    "rsh T, N",
    "mul T, 8",
    "mod T, 16",
    "or T, S",
    "xor32 T, N",
    "arsh T, N",
    "neg T",
    "be16 T",
    "stxdw [r10-O], S",
    "stdw [r10-O], N",
    "stxw [r10-O], S",
    "ldxdw T, [r10-O]",
    "ldxw T, [r10-O]",
    "ldxb T, [r10-O]",
    "mov T, r10\nadd T, -O",
    "ldxdw T, [S+0]",
    "ldxdw T, [S+8]",
    "ldxw T, [S+12]",
    "stxdw [T+8], S",
    "xadddw [T+0], S",
    "jgt T, N, L",
    "jle T, S, L",
    "jeq T, 0, L",
    "jne T, 0, L",
    // Lookups, with and without the comparison.
    "LOOKUP",
    "LOOKUP\njeq r0, 0, L",
    "LOOKUP\njeq r0, 0, L\nldxdw r2, [r0+O]",
    "LOOKUP\njeq r0, 0, L\nadd r0, N\nldxb r2, [r0+O]",
    "LOOKUP\njeq r0, 0, L\nmov r7, r6\nand r7, N\nadd r0, r7\nldxw r2, [r0+4]",
    "LOOKUP\njeq r0, 0, L\njgt r6, N, L\nadd r0, r6\nldxb r2, [r0+0]",
    "LOOKUP\njeq r0, 0, L\njgt r6, N, L\nadd r0, r6\nstxdw [r0-8], r6",
    "LOOKUP\njeq r0, 0, L\nlsh r6, 3\njge r6, N, L\nadd r0, r6\nxadddw [r0+0], r6",
    "stdw [r10-8], N\nmov r2, r10\nadd r2, -O\nlddw r1, @words\nmov r3, T\ncall map_add\nNUMBERS",
];
/// A call, and numbers in the registers that it leaves without a value.
const LOOKUP: &str =
    "stdw [r10-8], 1\nmov r2, r10\nadd r2, -8\nlddw r1, @words\ncall map_lookup_elem\nNUMBERS";
const NUMBERS: &str = "mov r1, 1\nmov r2, 2\nmov r3, 3\nmov r4, 4\nmov r5, 5";

type Choice = (usize, u8, u8, u8, u8);

fn text(choices: &[Choice]) -> String {
    let mut text = String::from(
        "map words hash key=number value=16 entries=4
         program random
            ldxdw r6, [r1+size]
            mov r9, r1
            stdw [r10-8], 1\nstdw [r10-16], 2\nstdw [r10-24], 3\nstdw [r10-32], 4
            lddw r1, @words\nmov r2, r10\nadd r2, -8\nmov r3, 1\ncall map_add
            mov r0, 0\nmov r1, 1\nmov r2, 2\nmov r3, 3\nmov r4, 4\nmov r5, 5\nmov r7, 7\nmov r8, 8\n",
    );
    for (index, &(piece, to, from, offset, number)) in choices.iter().enumerate() {
        let numbers = [0_i64, 1, 7, 8, 15, 16, 24, 63, -1, -8, 255, 4096];
        let piece = PIECES[piece % PIECES.len()]
            .replace("LOOKUP", LOOKUP)
            .replace("NUMBERS", NUMBERS)
            .replace('T', &format!("r{}", [0, 2, 3, 6, 7, 8, 0, 0][usize::from(to) % 8]))
            .replace('S', &format!("r{}", [0, 2, 3, 6, 7, 8, 9, 0][usize::from(from) % 8]))
            .replace('O', &format!("{}", [8, 16, 24, 32, 12, 4, 8, 16][usize::from(offset) % 8]))
            .replace('N', &format!("{}", numbers[usize::from(number) % numbers.len()]))
            .replace('L', &format!("l{}", (index + 1 + usize::from(offset) % 4).min(choices.len())));
        text.push_str(&format!("l{index}:\n{piece}\n"));
    }
    text.push_str(&format!("l{}:\nmov r0, 0\nexit\n", choices.len()));
    text
}

fn choices() -> impl Strategy<Value = std::vec::Vec<Choice>> {
    proptest::collection::vec((any::<usize>(), any::<u8>(), any::<u8>(), any::<u8>(), any::<u8>()), 1..14)
}

/// Loads a program, and runs it with some contexts. Returns whether it was let pass.
fn judge(text: &str) -> Result<bool, TestCaseError> {
    let object: Object = match load(text) {
        Ok(object) => object,
        Err(LoadError::Refused { .. }) => return Ok(false),
        Err(error) => return Err(TestCaseError::fail(format!("{error}: {text}"))),
    };
    for size in [0, 1, 7, 8, 9, 63, 4096, u64::MAX, u64::MAX - 7, 1 << 63] {
        let context = Context::EMPTY.with(Field::Size, size).with(Field::Event, size);
        if let Err(fault) = run(&object, &context) {
            return Err(TestCaseError::fail(format!("{fault:?} with {size}: {text}")));
        }
    }
    Ok(true)
}

#[test]
fn random_programs_are_refused_or_keep_to_their_memory() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(1));
    let (mut passed, mut refused) = (0, 0);
    for _ in 0..3_000 {
        let tree = choices().new_tree(&mut runner).expect("a choice");
        match judge(&text(&tree.current())) {
            Ok(true) => passed += 1,
            Ok(false) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    // Else the test would say little.
    assert!(passed > 200 && refused > 200, "{passed} passed, {refused} were refused");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn random_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let whole = bytes.len() / 8 * 8;
        if let Ok(object) = Object::from_raw("test", &bytes[..whole]) {
            prop_assert!(run(&object, &Context::EMPTY).is_ok());
        }
        prop_assert!(Object::from_elf("test", &bytes, 4).is_err());
    }
}
