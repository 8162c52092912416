use std::collections::BTreeSet;

use crate::shape::{START, Shape, add_words};
use crate::types::*;
use crate::version::{self, EXPORTS, RECORDS, VersionRecord, of_declaration};

extern crate std;

/// Structures whose layouts differ in one thing: the same fields in another order, a field of another name, or of another type.
#[allow(unreachable_pub, missing_docs, reason = "the macro defines public structures")]
mod others {
    use crate::shaped;
    shaped! {
        pub struct Text {
            pub bytes: usize,
            pub start: *const u8,
        }
        pub struct Named {
            pub start: *const u8,
            pub bytes: usize,
        }
        pub struct Renamed {
            pub first: *const u8,
            pub bytes: usize,
        }
        pub struct Outer {
            pub inner: super::others::Named,
        }
    }
    pub mod changed {
        use crate::shaped;
        shaped! {
            pub struct Named {
                pub start: *const u16,
                pub bytes: usize,
            }
            pub struct Outer {
                pub inner: super::changed::Named,
            }
        }
    }
}

#[test]
fn every_change_of_a_layout_is_another_shape() {
    assert_ne!(<Text as Shape>::HASH, others::Text::HASH, "the order of fields");
    assert_ne!(others::Named::HASH, others::Renamed::HASH, "names");
    assert_ne!(others::Named::HASH, others::changed::Named::HASH, "a pointer's target");
    assert_ne!(others::Outer::HASH, others::changed::Outer::HASH, "a type inside a type");
    assert_ne!(<[u64; 10] as Shape>::HASH, <[u64; 11] as Shape>::HASH, "a length");
    type Plain = unsafe extern "C" fn(u32) -> u32;
    type Wider = unsafe extern "C" fn(u64) -> u32;
    assert_ne!(<Option<Plain> as Shape>::HASH, <Option<Wider> as Shape>::HASH, "an argument");
}

#[test]
fn a_declaration_is_its_words_and_its_types() {
    let one = of_declaration("fn f(a: u32) -> ()", &[1]);
    assert_eq!(one, of_declaration("fn f( a : u32 )\n    -> ()", &[1]), "blanks do not count");
    assert_ne!(one, of_declaration("fn f(b: u32) -> ()", &[1]));
    assert_ne!(one, of_declaration("fn f(a: u32) -> ()", &[2]));
    assert_eq!(add_words(START, "a b"), add_words(START, "ab"));
}

#[test]
fn each_export_has_its_own_version_and_a_record_that_can_be_read() {
    let versions: BTreeSet<u64> = RECORDS.iter().map(VersionRecord::version).collect();
    let names: BTreeSet<&str> = RECORDS.iter().map(|record| record.name().expect("UTF-8")).collect();
    assert_eq!((versions.len(), names.len()), (EXPORTS + 1, EXPORTS + 1));
    assert!(names.contains("rhumb_log") && names.contains(HEADER_SYMBOL));
    for record in &RECORDS {
        let mut bytes = [0; version::RECORD_BYTES];
        bytes[..8].copy_from_slice(&record.version);
        bytes[8..].copy_from_slice(&record.name);
        assert_eq!(VersionRecord::read(&bytes), *record);
    }
}

#[test]
#[allow(unsafe_code, reason = "text of the other side")]
fn text_of_no_bytes_may_lie_anywhere() {
    let text = Text { start: core::ptr::null(), bytes: 0 };
    // SAFETY: it has no bytes.
    assert_eq!(unsafe { text.get() }, Some(""));
}

#[test]
fn a_name_that_fills_its_room_is_read_whole() {
    let name = "x".repeat(version::NAME_BYTES);
    assert_eq!(VersionRecord::new(&name, 7).name(), Some(name.as_str()));
    let mut record = VersionRecord::new("x", 7);
    record.name[0] = 0xff;
    assert_eq!(record.name(), None);
}
