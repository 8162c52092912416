//! ELF files: right ones, cut ones, ones with a byte changed, and one of a compiler.

use std::string::ToString;

use proptest::prelude::*;

use super::run;
use crate::assembler;
use crate::error::{Limit, LoadError, MapRefusal};
use crate::limits::MAX_SECTIONS;
use crate::{Context, MapKind, Object};

const TEXT: &str = "
    map counts hash key=owner entries=8
    map bars percpu_histogram key=reason entries=4
    program first split
        mov r0, 1
        exit
    program second flush
        mov r6, r1
        ldxdw r7, [r6+reason]
        stxdw [r10-8], r7
        lddw r1, @bars
        mov r2, r10
        add r2, -8
        ldxdw r3, [r6+size]
        call map_add
        lddw r1, @counts
        mov r2, r10
        add r2, -8
        mov r3, 1
        call map_add
        exit";

fn file() -> std::vec::Vec<u8> {
    assembler::assemble(TEXT).expect("it is right")
}

#[test]
fn programs_and_maps_have_their_names() {
    let object = Object::from_elf("test", &file(), 4).expect("it is right");
    let programs: std::vec::Vec<_> =
        object.programs().iter().map(|program| (program.name().as_str(), program.event().as_str())).collect();
    assert_eq!(programs, [("first", "split"), ("second", "flush")]);
    let maps: std::vec::Vec<_> =
        object.maps().iter().map(|map| (map.name().as_str(), map.kind(), map.is_per_cpu())).collect();
    assert_eq!(maps, [("counts", MapKind::Hash, false), ("bars", MapKind::Histogram, true)]);
    assert_eq!(run(&object, &Context::EMPTY), Ok(1));
}

/// A compiler names a static map by the section's beginning, and its distance from there in the instruction.
#[test]
fn a_map_is_named_by_a_symbol_and_a_distance() {
    const TEXT: &str = "
        map first hash key=number entries=8
        map second hash key=number entries=8
        program count split
            stdw [r10-8], 7
            lddw r1, @first
            mov r2, r10
            add r2, -8
            mov r3, 1
            call map_add
            exit";
    let file = assembler::assemble(TEXT).expect("it is right");
    let load_map = super::encode(0x18, 1, 0, 0, 0);
    let at = file.windows(8).position(|bytes| bytes == load_map).expect("it is there");
    let with_distance = |distance: i32| {
        let mut file = file.clone();
        file[at + 4..at + 8].copy_from_slice(&distance.to_le_bytes());
        Object::from_elf("test", &file, 4)
    };
    for (distance, shown) in
        [(0, ["@first[7]: 1", "@second: nothing yet"]), (20, ["@first: nothing yet", "@second[7]: 1"])]
    {
        let object = with_distance(distance).expect("it is right");
        assert_eq!(run(&object, &Context::EMPTY), Ok(0));
        assert_eq!([super::lines(&object, 0), super::lines(&object, 1)].concat(), shown, "{distance}");
    }
    for distance in [10, 40, -20, i32::MIN] {
        let error = with_distance(distance).unwrap_err();
        assert!(matches!(error, LoadError::BadReference(_)), "{distance}: {error}");
    }
}

#[test]
fn a_file_that_is_cut_at_any_byte_is_refused_or_whole() {
    let file = file();
    for end in 0..file.len() {
        // The section headers lie at the end.
        assert!(Object::from_elf("test", &file[..end], 4).is_err(), "cut at {end}");
    }
}

#[test]
fn other_files_are_refused() {
    assert!(matches!(Object::from_elf("test", b"", 4), Err(LoadError::Malformed(_))));
    assert!(matches!(Object::from_elf("test", b"hello", 4), Err(LoadError::Malformed(_))));
    let mut x86 = file();
    x86[18] = 62;
    assert_eq!(Object::from_elf("test", &x86, 4).unwrap_err(), LoadError::NotBpf);
    let only_maps = assembler::assemble("map counts hash entries=8").expect("it is right");
    assert_eq!(Object::from_elf("test", &only_maps, 4).unwrap_err(), LoadError::NoProgram);
}

#[test]
fn a_file_without_a_byte_is_said_to_be_empty() {
    let error = Object::from_raw("moon", b"").unwrap_err();
    assert_eq!(error.to_string(), "program moon is empty: it has no instructions");
}

