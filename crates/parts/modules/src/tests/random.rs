use object::elf::*;
use proptest::prelude::*;

use super::sample::{AT, Sample, TEXT_BYTES, linked, usual};
use crate::LoadError;

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

proptest! {
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
        if let Err(error) = linked(&file) {
            prop_assert!(!error.to_string().is_empty());
        }
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
        if let Err(error) = linked(&file) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
