//! Programs that are refused: each with the instruction and the reason.

use std::vec::Vec;

use super::{encode, load, load_raw};
use crate::error::{Limit, LoadError, Refusal};
use crate::limits::MAX_INSTRUCTIONS;
use crate::object::Object;

/// Expects the refusal of a program.
#[track_caller]
fn refuses(text: &str, instruction: u32, refusal: Refusal) {
    expect(load_raw(text), instruction, refusal, text);
}

#[track_caller]
fn refuses_bytes(instructions: &[[u8; 8]], instruction: u32, refusal: Refusal) {
    let bytes: Vec<u8> = instructions.concat();
    expect(Object::from_raw("test", &bytes), instruction, refusal, "bytes");
}

#[track_caller]
fn expect(loaded: Result<Object, LoadError>, at: u32, why: Refusal, text: &str) {
    match loaded {
        Err(LoadError::Refused { instruction, refusal, .. }) => {
            assert_eq!((instruction, refusal), (at, why), "{text}");
        }
        other => panic!("{other:?} instead of {why:?}: {text}"),
    }
}

const EXIT: [u8; 8] = [0x95, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn what_is_no_instruction() {
    refuses_bytes(&[encode(0xff, 0, 0, 0, 0), EXIT], 0, Refusal::UnknownOpcode(0xff));
    refuses_bytes(&[encode(0x20, 0, 0, 0, 0), EXIT], 0, Refusal::UnknownOpcode(0x20));
    refuses_bytes(&[encode(0xb7, 11, 0, 0, 0), EXIT], 0, Refusal::NoSuchRegister(11));
    refuses_bytes(&[encode(0xb7, 0, 3, 0, 0), EXIT], 0, Refusal::UnusedField(0xb7));
    refuses_bytes(&[encode(0x18, 0, 0, 0, 0)], 0, Refusal::HalfInstruction);
    refuses_bytes(&[encode(0x18, 0, 0, 0, 0), EXIT], 0, Refusal::HalfInstruction);
    refuses_bytes(&[encode(0x18, 0, 1, 0, 0), [0; 8], EXIT], 0, Refusal::MapByNumber);
    refuses_bytes(&[encode(0xdb, 1, 2, 0, 0x40), EXIT], 0, Refusal::UnknownAtomic);
    refuses_bytes(&[encode(0x85, 0, 1, 0, 0), EXIT], 0, Refusal::CallsProgram);
    refuses_bytes(&[encode(0x85, 0, 0, 0, 9999), EXIT], 0, Refusal::UnknownHelper(9999));
    // LD_ABS, which reads packets in Linux.
    refuses_bytes(&[encode(0x30, 0, 0, 0, 0), EXIT], 0, Refusal::UnknownOpcode(0x30));
}

#[test]
fn loops_and_ways_out() {
    refuses("mov r0, 0\nja -2\nexit", 1, Refusal::JumpsBack);
    refuses("mov r0, 0\nja -1\nexit", 1, Refusal::JumpsBack);
    refuses("mov r0, 0\njeq r0, 0, -2\nexit", 1, Refusal::JumpsBack);
    refuses("mov r0, 0\nja +5\nexit", 1, Refusal::JumpsOut);
    refuses("mov r0, 0\njeq r0, 0, +1\nexit", 1, Refusal::JumpsOut);
    refuses("mov r0, 0\nja +1\nlddw r0, 5\nexit", 3, Refusal::JumpsInside);
    refuses("mov r0, 0", 0, Refusal::RunsOut);
}

#[test]
fn registers_without_a_value() {
    refuses("exit", 0, Refusal::Uninitialised(0));
    refuses("mov r0, r5\nexit", 0, Refusal::Uninitialised(5));
    // On one path only.
    refuses("ldxdw r2, [r1+0]\njeq r2, 0, out\nmov r0, 1\nout:\nexit", 3, Refusal::Uninitialised(0));
    // A call destroys its arguments.
    refuses("mov r1, 0\ncall ktime_get_ns\nmov r0, r1\nexit", 2, Refusal::Uninitialised(1));
    refuses("mov r10, 0\nexit", 0, Refusal::WritesFrame);
}

#[test]
fn pointers_where_numbers_are_wanted() {
    refuses("mov r0, r1\nexit", 1, Refusal::LeaksPointer(0));
    refuses("mov r0, 0\nsub r0, r1\nexit", 1, Refusal::LeaksPointer(1));
    refuses("mov r0, r1\nand r0, 255\nexit", 1, Refusal::PointerArithmetic(0));
    refuses("mov32 r0, r1\nexit", 0, Refusal::LeaksPointer(1));
    refuses("mov r0, r1\nadd r0, r10\nexit", 1, Refusal::PointerArithmetic(0));
    refuses("mov r0, 0\njeq r1, 0, +0\nexit", 1, Refusal::LeaksPointer(1));
    refuses("stxdw [r10-8], r1\nldxb r0, [r10-8]\nexit", 1, Refusal::UninitialisedStack);
    refuses("stxw [r10-8], r1\nmov r0, 0\nexit", 0, Refusal::LeaksPointer(1));
    // A byte over a pointer makes no number of its rest.
    refuses("stxdw [r10-8], r1\nstb [r10-8], 0\nldxdw r0, [r10-8]\nexit", 2, Refusal::UninitialisedStack);
}

#[test]
fn accesses_out_of_bounds() {
    refuses("ldxdw r0, [r1+64]\nexit", 0, Refusal::OutOfBounds);
    refuses("ldxdw r0, [r1-8]\nexit", 0, Refusal::OutOfBounds);
    refuses("ldxdw r0, [r1+4]\nexit", 0, Refusal::Misaligned);
    refuses("ldxw r0, [r1+0]\nexit", 0, Refusal::Misaligned);
    refuses("stdw [r1+0], 0\nexit", 0, Refusal::WritesContext);
    refuses("stdw [r10+0], 0\nexit", 0, Refusal::OutOfBounds);
    refuses("stdw [r10-520], 0\nexit", 0, Refusal::OutOfBounds);
    refuses("stdw [r10-9], 0\nexit", 0, Refusal::Misaligned);
    refuses("ldxdw r0, [r10-8]\nexit", 0, Refusal::UninitialisedStack);
    refuses("stw [r10-8], 1\nldxdw r0, [r10-8]\nexit", 1, Refusal::UninitialisedStack);
    refuses("mov r2, 4096\nldxdw r0, [r2+0]\nexit", 1, Refusal::NoPointer(2));
    refuses("lddw r2, 0xffff800000000000\nldxdw r0, [r2+0]\nexit", 2, Refusal::NoPointer(2));
    refuses("ldxdw r2, [r1+0]\nadd r1, r2\nldxdw r0, [r1+0]\nexit", 1, Refusal::PointerArithmetic(1));
}

/// A program that looks a value of 16 bytes up, and goes on with `rest` at instruction 7.
fn with_value(rest: &str) -> Result<Object, LoadError> {
    load(&std::format!(
        "map words array value=16 entries=1
         map bars histogram entries=1
         program test
            ldxdw r9, [r1+size]
            stw [r10-4], 0
            mov r2, r10
            add r2, -4
            lddw r1, @words
            call map_lookup_elem
            {rest}
         out:
            mov r0, 0
            exit"
    ))
}

#[track_caller]
fn refuses_value(rest: &str, instruction: u32, refusal: Refusal) {
    expect(with_value(rest), instruction, refusal, rest);
}

#[test]
fn values_of_maps() {
    assert!(with_value("jeq r0, 0, out\nldxb r1, [r0+15]").is_ok());
    refuses_value("ldxdw r1, [r0+0]", 7, Refusal::MaybeNull(0));
    refuses_value("jeq r0, 0, out\nldxdw r1, [r0+16]", 8, Refusal::OutOfBounds);
    refuses_value("jeq r0, 0, out\nldxdw r1, [r0-8]", 8, Refusal::OutOfBounds);
    refuses_value("jeq r0, 0, out\nldxw r1, [r0+2]", 8, Refusal::Misaligned);
    refuses_value("jeq r0, 0, out\nstw [r0+0], 1", 8, Refusal::PartialStore);
    refuses_value("jeq r0, 0, out\nstxdw [r0+0], r0", 8, Refusal::LeaksPointer(0));
    refuses_value("jeq r0, 0, out\nadd r0, r9\nldxdw r1, [r0+0]", 9, Refusal::OutOfBounds);
    refuses_value("jeq r0, 0, out\nand r9, 15\nadd r0, r9\nldxb r1, [r0+1]", 10, Refusal::OutOfBounds);
    refuses_value(
        "jeq r0, 0, out\nand r9, 8\nadd r0, r9\nadd r0, -16\nldxb r1, [r0+0]",
        11,
        Refusal::OutOfBounds,
    );
    refuses_value("jeq r0, 0, out\nand r9, 7\nadd r0, r9\nldxdw r1, [r0+0]", 10, Refusal::Misaligned);
    refuses_value("jeq r0, 5, out", 7, Refusal::MaybeNull(0));
    refuses_value("jgt r0, 0, out", 7, Refusal::MaybeNull(0));
    refuses_value("jeq32 r0, 0, out", 7, Refusal::MaybeNull(0));
    refuses_value("add r0, 8", 7, Refusal::MaybeNull(0));
    refuses_value("mov r3, 1\nxadddw [r10-8], r3", 8, Refusal::AtomicElsewhere);
    // Null on the path where it was null.
    refuses_value("jne r0, 0, out\nldxdw r1, [r0+0]", 8, Refusal::NoPointer(0));
}

#[test]
fn arguments_of_helpers() {
    refuses_value("mov r1, 0\nmov r2, r10\nadd r2, -4\ncall map_lookup_elem", 10, Refusal::BadArgument(1));
    refuses_value("lddw r1, @words\nmov r2, 0\ncall map_lookup_elem", 10, Refusal::BadArgument(2));
    refuses_value(
        "lddw r1, @words\nmov r2, r10\nadd r2, -8\ncall map_lookup_elem",
        11,
        Refusal::UninitialisedStack,
    );
    refuses_value("lddw r1, @words\nmov r2, r10\ncall map_lookup_elem", 10, Refusal::OutOfBounds);
    // Programs do not see the buckets of a histogram.
    refuses_value(
        "stdw [r10-16], 0\nlddw r1, @bars\nmov r2, r10\nadd r2, -16\ncall map_lookup_elem",
        12,
        Refusal::BadArgument(1),
    );
    // A pointer is no key, and no number to count.
    refuses_value(
        "stxdw [r10-16], r10\nlddw r1, @bars\nmov r2, r10\nadd r2, -16\nmov r3, 1\ncall map_add",
        13,
        Refusal::LeaksPointer(2),
    );
    refuses_value(
        "stdw [r10-16], 0\nlddw r1, @bars\nmov r2, r10\nadd r2, -16\nmov r3, r10\ncall map_add",
        13,
        Refusal::LeaksPointer(3),
    );
}

#[test]
fn programs_that_are_too_long_or_cut() {
    let exits = EXIT.repeat(MAX_INSTRUCTIONS + 1);
    assert_eq!(Object::from_raw("test", &exits).unwrap_err(), LoadError::TooMany(Limit::Instructions));
    assert!(matches!(Object::from_raw("test", &EXIT[..7]), Err(LoadError::Ragged(_))));
}

#[test]
fn too_many_open_paths() {
    let jumps: std::string::String =
        (0..200).map(|label| std::format!("jeq r2, {label}, l{label}\n")).collect();
    let labels: std::string::String = (0..200).map(|label| std::format!("l{label}:\nmov r0, 1\n")).collect();
    let text = std::format!("mov r0, 0\nldxdw r2, [r1+0]\n{jumps}{labels}exit");
    refuses(&text, 130, Refusal::TooManyPaths);
}
