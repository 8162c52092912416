//! Memory and addresses that run out: an error, all as before, nothing lost.

use std::vec::Vec;

use super::world::*;
use crate::failing::on_purpose;
use crate::{BLOCK_BYTES, CodeError, Kind, NoFrames, Part, Request, Write};

#[test]
fn addresses_run_out() {
    let (pool, hardware) = pool(3, 100);
    let parts: Vec<Part> =
        core::iter::from_fn(|| pool.allocate(Request::new(Kind::Code, BLOCK_BYTES / 2)).ok()).collect();
    assert_eq!(parts.len(), 6);
    for kind in Kind::ALL {
        assert_eq!(pool.allocate(Request::new(kind, 1)).unwrap_err(), CodeError::Exhausted);
    }
    pool.validate().unwrap();
    for part in parts {
        pool.free([part]).unwrap();
    }
    assert_eq!(hardware.out(), 0);
}

#[test]
fn i12_frames_run_out_at_every_step() {
    for left in 0..5 {
        let (pool, hardware) = pool(8, left);
        let mut parts = Vec::new();
        loop {
            let before = pool.report();
            match pool.allocate(Request::new(Kind::Code, BLOCK_BYTES)) {
                Ok(part) => parts.push(part),
                Err(error) => {
                    assert_eq!(error, CodeError::NoFrames(NoFrames::NoBlock));
                    assert_eq!(pool.report(), before);
                    break;
                }
            }
        }
        // One block is spare; one block of frames is of no use to code.
        assert_eq!(parts.len(), left.saturating_sub(1));
        assert_eq!(hardware.left.get(), if left == 1 { 1 } else { 0 });
        pool.validate().unwrap();
        // Writing and freeing need nothing.
        for part in &mut parts {
            pool.write(&mut [Write { part, bytes: &[1, 2, 3] }]).unwrap();
        }
        parts.into_iter().for_each(|part| pool.free([part]).unwrap());
        assert_eq!((hardware.left.get(), hardware.out()), (left, 0));
        pool.validate().unwrap();
    }
}

/// The n-th list that is to grow does not, for every n: the request fails, with all as before, and the next is served.
#[test]
fn i12_records_run_out_at_every_step() {
    let mut failures = 0;
    for n in 0.. {
        let (pool, hardware) = pool(4, 100);
        on_purpose::after(n);
        let mut parts = Vec::new();
        let mut failed = false;
        for round in 0..40 {
            let kind = Kind::ALL[round % 3];
            let before = (pool.report(), hardware.left.get());
            let part = pool.allocate(Request::new(kind, 1000)).or_else(|error| {
                assert_eq!(error, CodeError::NoRecord);
                assert_eq!((pool.report(), hardware.left.get()), before);
                pool.validate().unwrap();
                failed = true;
                pool.allocate(Request::new(kind, 1000))
            });
            let mut part = part.unwrap();
            pool.write(&mut [Write { part: &mut part, bytes: &[7; 9] }]).unwrap();
            parts.push(part);
        }
        on_purpose::end();
        pool.validate().unwrap();
        parts.into_iter().for_each(|part| pool.free([part]).unwrap());
        assert_eq!(hardware.out(), 0);
        if !failed {
            break;
        }
        failures += 1;
    }
    assert!(failures > 9, "only {failures} lists grew");
}

#[test]
fn a_block_has_so_many_parts_and_no_more() {
    let (pool, _) = pool(2, 100);
    let most = crate::block::MOST_PARTS;
    let parts: Vec<Part> =
        (0..=most).map(|_| pool.allocate(Request::new(Kind::RoData, 1)).unwrap()).collect();
    assert_eq!(pool.report().of(Kind::RoData).blocks, 2);
    assert!(
        parts[most - 1].address() < BASE.plus(BLOCK_BYTES) && parts[most].address() >= BASE.plus(BLOCK_BYTES)
    );
    pool.validate().unwrap();
    parts.into_iter().for_each(|part| pool.free([part]).unwrap());
}
