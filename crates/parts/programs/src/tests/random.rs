//! Random files: whatever their bytes are, a program that is taken keeps its promises, and a refusal is one sentence.

use proptest::prelude::*;

use super::files::File;
use super::half;
use crate::{Access, Placement, Program};

/// Judges a file of any bytes.
fn judge(file: &[u8]) -> Result<(), TestCaseError> {
    let program = match Program::parse(file) {
        Ok(program) => program,
        Err(error) => {
            prop_assert!((1..=112).contains(&error.to_string().len()), "{error}");
            return Ok(());
        }
    };
    prop_assert!(!program.segments().is_empty());
    let mut end = 0;
    for segment in program.segments() {
        let (addresses, pages) = (segment.addresses(), segment.pages());
        prop_assert!(pages.covers(addresses) && !addresses.is_empty());
        prop_assert!(pages.start().get() >= end && pages.start().get().is_multiple_of(4096));
        prop_assert!(segment.bytes().len() as u64 <= addresses.bytes());
        end = pages.end().get();
    }
    prop_assert_eq!(program.span().end().get(), end);
    let base = match program.placement() {
        Placement::Fixed => 0,
        Placement::Anywhere(align) => align,
    };
    let placed = match program.place(base, half()) {
        Ok(placed) => placed,
        Err(error) => {
            prop_assert!((1..=160).contains(&error.to_string().len()), "{error}");
            return Ok(());
        }
    };
    prop_assert!(half().covers(placed.span()));
    prop_assert!(placed.segments().all(|segment| placed.span().covers(segment.pages())));
    let is_code = |one: crate::Segment<'_>| {
        one.access() == Access::ReadExecute && one.addresses().contains(placed.entry())
    };
    prop_assert!(placed.segments().any(is_code));
    if let Some(headers) = placed.headers() {
        prop_assert!(placed.segments().any(|segment| segment.addresses().covers(headers)));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        judge(&bytes)?;
    }

    #[test]
    fn a_program_with_some_bytes_changed(changes in prop::collection::vec((0_usize..0x120, any::<u8>()), 1..6)) {
        let mut bytes = File::usual().bytes();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        judge(&bytes)?;
    }

    #[test]
    fn a_program_with_numbers_at_the_edges(
        kind in 2_u16..=3,
        changes in prop::collection::vec((0_usize..3, 0_usize..6, edge()), 1..5),
        cut in 0_usize..0x1400,
    ) {
        let mut file = File { kind, ..File::usual() };
        for (number, field, value) in changes {
            let one = &mut file.segments[number];
            *[&mut one.offset, &mut one.address, &mut one.file_bytes, &mut one.memory_bytes, &mut one.align, &mut file.entry][field] = value;
        }
        // The file's own bytes stay where they are.
        let usual = File::usual();
        let mut bytes = usual.bytes();
        let headers = file.segments.iter().map(|one| super::files::Segment { content: Vec::new(), ..one.clone() });
        let changed = File { segments: headers.collect(), ..file }.bytes();
        bytes[..0x200].copy_from_slice(&changed[..0x200]);
        judge(&bytes)?;
        judge(&bytes[..cut.min(bytes.len())])?;
    }
}

/// Numbers about which arithmetic goes wrong.
fn edge() -> impl Strategy<Value = u64> {
    let near = prop::sample::select(vec![0, 0x1000, 0x40_1000, 1 << 31, 1 << 47, u64::MAX - 0xfff, u64::MAX]);
    (near, -2_i64..=2).prop_map(|(near, by)| near.wrapping_add_signed(by))
}
