//! Files that are made here: good ones in all shapes, each wrong one, and random ones.

mod files;
mod random;

use rhumb_machine::{VirtAddr, VirtRange};

use crate::error::Unfit;
use crate::{Access, LoadError, Placement, Program};
use files::{DYNAMIC, EXECUTE, File, GNU_STACK, INTERPRETER, LOAD, READ, Segment, WRITE};

fn range(start: u64, end: u64) -> VirtRange {
    VirtRange::new(VirtAddr::new(start), VirtAddr::new(end)).expect("a range")
}

/// The lower half, without its first page.
fn half() -> VirtRange {
    range(0x1000, 1 << 47)
}

fn error(file: &File) -> LoadError {
    Program::parse(&file.bytes()).expect_err("a wrong file")
}

/// Returns the error of the usual program with its segment of this number changed.
fn unfit(number: usize, change: impl FnOnce(&mut Segment)) -> LoadError {
    let mut file = File::usual();
    change(&mut file.segments[number]);
    error(&file)
}

#[test]
fn a_program_has_its_segments_in_order_with_their_bytes() {
    let file = File::usual();
    let bytes = file.bytes();
    let program = Program::parse(&bytes).expect("a program");
    assert_eq!(program.placement(), Placement::Fixed);
    assert_eq!(program.entry().get(), 0x40_1010);
    assert_eq!(program.span(), range(0x40_0000, 0x40_5000));
    let seen: Vec<_> = program.segments().iter().map(|one| (one.pages(), one.access())).collect();
    assert_eq!(
        seen,
        [
            (range(0x40_0000, 0x40_1000), Access::Read),
            (range(0x40_1000, 0x40_2000), Access::ReadExecute),
            (range(0x40_2000, 0x40_5000), Access::ReadWrite),
        ]
    );
    let [headers, code, data] = program.segments() else { panic!("three segments") };
    assert_eq!(headers.bytes()[..4], *b"\x7fELF");
    assert_eq!((code.bytes().len(), code.bytes()[0]), (0x100, 1));
    assert_eq!((data.addresses(), data.bytes().len()), (range(0x40_2100, 0x40_4100), 0x80));
    let placed = program.place(0, half()).expect("it fits");
    assert_eq!(placed.entry().get(), 0x40_1010);
    // The headers lie behind the file header, at the start of the first segment.
    assert_eq!(placed.headers(), Some(range(0x40_0040, 0x40_0040 + 3 * 56)));
}

#[test]
fn a_program_that_can_lie_anywhere_is_moved_as_a_whole() {
    let mut file = File { kind: files::ANYWHERE, ..File::usual() };
    file.segments[1].align = 0x20_0000;
    let bytes = file.bytes();
    let program = Program::parse(&bytes).expect("a program");
    assert_eq!(program.placement(), Placement::Anywhere(0x20_0000));
    let base = 0x5555_0000_0000;
    let placed = program.place(base, half()).expect("it fits");
    assert_eq!(placed.span(), range(base + 0x40_0000, base + 0x40_5000));
    assert_eq!(placed.entry().get(), base + 0x40_1010);
    let first: Vec<u64> = placed.segments().map(|one| one.addresses().start().get() - base).collect();
    assert_eq!(first, [0x40_0000, 0x40_1000, 0x40_2100]);
    assert_eq!(placed.headers().map(|headers| headers.start().get()), Some(base + 0x40_0040));
    assert_eq!(
        program.place(base + 0x1000, half()).expect_err("no multiple"),
        LoadError::Base(base + 0x1000)
    );
    let far = program.place(!0x1f_ffff, half()).expect_err("it wraps");
    assert_eq!(far, LoadError::TooLarge);
}

