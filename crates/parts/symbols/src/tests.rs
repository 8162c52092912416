//! Round trips against a plain list, and every kind of wrong bytes.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use crate::writer::{Input, WriteError, encode};
use crate::{ENTRY_BYTES, HEADER_BYTES, MAX_NAME_BYTES, ParseError, SymbolTable};

const BASE: u64 = 0xffff_ffff_8100_0000;

fn input(address: u64, size_bytes: u64, name: &str) -> Input {
    Input { address, size_bytes, name: name.to_string() }
}

fn sample() -> Vec<u8> {
    encode(&[
        input(BASE + 0x40, 0x20, "rhumb::boot::start"),
        input(BASE, 0, "pvh_entry"),
        input(BASE + 0x100, 0x10, "rhumb::panic"),
    ])
    .expect("a small table")
}

#[test]
fn finds_the_function_that_holds_an_address() {
    let bytes = sample();
    let table = SymbolTable::parse(&bytes).expect("valid");
    let at = |address| table.lookup(address).map(|symbol| symbol.to_string());
    assert_eq!(table.len(), 3);
    assert_eq!(at(BASE - 1), None);
    assert_eq!(at(BASE).as_deref(), Some("pvh_entry+0x0"));
    assert_eq!(at(BASE + 0x3f).as_deref(), Some("pvh_entry+0x3f"), "a label reaches up to the next symbol");
    assert_eq!(at(BASE + 0x5f).as_deref(), Some("rhumb::boot::start+0x1f"));
    assert_eq!(at(BASE + 0x60), None, "the gap between two functions belongs to neither");
    assert_eq!(at(BASE + 0x10f).as_deref(), Some("rhumb::panic+0xf"));
    assert_eq!(at(BASE + 0x110), None);
    assert_eq!(at(u64::MAX), None);
    assert_eq!(at(0), None);
}

#[test]
fn one_symbol_an_address_whatever_the_order() {
    let sized = input(BASE, 8, "memcpy");
    let longer = input(BASE, 8, "compiler_builtins::mem::memcpy");
    let label = input(BASE, 0, "a");
    let forward = encode(&[sized.clone(), longer.clone(), label.clone()]);
    assert_eq!(forward, encode(&[label, longer, sized]));
    let bytes = forward.expect("valid");
    let table = SymbolTable::parse(&bytes).expect("valid");
    assert_eq!(table.iter().map(|symbol| symbol.name).collect::<Vec<_>>(), ["memcpy"]);
}

#[test]
fn a_long_name_is_cut_between_characters() {
    let name = "é".repeat(MAX_NAME_BYTES);
    let bytes = encode(&[input(BASE, 1, &format!("x{name}"))]).expect("valid");
    let table = SymbolTable::parse(&bytes).expect("valid");
    assert_eq!(table.lookup(BASE).map(|symbol| symbol.name.len()), Some(MAX_NAME_BYTES - 1));
}

/// All entries may have one name, so that the time of the pass over a table of megabytes is bounded by the name's length.
#[test]
fn a_name_that_is_longer_than_any_is_refused() {
    let mut bytes = encode(&[input(BASE, 1, &"x".repeat(MAX_NAME_BYTES))]).expect("valid");
    assert!(SymbolTable::parse(&bytes).is_ok());
    // One byte more, which is there.
    let names = u32::from_le_bytes(bytes[20..24].try_into().expect("4 bytes")) + 1;
    bytes[20..24].copy_from_slice(&names.to_le_bytes());
    bytes.push(b'x');
    let length = HEADER_BYTES + ENTRY_BYTES;
    bytes[length..length + 2].copy_from_slice(&(MAX_NAME_BYTES as u16 + 1).to_le_bytes());
    assert_eq!(SymbolTable::parse(&bytes).err(), Some(ParseError::BadName { index: 0 }));
}

#[test]
fn an_empty_table_is_a_table() {
    let bytes = encode(&[]).expect("valid");
    let table = SymbolTable::parse(&bytes).expect("valid");
    assert!(table.is_empty() && table.lookup(0).is_none() && table.lookup(BASE).is_none());
}

#[test]
fn refuses_symbols_too_far_apart() {
    let wide = [input(0, 1, "a"), input(1 << 32, 1, "b")];
    assert_eq!(encode(&wide), Err(WriteError::TooWide { first: 0, end: (1 << 32) + 1 }));
}