/// Each load of a map asks all sections for its relocation.
#[test]
fn sections_and_names_beyond_measure_are_refused() {
    use object::write::{Object as Writer, StandardSegment, Symbol, SymbolSection};
    use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope};
    let file = |sections: usize, name: &str| {
        let mut out = Writer::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
        let segment = out.segment_name(StandardSegment::Text).to_vec();
        let text = out.add_section(segment, b"trace/split".to_vec(), SectionKind::Text);
        out.append_section_data(text, &assembler::assemble_raw("mov r0, 0\nexit").expect("it is right"), 8);
        out.add_symbol(Symbol {
            name: name.into(),
            value: 0,
            size: 16,
            kind: SymbolKind::Text,
            scope: SymbolScope::Linkage,
            weak: false,
            section: SymbolSection::Section(text),
            flags: SymbolFlags::None,
        });
        for number in 0..sections {
            out.add_section(std::vec::Vec::new(), std::format!("more{number}").into(), SectionKind::Other);
        }
        out.write().expect("a file")
    };
    let loaded = |sections, name: &str| Object::from_elf("test", &file(sections, name), 4);
    assert_eq!(
        loaded(MAX_SECTIONS - 8, "start").expect("it is right").programs()[0].name().as_str(),
        "start"
    );
    assert_eq!(loaded(MAX_SECTIONS, "start").unwrap_err(), LoadError::TooMany(Limit::Sections));
    // A name that is longer than any is not read, and the section's is taken.
    let long = loaded(0, &"x".repeat(1000)).expect("it is right");
    assert_eq!(long.programs()[0].name().as_str(), "trace/split");
}

#[test]
fn maps_that_are_not_allowed_are_refused() {
    for (map, refusal) in [
        ("hash entries=0", MapRefusal::Entries(0)),
        ("hash entries=70000", MapRefusal::Entries(70_000)),
        ("hash value=12", MapRefusal::ValueSize(12)),
        ("hash value=1024", MapRefusal::ValueSize(1024)),
        ("histogram value=16", MapRefusal::ValueSize(16)),
        ("hash key=number,number,number,number,number", MapRefusal::KeySize(40)),
    ] {
        let text = std::format!("map bad {map}\nprogram none\nmov r0, 0\nexit");
        let file = assembler::assemble(&text).expect("it is right");
        match Object::from_elf("test", &file, 4) {
            Err(LoadError::BadMap(name, why)) => {
                assert_eq!((name.as_str(), why), ("bad", refusal));
            }
            other => panic!("{other:?}: {map}"),
        }
    }
    let large = "map a hash entries=60000\nmap b percpu_hash entries=60000\nprogram none\nmov r0, 0\nexit";
    let file = assembler::assemble(large).expect("it is right");
    assert!(matches!(Object::from_elf("test", &file, 64), Err(LoadError::TooMany(_))));
}

#[test]
fn errors_fit_into_one_line_of_the_prompt() {
    let text = "program a_program_with_a_long_long_name\nldxdw r0, [r10-8]\nexit";
    let file = assembler::assemble(text).expect("it is right");
    let error = Object::from_elf("test", &file, 4).unwrap_err().to_string();
    assert_eq!(
        error,
        "program a_program_with_a_long_long_name, instruction 0: it reads bytes of the stack that were never written"
    );
    assert!(error.len() <= 112);
}

/// `tests/clang.o` is what LLVM makes of `tests/clang.ll`: see there.
#[test]
fn a_compilers_file_is_loaded() {
    let object = Object::from_elf("clang", include_bytes!("../../tests/clang.o"), 4).expect("it is right");
    assert_eq!(object.programs()[0].name().as_str(), "count");
    assert_eq!(object.programs()[0].event().as_str(), "split");
    let context = Context::EMPTY.with(crate::Field::Owner, 3).with(crate::Field::Size, 5);
    assert_eq!(run(&object, &context), Ok(0));
    assert_eq!(super::lines(&object, 0), ["@counts[3]: 5"]);
    assert_eq!(run(&object, &context), Ok(0));
    assert_eq!(super::lines(&object, 0), ["@counts[3]: 10"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn a_changed_file_is_refused_or_does_no_harm(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)
    ) {
        let mut file = file();
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if let Ok(object) = Object::from_elf("test", &file, 4) {
            let guard = super::irq_off();
            for program in 0..object.programs().len() {
                let ran = object.run(program, &Context::EMPTY, &super::Fixed, guard.irq_off());
                prop_assert!(ran.is_some_and(|ran| ran.is_ok()));
            }
        }
    }
}