#[test]
fn a_program_must_lie_within_the_addresses_that_there_are() {
    let bytes = File::usual().bytes();
    let program = Program::parse(&bytes).expect("a program");
    assert_eq!(program.place(0x1000, half()).expect_err("it has addresses"), LoadError::Base(0x1000));
    for within in [range(0x40_1000, 1 << 47), range(0, 0x40_4000)] {
        let wanted = program.span();
        assert_eq!(program.place(0, within).expect_err("outside"), LoadError::OutOfRange { wanted, within });
    }
    // In the kernel's half.
    let mut file = File::usual();
    file.segments.iter_mut().for_each(|segment| segment.address += 0xffff_8000_0000_0000 - 0x40_0000);
    file.entry += 0xffff_8000_0000_0000 - 0x40_0000;
    let bytes = file.bytes();
    let program = Program::parse(&bytes).expect("a program");
    assert!(matches!(program.place(0, half()), Err(LoadError::OutOfRange { .. })));
}

#[test]
fn files_that_are_no_programs_are_refused_by_name() {
    assert_eq!(Program::parse(b"").expect_err("empty"), LoadError::NotElf);
    assert_eq!(Program::parse(b"#!/bin/sh\n").expect_err("a script"), LoadError::NotElf);
    assert_eq!(Program::parse(b"\x7fELF").expect_err("a beginning"), LoadError::OtherMachine);
    let whole = File::usual().bytes();
    assert_eq!(Program::parse(&whole[..0x30]).expect_err("no header"), LoadError::NoHeaders);
    assert_eq!(Program::parse(&whole[..0x50]).expect_err("no program headers"), LoadError::NoHeaders);
    assert_eq!(error(&File { machine: 183, ..File::usual() }), LoadError::OtherMachine);
    assert_eq!(error(&File { kind: 1, ..File::usual() }), LoadError::NotExecutable);
    let mut short = whole.clone();
    short[4] = 1;
    assert_eq!(Program::parse(&short).expect_err("32 bits"), LoadError::OtherMachine);
    short[4..6].copy_from_slice(&[2, 2]);
    assert_eq!(Program::parse(&short).expect_err("the other byte order"), LoadError::OtherMachine);
    for (at, byte) in [(6, 2), (54, 64)] {
        let mut other = whole.clone();
        other[at] = byte;
        assert_eq!(Program::parse(&other).expect_err("version, size of headers"), LoadError::FileHeader);
    }
    assert_eq!(error(&File { segments: Vec::new(), ..File::usual() }), LoadError::Empty);
    // This test itself wants the C library, unless it was built without.
    let own = std::env::current_exe().and_then(std::fs::read).expect("this test's file");
    assert!(matches!(Program::parse(&own), Ok(_) | Err(LoadError::Dynamic)), "{:?}", Program::parse(&own));
}

#[test]
fn each_wrong_segment_is_named() {
    let at = |header, why| LoadError::Segment { header, why };
    assert_eq!(unfit(1, |code| code.flags = READ | WRITE | EXECUTE), at(1, Unfit::WrittenAndExecuted));
    assert_eq!(unfit(1, |code| code.flags = WRITE | EXECUTE), at(1, Unfit::WrittenAndExecuted));
    assert_eq!(unfit(0, |one| one.flags = 0), at(0, Unfit::Unreadable));
    assert_eq!(unfit(2, |data| data.memory_bytes = 0x7f), at(2, Unfit::Shrinks));
    assert_eq!(unfit(2, |data| data.file_bytes = 1 << 40), at(2, Unfit::Shrinks));
    let truncated = unfit(2, |data| (data.file_bytes, data.memory_bytes) = (1 << 40, 1 << 41));
    assert_eq!(truncated, at(2, Unfit::Truncated));
    assert_eq!(unfit(2, |data| data.memory_bytes = u64::MAX), at(2, Unfit::Wraps));
    // The last byte of all has no page behind it.
    assert_eq!(unfit(2, |data| data.memory_bytes = u64::MAX - 0x40_2100), at(2, Unfit::Wraps));
    assert_eq!(unfit(2, |data| data.align = 3), at(2, Unfit::Alignment(3)));
    assert_eq!(unfit(2, |data| data.align = 1 << 31), at(2, Unfit::Alignment(1 << 31)));
    assert_eq!(unfit(2, |data| data.address += 8), at(2, Unfit::Incongruent));
    let within_large_page = unfit(2, |data| (data.align, data.offset) = (0x20_0000, 0x4100));
    assert_eq!(within_large_page, at(2, Unfit::Incongruent));
    // On the page that the code has already, before the code, and within it.
    for address in [0x40_1100, 0x3f_f100, 0x40_0100] {
        assert_eq!(unfit(2, |data| data.address = address), at(2, Unfit::Overlaps), "{address:#x}");
    }
}

