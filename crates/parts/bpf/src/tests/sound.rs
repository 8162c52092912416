//! The verifier against the interpreter: before each instruction of a run, each register and each word of the stack is one
//! of those that the verifier has said it may be.
//!
//! The programs are instructions out of a few families, many of them wrong; those that are let pass run with contexts of
//! numbers near the ends of what bounds say. The regions of pointers are written down here once more, apart from the
//! interpreter's.

use std::format;
use std::vec::Vec;

use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::{Fixed, encode, irq_off};
use crate::context::{Context, Field};
use crate::map::Map;
use crate::verify::states;
use crate::verify::value::Value;
use crate::{LoadError, Object, assembler};

/// Both maps, and a program that has an element of the array in r6, handles in r7 and r8, the context in r9, numbers of
/// the context in r0 to r5, and numbers and a pointer on the stack. `FILLER` is where the random instructions go.
const TEXT: &str = "
    map words hash key=number value=24 entries=4
    map array array value=64 entries=3
    program random split
        mov r9, r1
        lddw r7, @words
        lddw r8, @array
        stdw [r10-8], 0
        stdw [r10-16], 3
        stxdw [r10-24], r9
        mov r1, r8
        mov r2, r10
        add r2, -8
        call map_lookup_elem
        mov r6, r0
        jne r6, 0, found
        mov r0, 0
        exit
    found:
        ldxdw r0, [r9+size]
        ldxdw r1, [r9+owner]
        ldxdw r2, [r9+reason]
        ldxdw r3, [r9+address]
        mov r4, 1
        mov r5, 8
    FILLER
        mov r0, 0
        exit";
/// An instruction that marks where the filler goes, and occurs in no other place.
const FILLER: [u8; 8] = [0xb7, 0, 0, 0, 0x5a, 0x5a, 0x5a, 0x5a];
/// Instructions that are filled in, at most.
const ROOM: usize = 40;

const NUMBERS: [i32; 16] = [0, 1, 2, 3, 7, 8, 15, 16, 56, 63, 64, -1, -8, 255, i32::MAX, i32::MIN];

/// Five numbers to make one piece of.
type Choice = (u8, u8, u8, u8, u8);

