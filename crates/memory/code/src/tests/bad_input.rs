//! Requests that make no sense: a typed error of one sentence, and nothing changed.

use std::format;

use super::world::*;
use crate::{BLOCK_BYTES, CodeError, Kind, Request, Write};

#[test]
fn sizes_and_alignments() {
    let (pool, hardware) = pool(2, 8);
    let error = |request| pool.allocate(request).unwrap_err();
    assert_eq!(error(Request::new(Kind::Code, 0)), CodeError::NoBytes);
    let bytes = BLOCK_BYTES + 1;
    assert_eq!(error(Request::new(Kind::Data, bytes)), CodeError::TooLarge { bytes });
    let bytes = u64::MAX;
    assert_eq!(error(Request::new(Kind::RoData, bytes)), CodeError::TooLarge { bytes });
    for align in [0, 3, 4097, 2 * BLOCK_BYTES, u64::MAX] {
        let request = Request::new(Kind::Code, 1).aligned(align);
        assert_eq!(error(request), CodeError::BadAlignment { align });
    }
    assert_eq!(hardware.out(), 0);
    pool.validate().unwrap();
}

#[test]
fn all_that_makes_sense_is_served() {
    let (pool, _) = pool(2, 8);
    for align in (0..=21).map(|bits| 1 << bits) {
        for bytes in [1, 64, 65, BLOCK_BYTES] {
            let part = pool.allocate(Request::new(Kind::Code, bytes).aligned(align)).unwrap();
            assert!(part.address().get().is_multiple_of(align) && part.bytes() == bytes);
            pool.free([part]).unwrap();
        }
    }
}

#[test]
fn parts_of_another_pool_come_back() {
    let (pool, hardware) = pool(2, 8);
    let other = pool_on(hardware, 0);
    let mut part = pool.allocate(Request::new(Kind::Code, 10)).unwrap();
    let written = other.write(&mut [Write { part: &mut part, bytes: &[1] }]);
    assert_eq!(written, Err(CodeError::OtherPool));
    let refused = other.free([part]).unwrap_err();
    assert_eq!(refused.error, CodeError::OtherPool);
    assert_eq!(format!("{refused}"), "the part is another pool's");
    let [mut part] = refused.parts;
    pool.write(&mut [Write { part: &mut part, bytes: &[1] }]).unwrap();
    pool.free([part]).unwrap();
    pool.validate().unwrap();
}

#[test]
fn more_bytes_than_the_part_has() {
    let (pool, hardware) = pool(2, 8);
    let mut part = pool.allocate(Request::new(Kind::Code, 10)).unwrap();
    let error = CodeError::TooLong { bytes: 11, part_bytes: 10 };
    assert_eq!(pool.write(&mut [Write { part: &mut part, bytes: &[1; 11] }]), Err(error));
    assert_eq!(format!("{error}"), "11 bytes do not fit into a part of 10");
    must_be(hardware, part.address(), Kind::Code, &[0xcc; 64]);
    pool.free([part]).unwrap();
}

#[test]
fn a_pool_without_addresses_has_nothing() {
    let (pool, _) = pool(0, 8);
    assert_eq!(pool.allocate(Request::new(Kind::Code, 1)).unwrap_err(), CodeError::Exhausted);
    assert_eq!(pool.find(BASE), None);
    pool.validate().unwrap();
}

#[test]
fn every_error_is_one_sentence() {
    let errors = [
        CodeError::NoBytes,
        CodeError::BadAlignment { align: 3 },
        CodeError::TooLarge { bytes: 1 << 30 },
        CodeError::Exhausted,
        CodeError::NoFrames(crate::NoFrames::NoBlock),
        CodeError::NoFrames(crate::NoFrames::DirectMap),
        CodeError::NoRecord,
        CodeError::OtherPool,
        CodeError::AlreadyWritten,
        CodeError::TooLong { bytes: 2, part_bytes: 1 },
    ];
    for error in errors {
        let text = format!("{error}");
        assert!(!text.is_empty() && !text.contains(['\n', '.']), "{text}");
    }
}
