use super::*;

fn page(base: Option<u8>, index: Option<u8>, scale: u8, displacement: i32) -> Option<Flushing> {
    Some(Flushing::Page(Operand { base, index, scale, displacement }))
}

#[test]
fn pages_are_flushed_by_any_address_that_an_instruction_can_name() {
    for (code, expected) in [
        // invlpg [rax], [rdi], [r8], [r13 + 0], [rsp], [r12], [rbx + 4 * rcx - 0x10], [rbp + 0x12345678]
        (&[0x0f, 0x01, 0x38][..], page(Some(0), None, 0, 0)),
        (&[0x0f, 0x01, 0x3f], page(Some(7), None, 0, 0)),
        (&[0x41, 0x0f, 0x01, 0x38], page(Some(8), None, 0, 0)),
        (&[0x41, 0x0f, 0x01, 0x7d, 0x00], page(Some(13), None, 0, 0)),
        (&[0x0f, 0x01, 0x3c, 0x24], page(Some(4), None, 0, 0)),
        (&[0x41, 0x0f, 0x01, 0x3c, 0x24], page(Some(12), None, 0, 0)),
        (&[0x0f, 0x01, 0x7c, 0x8b, 0xf0], page(Some(3), Some(1), 2, -16)),
        (&[0x0f, 0x01, 0xbd, 0x78, 0x56, 0x34, 0x12], page(Some(5), None, 0, 0x1234_5678)),
        // invlpg [r12 * 8 + 0x100], where R12 is an index, which RSP cannot be; [0x100]
        (&[0x42, 0x0f, 0x01, 0x3c, 0xe5, 0, 1, 0, 0], page(None, Some(12), 3, 0x100)),
        (&[0x0f, 0x01, 0x3c, 0x25, 0, 1, 0, 0], page(None, None, 0, 0x100)),
        // invlpg [rip + 0]
        (&[0x0f, 0x01, 0x3d, 0, 0, 0, 0], Some(Flushing::Everything)),
    ] {
        assert_eq!(Flushing::decode(code), expected, "{code:x?}");
    }
}

#[test]
fn loads_of_control_registers_flush() {
    assert_eq!(Flushing::decode(&[0x0f, 0x22, 0xd8]), Some(Flushing::Root(0)));
    assert_eq!(Flushing::decode(&[0x41, 0x0f, 0x22, 0xdf]), Some(Flushing::Root(15)));
    assert_eq!(Flushing::decode(&[0x0f, 0x22, 0xe0]), Some(Flushing::Everything));
    assert_eq!(Flushing::decode(&[0x66, 0x0f, 0x38, 0x82, 0x08]), Some(Flushing::Everything));
}

#[test]
fn other_instructions_do_not() {
    for code in [
        &[0x90][..],
        // mov rax, cr3; mov cr0, rax; mov cr8, rax; invlpg's opcode with a register is swapgs; lgdt [rax]
        &[0x0f, 0x20, 0xd8],
        &[0x0f, 0x22, 0xc0],
        &[0x44, 0x0f, 0x22, 0xc0],
        &[0x0f, 0x01, 0xf8],
        &[0x0f, 0x01, 0x10],
        &[0x0f, 0x38, 0x82, 0x08],
        &[0x0f],
        &[],
    ] {
        assert_eq!(Flushing::decode(code), None, "{code:x?}");
    }
}

#[test]
fn a_word_holds_each_of_them() {
    let operand = Operand { base: Some(13), index: None, scale: 3, displacement: -16 };
    for flushing in [
        Flushing::Page(operand),
        Flushing::Page(Operand { base: None, index: Some(15), displacement: i32::MIN, ..operand }),
        Flushing::Root(15),
        Flushing::Everything,
    ] {
        assert_ne!(flushing.pack(), 0);
        assert_eq!(Flushing::unpack(flushing.pack()), flushing);
    }
    let address = Operand { base: Some(3), index: Some(1), scale: 2, displacement: -16 }
        .address(|register| if register == 3 { 0x1000 } else { 5 });
    assert_eq!(address, 0x1000 + 20 - 16);
}