fn piece(&(family, a, b, c, d): &Choice) -> Vec<[u8; 8]> {
    let (to, from) = (a % 11, b % 11);
    let number = NUMBERS[usize::from(c) % NUMBERS.len()];
    let ahead = i16::from(d % 6);
    let slot = -8 * (i16::from(c % 5) + 1);
    match family % 16 {
        // Arithmetic with a register or a number, of 64 or 32 bits.
        0..=4 => {
            let alu =
                [0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x90, 0xa0, 0xb0, 0xc0][usize::from(d) % 12];
            let class = if d & 0x10 == 0 { 0x07 } else { 0x04 };
            if d & 0x20 == 0 {
                std::vec![encode(alu | class, to, 0, 0, number)]
            } else {
                std::vec![encode(alu | class | 8, to, from, 0, 0)]
            }
        }
        5 => std::vec![encode(if d & 1 == 0 { 0x87 } else { 0x84 }, to, 0, 0, 0)],
        6 => {
            std::vec![encode(
                if d & 1 == 0 { 0xd4 } else { 0xdc },
                to,
                0,
                0,
                [16, 32, 64][usize::from(c) % 3]
            )]
        }
        // Jumps on bounds, also into the pieces behind.
        7 | 8 => {
            let jump =
                [0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xa0, 0xb0, 0xc0, 0xd0][usize::from(d) % 11];
            let class = if b & 1 == 0 { 0x05 } else { 0x06 };
            if b & 6 == 0 {
                std::vec![encode(jump | class | 8, to, c % 11, ahead, 0)]
            } else {
                std::vec![encode(jump | class, to, 0, ahead, number)]
            }
        }
        // Spills and fills of anything; bytes of the stack.
        9 => std::vec![encode(0x7b, 10, from, slot, 0)],
        10 => std::vec![encode(0x79, to, 10, slot, 0)],
        11 => {
            let size = [0x00, 0x08, 0x10, 0x18][usize::from(d) % 4];
            let within = slot + i16::from(d % 8);
            if d & 0x40 == 0 {
                std::vec![encode(0x61 | size, to, 10, within, 0)]
            } else {
                std::vec![encode(0x63 | size, 10, from, within, 0)]
            }
        }
        // Loads, stores and additions behind any pointer.
        12 => {
            let (size, offset) = ([0x00, 0x08, 0x10, 0x18][usize::from(c) % 4], i16::from(d % 10) * 4 - 8);
            match d % 3 {
                0 => std::vec![encode(0x61 | size, to, from, offset, 0)],
                1 => std::vec![encode(0x7b, from, to, offset, 0)],
                _ => std::vec![encode(0xdb, from, to, offset, i32::from(d & 1))],
            }
        }
        // A lookup, mostly with its comparison; the registers that a call destroys get numbers.
        13 => {
            let mut piece = std::vec![
                encode(0x7a, 10, 0, -8, i32::from(c % 5)),
                encode(0xbf, 1, if d & 1 == 0 { 7 } else { 8 }, 0, 0),
                encode(0xbf, 2, 10, 0, 0),
                encode(0x07, 2, 0, 0, -8),
                encode(0x85, 0, 0, 0, 1),
            ];
            piece.extend((1..6).map(|register| encode(0xb7, register, 0, 0, number)));
            if d & 6 != 0 {
                piece.push(encode(if d & 8 == 0 { 0x15 } else { 0x55 }, 0, 0, ahead, 0));
            }
            piece
        }
        // An index with bounds, added to a pointer, and an access there.
        14 => {
            let bounded = match d % 4 {
                0 => encode(0x57, to, 0, 0, [7, 8, 24, 56][usize::from(c) % 4]),
                1 => encode(0x97, to, 0, 0, [1, 8, 16, 56][usize::from(c) % 4]),
                2 => encode(0x25, to, 0, 2, [0, 7, 8, 56][usize::from(c) % 4]),
                _ => encode(0x54, to, 0, 0, [7, 8, 24, 56][usize::from(c) % 4]),
            };
            let pointer = if d & 0x10 == 0 { 6 } else { from };
            std::vec![
                bounded,
                encode(if d & 0x20 == 0 { 0x0f } else { 0x1f }, pointer, to, 0, 0),
                encode(if d & 0x40 == 0 { 0x71 } else { 0x79 }, to, pointer, i16::from(d & 8), 0),
            ]
        }
        // Moves, also of pointers: the most useful of all, and r6's pointer that is restored.
        _ => std::vec![encode(0xbf, to, if d & 1 == 0 { from } else { 6 }, 0, 0)],
    }
}

/// A file with room for instructions, and where the room is.
fn template() -> (Vec<u8>, usize) {
    let filler = format!("mov r0, {}\n", 0x5a5a_5a5a).repeat(ROOM);
    let file = assembler::assemble(&TEXT.replace("FILLER", &filler)).expect("it is right");
    let at = file.windows(8).position(|bytes| bytes == FILLER).expect("it is there");
    (file, at)
}

fn fill(template: &(Vec<u8>, usize), choices: &[Choice]) -> Vec<u8> {
    let mut instructions: Vec<[u8; 8]> = choices.iter().flat_map(piece).take(ROOM).collect();
    // The rest does nothing.
    instructions.resize(ROOM, encode(0xb7, 0, 0, 0, 0));
    let mut file = template.0.clone();
    file[template.1..template.1 + 8 * ROOM].copy_from_slice(&instructions.concat());
    file
}