#[test]
fn refuses_what_is_no_table() {
    assert_eq!(SymbolTable::parse(&[]).err(), Some(ParseError::BadMagic));
    assert_eq!(SymbolTable::parse(&[0; 4096]).err(), Some(ParseError::BadMagic));
    let mut other_version = sample();
    other_version[7] = b'2';
    assert_eq!(SymbolTable::parse(&other_version).err(), Some(ParseError::BadMagic));
}

#[test]
fn refuses_every_truncation_and_ignores_what_follows() {
    let bytes = sample();
    for length in 8..bytes.len() {
        let error = SymbolTable::parse(&bytes[..length]).err();
        assert!(matches!(error, Some(ParseError::Truncated { .. })), "{length} bytes: {error:?}");
    }
    let padded = [bytes, vec![0xff; 100]].concat();
    assert!(SymbolTable::parse(&padded).is_ok());
}

#[test]
fn names_the_entry_that_is_wrong() {
    let broken = |entry: usize, field: usize, value: u32| {
        let mut bytes = sample();
        let at = HEADER_BYTES + entry * ENTRY_BYTES + field * 4;
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        SymbolTable::parse(&bytes).err()
    };
    assert_eq!(broken(1, 0, 0x3f), Some(ParseError::Overlap { index: 1 }));
    assert_eq!(broken(1, 1, 0x100), Some(ParseError::Overlap { index: 2 }));
    assert_eq!(broken(2, 1, u32::MAX), Some(ParseError::AddressOverflow { index: 2 }));
    assert_eq!(broken(0, 2, u32::MAX), Some(ParseError::BadName { index: 0 }));
    assert_eq!(broken(0, 2, 1), Some(ParseError::BadName { index: 0 }), "a length of thousands of bytes");
}

/// Symbols in a window of 64 KiB, so that they often touch, overlap and coincide.
fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let symbol = (0..0x1_0000_u64, 0..0x200_u64, "[a-zé:<>]{0,12}")
        .prop_map(|(offset, size_bytes, name)| Input { address: BASE + offset, size_bytes, name });
    proptest::collection::vec(symbol, 0..60)
}

/// Returns the answer that `lookup` must give, by looking at every symbol: the last one at or below the address
/// decides.
fn model(symbols: &[Input], address: u64) -> Option<(String, u64)> {
    let start = symbols.iter().map(|symbol| symbol.address).filter(|&start| start <= address).max()?;
    let next = symbols.iter().map(|symbol| symbol.address).filter(|&start| start > address).min();
    let best = symbols
        .iter()
        .filter(|symbol| symbol.address == start)
        .min_by_key(|symbol| (symbol.size_bytes == 0, symbol.name.len(), symbol.name.clone()))?;
    let size = match (best.size_bytes, next) {
        (0, Some(_)) => u64::MAX,
        (0, None) => 1,
        (size, _) => size,
    };
    (address - start < size).then(|| (best.name.clone(), address - start))
}

proptest! {
    #[test]
    fn lookup_agrees_with_the_model(symbols in inputs(), probes in proptest::collection::vec(0..0x1_0400_u64, 50)) {
        let bytes = encode(&symbols).expect("they fit");
        let table = SymbolTable::parse(&bytes).expect("the writer makes valid tables");
        let edges = symbols.iter().flat_map(|s| [s.address, s.address + s.size_bytes, s.address.saturating_sub(1)]);
        for address in edges.chain(probes.iter().map(|probe| BASE + probe)) {
            let found = table.lookup(address).map(|symbol| (symbol.name.to_string(), symbol.offset));
            prop_assert_eq!(found, model(&symbols, address), "at {:#x}", address);
        }
    }

    #[test]
    fn garbage_never_panics(
        symbols in inputs(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        length in any::<prop::sample::Index>(),
        address in any::<u64>(),
    ) {
        let mut bytes = encode(&symbols).expect("they fit");
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let length = length.index(bytes.len() + 1);
        for bytes in [&bytes[..], &bytes[..length]] {
            if let Ok(table) = SymbolTable::parse(bytes) {
                let _ = (table.lookup(address), table.lookup(BASE + address % 0x1_0000), table.iter().count());
            }
        }
    }
}
