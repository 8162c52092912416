//! Programs that are let pass, and what they compute.

use super::{lines, load, load_raw, run};
use crate::context::{Context, Field};

fn result(text: &str) -> u64 {
    let object = load_raw(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    run(&object, &Context::EMPTY).expect("a verified program has no fault")
}

#[test]
fn a_program_returns_a_number() {
    assert_eq!(result("mov r0, 7\nexit"), 7);
    assert_eq!(result("lddw r0, 0x123456789abcdef0\nexit"), 0x1234_5678_9abc_def0);
}

#[test]
fn immediates_are_sign_extended() {
    assert_eq!(result("mov r0, -1\nexit"), u64::MAX);
    assert_eq!(result("mov32 r0, -1\nexit"), u64::from(u32::MAX));
    assert_eq!(result("mov r1, -1\nmov r0, 1\njeq r1, -1, same\nmov r0, 0\nsame:\nexit"), 1);
}

#[test]
fn division_by_zero_is_zero_and_the_remainder_is_the_number() {
    assert_eq!(result("mov r0, 9\nmov r1, 0\ndiv r0, r1\nexit"), 0);
    assert_eq!(result("mov r0, 9\nmov r1, 0\nmod r0, r1\nexit"), 9);
    assert_eq!(result("mov r0, 9\ndiv r0, 0\nexit"), 0);
}

#[test]
fn fields_of_the_context_are_read() {
    let object = load_raw("ldxdw r0, [r1+size]\nldxdw r2, [r1+owner]\nadd r0, r2\nexit").expect("it passes");
    let context = Context::EMPTY.with(Field::Size, 40).with(Field::Owner, 2);
    assert_eq!(run(&object, &context), Ok(42));
}

#[test]
fn the_stack_keeps_numbers_and_pointers() {
    let text = "
        mov r2, 5
        stxdw [r10-8], r2
        stxdw [r10-16], r1      ; the context, spilled
        ldxdw r3, [r10-16]
        ldxdw r4, [r3+cpu]
        ldxb r0, [r10-8]
        add r0, r4
        exit";
    let object = load_raw(text).expect("it passes");
    assert_eq!(run(&object, &Context::EMPTY.with(Field::Cpu, 3)), Ok(8));
}

#[test]
fn a_key_of_a_hash_is_counted() {
    let text = "
        map counts hash key=owner,reason entries=4
        program count split
            mov r6, r1
            ldxdw r7, [r6+owner]
            stxdw [r10-16], r7
            ldxdw r7, [r6+reason]
            stxdw [r10-8], r7
            lddw r1, @counts
            mov r2, r10
            add r2, -16
            ldxdw r3, [r6+size]
            call map_add
            exit";
    let object = load(text).expect("it passes");
    assert_eq!(object.programs()[0].event().as_str(), "split");
    for (owner, size) in [(3, 10), (4, 1), (3, 5)] {
        let context = Context::EMPTY.with(Field::Owner, owner).with(Field::Size, size).with(Field::Reason, 9);
        assert_eq!(run(&object, &context), Ok(0));
    }
    assert_eq!(lines(&object, 0), ["@counts[4, 9]: 1", "@counts[3, 9]: 15"]);
    // Two more find room, the third does not.
    for (owner, expected) in [(5, 0), (6, 0), (7, u64::MAX), (3, 0)] {
        assert_eq!(
            run(&object, &Context::EMPTY.with(Field::Owner, owner).with(Field::Reason, 9)),
            Ok(expected)
        );
    }
    assert_eq!(object.maps()[0].dropped(), 1);
}

#[test]
fn a_value_is_looked_up_and_added_to() {
    let text = "
        map words array value=16 entries=3
        program add
            mov r7, 2
            stxw [r10-4], r7
            lddw r1, @words
            mov r2, r10
            add r2, -4
            call map_lookup_elem
            mov r8, r0              ; a copy made before the comparison counts, too
            jne r0, 0, found
            mov r0, 99
            exit
        found:
            mov r3, 5
            xadddw [r8+8], r3
            ldxdw r0, [r8+8]
            exit";
    let object = load(text).expect("it passes");
    assert_eq!(run(&object, &Context::EMPTY), Ok(5));
    assert_eq!(run(&object, &Context::EMPTY), Ok(10));
    assert_eq!(lines(&object, 0), ["@words[2]: 0 10"]);
}

#[test]
fn an_index_with_bounds_moves_a_pointer() {
    let text = "
        map words array value=64 entries=1
        program add
            ldxdw r7, [r1+size]
            mov r8, 0
            stxw [r10-4], r8
            lddw r1, @words
            mov r2, r10
            add r2, -4
            call map_lookup_elem
            jeq r0, 0, out
            jgt r7, 7, out
            lsh r7, 3
            add r0, r7
            mov r1, 1
            xadddw [r0+0], r1
        out:
            mov r0, 0
            exit";
    let object = load(text).expect("it passes");
    for size in [0, 7, 7, 8, u64::MAX] {
        assert_eq!(run(&object, &Context::EMPTY.with(Field::Size, size)), Ok(0));
    }
    assert_eq!(lines(&object, 0), ["@words[0]: 1 0 0 0 0 0 0 2"]);
}

#[test]
fn a_value_is_updated_from_the_stack() {
    let text = "
        map words percpu_hash key=number value=16 entries=2
        program put
            stdw [r10-8], 77
            stdw [r10-24], 5
            stdw [r10-16], 6
            lddw r1, @words
            mov r2, r10
            add r2, -8
            mov r3, r10
            add r3, -24
            mov r4, 0
            call map_update_elem
            exit";
    let object = load(text).expect("it passes");
    assert_eq!(run(&object, &Context::EMPTY), Ok(0));
    assert_eq!(lines(&object, 0), ["@words[77]: 5 6"]);
}

#[test]
fn helpers_tell_time_cpu_and_place() {
    let text = "call ktime_get_ns\nmov r6, r0\ncall get_smp_processor_id\nadd r6, r0\ncall call_site\nmov r1, r0\nrsh r1, 48\nadd r6, r1\nmov r0, r6\nexit";
    assert_eq!(result(text), 1_234_567 + 0xffff);
}

#[test]
fn an_instruction_that_no_path_reaches_is_not_judged() {
    assert_eq!(result("mov r0, 1\nja out\nmov r0, r9\nout:\nexit"), 1);
    assert_eq!(result("mov r0, 1\njeq r0, 1, out\nmov r0, r9\nout:\nexit"), 1);
}

/// A walk through the stack takes microseconds, with interrupts off, and a program may ask a thousand times.
#[test]
fn the_call_site_is_looked_for_once_in_a_run() {
    struct Counting(core::cell::Cell<u64>);
    impl crate::Environment for Counting {
        fn now_ns(&self) -> u64 {
            0
        }
        fn call_site(&self) -> u64 {
            self.0.set(self.0.get() + 1);
            7
        }
    }
    let text = std::format!("{}exit", "call call_site\n".repeat(crate::limits::MAX_INSTRUCTIONS - 1));
    let object = load_raw(&text).expect("it passes");
    let (counting, guard) = (Counting(core::cell::Cell::new(0)), super::irq_off());
    for runs in 1..3 {
        let ran = object.run(0, &Context::EMPTY, &counting, guard.irq_off());
        assert_eq!((ran, counting.0.get()), (Some(Ok(7)), runs));
    }
}
