use object::elf::*;
use proptest::prelude::*;

use super::sample::{AT, Kernel, Sample, TEXT_BYTES, linked, usual};
use crate::part::MAX_PART_BYTES;
use crate::{Image, LoadError, Part};

/// Returns the bytes that a relocation of the function at 16 writes at `offset`, or nothing where the value does not fit: by
/// the ABI's formulas, on numbers without bounds.
fn model(kind: u32, offset: u64, addend: i64) -> Option<Vec<u8>> {
    let (symbol, place) = (i128::from(AT[0] + 16), i128::from(AT[0] + offset));
    let absolute = symbol + i128::from(addend);
    let relative = absolute - place;
    let fits = |value: i128, from: i128, to: i128| (from..to).contains(&value);
    let top = 1_i128 << 64;
    match RelocationType(kind) {
        R_X86_64_64 if fits(absolute, 0, top) => Some((absolute as u64).to_le_bytes().into()),
        R_X86_64_PC64 if fits(relative, -(1 << 63), top) => Some((relative as u64).to_le_bytes().into()),
        R_X86_64_32 if fits(absolute, 0, 1 << 32) => Some((absolute as u32).to_le_bytes().into()),
        // An address that sign extension makes of 32 bits: the lowest or the highest 2 GiB.
        R_X86_64_32S if fits(absolute, top - (1 << 31), top) || fits(absolute, 0, 1 << 31) => {
            Some((absolute as u32).to_le_bytes().into())
        }
        R_X86_64_PC32 | R_X86_64_PLT32 if fits(relative, -(1 << 31), 1 << 31) => {
            Some((relative as u32).to_le_bytes().into())
        }
        _ => None,
    }
}

/// Parses and links a file of any bytes. Whatever it is, its parts are no larger than parts may be, it says so in a sentence if
/// it is none, and else its bytes do not depend on what lay in the buffers.
fn judge(file: &[u8]) -> Result<(), TestCaseError> {
    let image = match Image::parse(file) {
        Ok(image) => image,
        Err(error) => {
            prop_assert!((1..=112).contains(&error.to_string().len()), "{error}");
            return Ok(());
        }
    };
    let bytes = Part::ALL.map(|part| image.layout().bytes(part));
    prop_assert!(bytes.iter().all(|&bytes| bytes <= MAX_PART_BYTES));
    // Cost, not harm: parts of many MiB are legal.
    if bytes.iter().sum::<u64>() > 1 << 20 {
        return Ok(());
    }
    let link = |filler: u8| {
        let mut parts = bytes.map(|bytes| vec![filler; bytes as usize]);
        let [code, read_only, data] = &mut parts;
        let linked = image.link(AT, &Kernel, &mut [code, read_only, data]);
        linked.map(|linked| (linked.header, parts))
    };
    match (link(0), link(0xff)) {
        (Ok((header, parts)), again) => {
            let start = AT[Part::ReadOnly.index()];
            prop_assert!((start..start + parts[Part::ReadOnly.index()].len() as u64).contains(&header));
            prop_assert_eq!(again, Ok((header, parts)));
        }
        (Err(error), again) => {
            prop_assert!((1..=112).contains(&error.to_string().len()), "{error}");
            prop_assert!(again.is_err());
        }
    }
    Ok(())
}

/// Puts a number into a field of a section's header: its name, type, flags, address, offset, size, link, info, alignment or the
/// size of its entries.
fn set_field(file: &mut [u8], section: usize, field: usize, number: u64) {
    const FIELDS: [(usize, usize); 10] =
        [(0, 4), (4, 4), (8, 8), (16, 8), (24, 8), (32, 8), (40, 4), (44, 4), (48, 8), (56, 8)];
    let (offset, bytes) = FIELDS[field];
    let table = u64::from_le_bytes(file[40..48].try_into().expect("8 bytes")) as usize;
    let at = table + section * 64 + offset;
    file[at..at + bytes].copy_from_slice(&number.to_le_bytes()[..bytes]);
}

/// A section, one of its fields, and a number for it.
type Change = (prop::sample::Index, usize, u64);

fn wild_fields() -> impl Strategy<Value = Vec<Change>> {
    let number =
        prop_oneof![0_u64..20, 0_u64..2000, Just(u64::MAX), Just(1 << 63), Just(1 << 32), any::<u64>()];
    prop::collection::vec((any::<prop::sample::Index>(), 0_usize..10, number), 1..5)
}

fn judge_changed(file: &[u8], changes: &[Change]) -> Result<(), TestCaseError> {
    let mut file = file.to_vec();
    let sections = usize::from(u16::from_le_bytes([file[60], file[61]]));
    for (section, field, number) in changes {
        set_field(&mut file, section.index(sections), *field, *number);
    }
    judge(&file)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn relocations_agree_with_the_model(
        kind in prop::sample::select(vec![R_X86_64_64, R_X86_64_PC64, R_X86_64_32, R_X86_64_32S, R_X86_64_PC32, R_X86_64_PLT32]),
        offset in 0..TEXT_BYTES - 7,
        addend in prop_oneof![any::<i64>(), -0x1_0000_0000_i64..0x1_0000_0000, -0x100_i64..0x100],
    ) {
        let mut sample = Sample::new();
        let (text, function) = (sample.text, sample.function);
        sample.relocate(text, offset, function, kind.0, addend);
        let file = sample.file();
        match (linked(&file), model(kind.0, offset, addend)) {
            (Ok(([code, ..], _)), Some(wanted)) => {
                let at = offset as usize;
                prop_assert_eq!(&code[at..at + wanted.len()], &wanted[..]);
                let untouched = |index: &usize| !(at..at + wanted.len()).contains(index);
                prop_assert!((0..code.len()).filter(untouched).all(|index| code[index] == index as u8));
            }
            (Err(LoadError::OutOfReach { .. }), None) => {}
            (found, wanted) => prop_assert!(false, "{found:?} instead of {wanted:?}"),
        }
    }

    /// Damage anywhere is an error or another module, never a panic; and an error is a sentence.
    #[test]
    fn damage_never_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        length in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let mut file = usual();
        for (at, value) in changes {
            let at = at.index(file.len());
            file[at] = value;
        }
        if let Some(length) = length {
            file.truncate(length.index(file.len()));
        }
        judge(&file)?;
    }

    /// Sections that overlap, that lie past the file, of other types, linked to each other in circles.
    #[test]
    fn wild_sections_never_panic(changes in wild_fields()) {
        judge_changed(&usual(), &changes)?;
    }

    /// Any file, with the head of one that is looked at.
    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut file = usual();
        let length = file.len().min(20 + bytes.len());
        file[20..length].copy_from_slice(&bytes[..length - 20]);
        judge(&file)?;
    }

    /// Damage in the tables, where it matters: numbers of the headers of file and sections, and of relocations.
    #[test]
    fn wild_numbers_in_the_tables_never_panic(
        place in any::<prop::sample::Index>(),
        number in prop_oneof![any::<u64>(), Just(u64::MAX), Just(1 << 63), 0..70_000_u64],
    ) {
        let mut file = usual();
        let from = u64::from_le_bytes(file[40..48].try_into().expect("8 bytes")) as usize;
        let at = from + place.index((file.len() - from) / 8) * 8;
        file[at..at + 8].copy_from_slice(&number.to_le_bytes());
        judge(&file)?;
    }
}

#[test]
#[ignore = "a soak of some minutes"]
fn soak_wild_sections_never_panic() {
    let file = usual();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(2_000_000));
    runner.run(&wild_fields(), |changes| judge_changed(&file, &changes)).expect("no panic, and a sentence");
}
