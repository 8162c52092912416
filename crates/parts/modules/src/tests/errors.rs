use object::elf::*;
use object::write::SectionId;
use object::{SectionKind, SymbolScope};
use rhumb_module_abi::types::HEADER_SYMBOL;
use rhumb_module_abi::version;

use super::sample::{RODATA_BYTES, Sample, linked, usual};
use crate::error::{NotAnObject, Piece, Unfit};
use crate::imports::MAX_RECORDS;
use crate::names::MAX_NAME_BYTES;
use crate::part::{MAX_ALIGN, MAX_PART_BYTES, MAX_SECTIONS};
use crate::{Image, LoadError, Part};

/// Links a sample after a change; the error must be a sentence that fits on a line.
#[track_caller]
fn refused(change: impl FnOnce(&mut Sample), check: impl FnOnce(LoadError<'_>) -> bool) {
    let mut sample = Sample::new();
    assert!(linked(&sample.file()).is_ok(), "without the change it is a module");
    change(&mut sample);
    refused_file(&sample.file(), check);
}

#[track_caller]
fn refused_file(file: &[u8], check: impl FnOnce(LoadError<'_>) -> bool) {
    match linked(file) {
        Ok(_) => panic!("it was linked"),
        Err(error) => {
            assert!(check(error), "refused because {error}");
            assert!((1..=112).contains(&error.to_string().len()), "{error}");
        }
    }
}

#[test]
fn an_import_that_is_not_exported() {
    let unknown = |sample: &mut Sample| {
        sample.import("rhumb_levitate");
        sample.version("rhumb_levitate", 1);
    };
    refused(unknown, |error| error == LoadError::Undefined("rhumb_levitate"));
}

#[test]
fn an_import_of_another_version() {
    let kernel = version::of::rhumb_log;
    refused(
        |sample| {
            sample.import("rhumb_log");
            sample.version("rhumb_log", kernel ^ 1);
        },
        |error| error == LoadError::OtherVersion { symbol: "rhumb_log", kernel, module: kernel ^ 1 },
    );
    refused(|sample| _ = sample.import("rhumb_log"), |error| error == LoadError::Unversioned("rhumb_log"));
}

#[test]
fn a_header_of_another_version() {
    let mut file = usual();
    let record: Vec<u8> = version::HEADER.to_le_bytes().into_iter().chain(HEADER_SYMBOL.bytes()).collect();
    let at = file.windows(record.len()).position(|bytes| bytes == record).expect("the header's record");
    file[at] ^= 1;
    let other = |error: LoadError<'_>| matches!(error, LoadError::OtherVersion { symbol: HEADER_SYMBOL, .. });
    refused_file(&file, other);
}

#[test]
fn no_header_or_one_in_the_wrong_place() {
    let rename = |sample: &mut Sample, section: fn(&Sample) -> SectionId, value: u64| {
        let to = section(sample);
        let id = sample.object.symbol_id(HEADER_SYMBOL.as_bytes()).expect("it is there");
        let symbol = sample.object.symbol_mut(id);
        symbol.section = object::write::SymbolSection::Section(to);
        symbol.value = value;
    };
    refused(|sample| rename(sample, |sample| sample.data, 0), |error| error == LoadError::BadHeader);
    refused(|sample| rename(sample, |sample| sample.rodata, 0), |error| error == LoadError::BadHeader);
    refused(|sample| rename(sample, |sample| sample.header, 8), |error| error == LoadError::BadHeader);
    refused(|sample| rename(sample, |sample| sample.header, u64::MAX), |error| error == LoadError::BadHeader);
    refused(
        |sample| {
            let id = sample.object.symbol_id(HEADER_SYMBOL.as_bytes()).expect("it is there");
            sample.object.symbol_mut(id).name = b"other".into();
        },
        |error| error == LoadError::NoHeader,
    );
}

#[test]
fn sections_that_have_no_place() {
    let unfit = |wanted: Unfit| move |error: LoadError<'_>| matches!(error, LoadError::UnfitSection { why, .. } if why == wanted);
    refused(
        |sample| sample.flags(sample.data, SHF_ALLOC | SHF_WRITE | SHF_EXECINSTR),
        unfit(Unfit::WrittenAndExecuted),
    );
    refused(|sample| sample.flags(sample.data, SHF_ALLOC | SHF_WRITE | SHF_TLS), unfit(Unfit::ThreadLocal));
    refused(
        |sample| {
            let data = sample.data;
            sample.object.append_section_data(data, &[0; 8], MAX_ALIGN * 2);
        },
        unfit(Unfit::Alignment(MAX_ALIGN * 2)),
    );
    refused(
        |sample| {
            let id = sample.object.add_section(Vec::new(), b".init_array".into(), SectionKind::Data);
            sample.object.append_section_data(id, &[0; 8], 8);
            sample.typed(id, SHT_INIT_ARRAY, SHF_ALLOC | SHF_WRITE);
        },
        unfit(Unfit::Type(SHT_INIT_ARRAY.0)),
    );
}

#[test]
fn parts_and_sections_beyond_measure() {
    refused(
        |sample| _ = sample.object.append_section_bss(sample.bss, MAX_PART_BYTES, 1),
        |error| error == LoadError::PartTooLarge(Part::Data),
    );
    refused(
        |sample| {
            for index in 0..MAX_SECTIONS {
                sample.object.add_section(Vec::new(), format!(".text.{index}").into(), SectionKind::Text);
            }
        },
        |error| matches!(error, LoadError::TooManySections(_)),
    );
}

#[test]
fn relocations_that_cannot_be_made() {
    let at = |offset: u64, kind: u32, addend: i64| {
        move |sample: &mut Sample| {
            let (text, function) = (sample.text, sample.function);
            sample.relocate(text, offset, function, kind, addend);
        }
    };
    refused(at(0, 77, 0), |error| {
        error == LoadError::UnknownRelocation { section: ".text", offset: 0, kind: 77 }
    });
    let stray = |wanted: u64| {
        move |error: LoadError<'_>| error == LoadError::StrayRelocation { section: ".text", offset: wanted }
    };
    refused(at(61, R_X86_64_32S.0, 0), stray(61));
    refused(at(57, R_X86_64_64.0, 0), stray(57));
    refused(at(u64::MAX, R_X86_64_64.0, 0), stray(u64::MAX));
    let far =
        |error: LoadError<'_>| matches!(error, LoadError::OutOfReach { section: ".text", offset: 0, .. });
    refused(at(0, R_X86_64_PC32.0, 1 << 32), far);
    refused(at(0, R_X86_64_32.0, 0), far);
    refused(at(0, R_X86_64_32S.0, 1 << 31), far);
    refused(at(0, R_X86_64_64.0, i64::MAX), far);
    refused(
        |sample| {
            let (text, versions) = (sample.text, sample.versions);
            let symbol = sample.define("meta", versions, 0, SymbolScope::Compilation);
            sample.relocate(text, 0, symbol, R_X86_64_32S.0, 0);
        },
        |error| matches!(error, LoadError::BadSymbol { .. }),
    );
    refused(
        |sample| {
            let text = sample.text;
            let symbol = sample.define("past", text, 65, SymbolScope::Compilation);
            sample.relocate(text, 0, symbol, R_X86_64_32S.0, 0);
        },
        |error| matches!(error, LoadError::BadSymbol { .. }),
    );
}

#[test]
fn files_that_are_no_objects() {
    let not = |why: NotAnObject| move |error: LoadError<'_>| error == LoadError::NotAnObject(why);
    refused_file(b"", not(NotAnObject::NotElf));
    refused_file(b"#!/bin/sh\n", not(NotAnObject::NotElf));
    refused_file(b"\x7fELF", |error| error == LoadError::Truncated(Piece::FileHeader));
    let changed = |at: usize, value: u8| {
        let mut file = usual();
        file[at] = value;
        file
    };
    refused_file(&changed(18, 0xb7), not(NotAnObject::OtherMachine));
    refused_file(&changed(4, 1), not(NotAnObject::OtherMachine));
    refused_file(&changed(16, 2), not(NotAnObject::NotRelocatable));
}

/// The table of sections is at the end, so no beginning of a file is a module.
#[test]
fn every_truncation_is_an_error() {
    let file = usual();
    for length in 0..file.len() {
        assert!(Image::parse(&file[..length]).is_err(), "the first {length} of {} bytes", file.len());
    }
}

#[test]
fn versions_must_be_whole_records() {
    refused(
        |sample| {
            let versions = sample.versions;
            sample.object.append_section_data(versions, &[0], 1);
        },
        |error| error == LoadError::Malformed(Piece::Versions),
    );
}

/// A name without an end would have the loader look through the rest of the table for each symbol that has it.
#[test]
fn names_beyond_measure() {
    let long = |length: usize| "x".repeat(length);
    refused(
        |sample| _ = sample.import(&long(MAX_NAME_BYTES + 1)),
        |error| error == LoadError::Malformed(Piece::SymbolNames),
    );
    // One that may be read, and is too long to be shown with the reason behind it.
    refused(
        |sample| _ = sample.import(&long(MAX_NAME_BYTES)),
        |error| error.to_string() == format!("symbol {}... is not exported by this kernel", long(32)),
    );
    refused(
        |sample| _ = sample.import("moon\x1b[2J\n"),
        |error| error.to_string() == "symbol moon?[2J? is not exported by this kernel",
    );
    refused(
        |sample| {
            let name = format!(".data.{}", long(MAX_NAME_BYTES));
            let id = sample.object.add_section(Vec::new(), name.into(), SectionKind::Data);
            sample.object.append_section_data(id, &[0; 8], 8);
            sample.flags(id, SHF_ALLOC | SHF_WRITE | SHF_EXECINSTR);
        },
        |error| error.to_string().ends_with("... wants to be written and executed"),
    );
}

#[test]
fn more_imports_than_versions() {
    refused(
        |sample| {
            (0..=MAX_RECORDS).for_each(|_| _ = sample.import("rhumb_log"));
            sample.version("rhumb_log", version::of::rhumb_log);
        },
        |error| error == LoadError::Malformed(Piece::Symbols),
    );
}

/// Each of two tables of relocations is all of the file.
#[test]
fn tables_of_relocations_that_share_their_bytes() {
    let mut sample = Sample::new();
    let (text, rodata, function) = (sample.text, sample.rodata, sample.function);
    for offset in 0..RODATA_BYTES - 7 {
        for _ in 0..100 {
            sample.relocate(rodata, offset, function, R_X86_64_64.0, 0);
        }
    }
    sample.relocate(text, 0, function, R_X86_64_32S.0, 0);
    let mut file = sample.file();
    assert!(linked(&file).is_ok());
    let table = u64::from_le_bytes(file[40..48].try_into().expect("8 bytes")) as usize;
    let relocations = (table..file.len()).step_by(64).filter(|&header| file[header + 4] == SHT_RELA.0 as u8);
    let relocations: Vec<usize> = relocations.collect();
    let size =
        |file: &[u8], header: usize| u64::from_le_bytes(file[header + 32..][..8].try_into().expect("8"));
    let largest = *relocations.iter().max_by_key(|&&header| size(&file, header)).expect("there are some");
    let place: Vec<u8> = file[largest + 24..largest + 40].into();
    for header in relocations {
        // Where the bytes lie, and how many.
        file[header + 24..header + 40].copy_from_slice(&place);
    }
    refused_file(&file, |error| error == LoadError::Malformed(Piece::Relocations));
}