/// Tells whether bits of a register are of this kind, by the table of `program.rs`.
fn is_one(value: Value, bits: u64, maps: &[Map]) -> bool {
    let value_bytes = |map: u8| 8 * maps[usize::from(map)].layout().value_words as u64;
    let in_map = |map: u8| bits.wrapping_sub(4 << 48 | u64::from(map) << 40);
    match value {
        Value::None => true,
        Value::Number(range) => range.contains(bits),
        Value::Context(at) => bits == (1_u64 << 48).wrapping_add_signed(at),
        Value::Stack(at) => bits == (2_u64 << 48 | 512).wrapping_add_signed(at),
        Value::Handle(map) => bits == 3 << 48 | u64::from(map) << 40,
        // The element is one of those that there are; from its beginning, the offset is as it was said.
        Value::InMap { map, offset } => (0..64)
            .map(|element| element * value_bytes(map))
            .any(|start| offset.contains(in_map(map).wrapping_sub(start))),
        Value::InMapOrNull { map, .. } => bits == 0 || in_map(map).is_multiple_of(value_bytes(map)),
    }
}

/// Loads a program and runs it with each of the contexts. Returns whether it was let pass.
fn judge(file: &[u8], contexts: &[Context]) -> bool {
    let object = match Object::from_elf("test", file, 4) {
        Ok(object) => object,
        Err(LoadError::Refused { .. }) => return false,
        Err(error) => panic!("{error}"),
    };
    let program = &object.programs()[0];
    let states = states(&program.operations, object.maps());
    let guard = irq_off();
    for context in contexts {
        let ran =
            program.run_and_see(object.maps(), context, &Fixed, guard.irq_off(), |at, registers, stack| {
                let told = || format!("before {at} of {:?} with {context:?}", program.operations);
                let state = states[at].as_ref().unwrap_or_else(|| panic!("no path leads there: {}", told()));
                for (number, (&value, &bits)) in state.registers().iter().zip(registers).enumerate() {
                    let is_one = is_one(value, bits, object.maps());
                    assert!(is_one, "r{number} is {bits:#x} and not {value:?}: {}", told());
                }
                for (at, value) in state.words() {
                    let bits = u64::from_le_bytes(stack[at..at + 8].try_into().expect("8 bytes"));
                    let is_one = is_one(value, bits, object.maps());
                    assert!(is_one, "byte {at} of the stack is {bits:#x} and not {value:?}: {}", told());
                }
            });
        assert!(ran.is_ok(), "{ran:?} of {:?} with {context:?}", program.operations);
    }
    true
}

fn contexts() -> Vec<Context> {
    const WORDS: [u64; 14] =
        [0, 1, 7, 8, 9, 56, 63, 64, u32::MAX as u64, 1 << 32, 1 << 63, (1 << 63) - 1, u64::MAX, u64::MAX - 7];
    let word = |index: usize| WORDS[index % WORDS.len()];
    let context = |index: usize| {
        Context::EMPTY
            .with(Field::Size, word(index))
            .with(Field::Owner, word(3 * index + 1))
            .with(Field::Reason, word(5 * index + 2))
            .with(Field::Address, word(index + 6))
    };
    (0..WORDS.len()).map(context).collect()
}

fn choices() -> impl Strategy<Value = Vec<Choice>> {
    let choice = (any::<u8>(), any::<u8>(), any::<u8>(), any::<u8>(), any::<u8>());
    proptest::collection::vec(choice, 1..16)
}

/// Judges so many programs, and returns how many were let pass.
fn judge_many(programs: usize) -> usize {
    let (template, contexts) = (template(), contexts());
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(1));
    let strategy = choices();
    (0..programs)
        .filter(|_| {
            let choices = strategy.new_tree(&mut runner).expect("a choice").current();
            judge(&fill(&template, &choices), &contexts)
        })
        .count()
}

#[test]
fn values_are_what_the_verifier_says() {
    const PROGRAMS: usize = 10_000;
    let passed = judge_many(PROGRAMS);
    // Else the test would say little.
    assert!((500..PROGRAMS - 500).contains(&passed), "{passed} of {PROGRAMS} were let pass");
}

#[test]
#[ignore = "a soak of some minutes"]
fn soak_values_are_what_the_verifier_says() {
    assert!(judge_many(2_000_000) > 0);
}