#[test]
fn an_entry_outside_of_code_is_refused() {
    for entry in [0, 0x40_0fff, 0x40_1100, 0x40_2100, u64::MAX] {
        assert_eq!(error(&File { entry, ..File::usual() }), LoadError::Entry(entry));
    }
}

#[test]
fn other_headers_are_read_or_refused() {
    let with = |kind, flags, memory_bytes| {
        let mut file = File::usual();
        file.segments.push(Segment { kind, flags, memory_bytes, ..Segment::EMPTY });
        file
    };
    assert_eq!(error(&with(INTERPRETER, READ, 0)), LoadError::Dynamic);
    assert_eq!(error(&with(GNU_STACK, READ | WRITE | EXECUTE, 0)), LoadError::ExecutableStack);
    let stack =
        |bytes| Program::parse(&with(GNU_STACK, READ | WRITE, bytes).bytes()).map(|one| one.stack_bytes());
    assert_eq!(stack(1 << 20), Ok(Some(1 << 20)));
    assert_eq!(stack(0), Ok(None));
    // A segment without addresses is nothing, wherever it lies.
    let nothing = with(LOAD, READ, 0).bytes();
    assert_eq!(Program::parse(&nothing).map(|program| program.segments().len()), Ok(3));
}

#[test]
fn the_dynamic_table_may_ask_for_nothing() {
    let with = |entries: &[(u64, u64)]| {
        let mut file = File::usual();
        file.segments[2].content = entries
            .iter()
            .flat_map(|(tag, value)| [tag.to_le_bytes(), value.to_le_bytes()].concat())
            .collect();
        let data = &mut file.segments[2];
        data.file_bytes = data.content.len() as u64;
        let (offset, file_bytes) = (data.offset, data.file_bytes);
        let dynamic =
            Segment { kind: DYNAMIC, offset, file_bytes, memory_bytes: file_bytes, ..Segment::EMPTY };
        file.segments.push(dynamic);
        Program::parse(&file.bytes()).map(|program| program.segments().len())
    };
    // Tags of relocations, and the end, behind which nothing counts.
    assert_eq!(with(&[(7, 0x100), (8, 24), (0, 0), (1, 5)]), Ok(3));
    assert_eq!(with(&[(7, 0x100), (1, 5), (0, 0)]), Err(LoadError::Dynamic));
    assert_eq!(with(&[(22, 0)]), Err(LoadError::WritesItsCode));
    assert_eq!(with(&[(30, 4)]), Err(LoadError::WritesItsCode));
    assert_eq!(with(&[(30, 8)]), Ok(3));
    // A table that does not end in time may hide anything.
    let mut long = vec![(7, 0); 256];
    assert_eq!(with(&long), Ok(3));
    long.push((1, 5));
    assert_eq!(with(&long), Err(LoadError::DynamicTable));
    let mut file = File::usual();
    file.segments.extend([(); 2].map(|()| Segment { kind: DYNAMIC, ..Segment::EMPTY }));
    assert_eq!(error(&file), LoadError::DynamicTable);
}

#[test]
fn there_are_limits() {
    let mut file = File::usual();
    file.segments.resize_with(65, || Segment::EMPTY);
    assert_eq!(error(&file), LoadError::TooManyHeaders(65));
    let mut file = File::usual();
    for number in 0..14 {
        file.segments.push(Segment {
            kind: LOAD,
            flags: READ,
            address: 0x50_0000 + number * 0x1000,
            memory_bytes: 1,
            ..Segment::EMPTY
        });
    }
    assert_eq!(error(&file), LoadError::TooManySegments);
    file.segments.pop();
    assert_eq!(Program::parse(&file.bytes()).map(|program| program.segments().len()), Ok(16));
}
