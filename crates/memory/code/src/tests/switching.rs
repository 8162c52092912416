//! The switch of frames: what CPUs see before, during and after.

use std::vec::Vec;

use super::world::*;
use crate::size::PAGE_BYTES;
use crate::{CodeError, Kind, Request, Write};

#[test]
fn code_traps_until_it_is_written_and_after_it_is_freed() {
    let (pool, hardware) = pool(4, 8);
    let keeper = pool.allocate(Request::new(Kind::Code, 64)).unwrap();
    let mut part = pool.allocate(Request::new(Kind::Code, 300)).unwrap();
    let at = part.address();
    must_be(hardware, at, Kind::Code, &[0xcc; 300]);
    let bytes = code(1, 290);
    pool.write(&mut [Write { part: &mut part, bytes: &bytes }]).unwrap();
    must_be(hardware, at, Kind::Code, &bytes);
    must_be(hardware, at.plus(290), Kind::Code, &[0xcc; 10]);
    pool.validate().unwrap();
    pool.free([part]).unwrap();
    must_be(hardware, at, Kind::Code, &[0xcc; 320]);
    pool.validate().unwrap();
    pool.free([keeper]).unwrap();
    assert_eq!(hardware.fetch(0, at), None, "the last part has gone, and its block with it");
    assert_eq!(hardware.out(), 0);
    pool.validate().unwrap();
}

#[test]
fn i4_no_cpu_writes_code_or_read_only_data() {
    let (pool, hardware) = pool(4, 8);
    for kind in [Kind::Code, Kind::RoData] {
        let mut part = pool.allocate(Request::new(kind, 100)).unwrap();
        pool.write(&mut [Write { part: &mut part, bytes: &code(2, 100) }]).unwrap();
        assert!((0..CPUS).all(|cpu| !hardware.store(cpu, part.address(), 9)));
        must_be(hardware, part.address(), kind, &code(2, 100));
        pool.free([part]).unwrap();
    }
    let data = pool.allocate(Request::new(Kind::Data, 100)).unwrap();
    assert!((0..CPUS).all(|cpu| hardware.store(cpu, data.address(), 9)));
    assert_eq!(hardware.fetch(1, data.address()), None);
    pool.free([data]).unwrap();
}

/// Others run their code at each step of a change; the world checks every byte of it.
#[test]
fn others_run_on_while_code_comes_and_goes() {
    let (pool, hardware) = pool(4, 8);
    let mut stay = Vec::new();
    for seed in 0..20 {
        let mut part = pool.allocate(Request::new(Kind::Code, 500)).unwrap();
        pool.write(&mut [Write { part: &mut part, bytes: &code(seed, 500) }]).unwrap();
        stay.push((part, code(seed, 500)));
        hardware.watch(stay.iter().map(|(part, bytes)| (part.address(), bytes.clone())).collect());
    }
    for seed in 0..10 {
        let mut part = pool.allocate(Request::new(Kind::Code, 5000)).unwrap();
        pool.write(&mut [Write { part: &mut part, bytes: &code(seed, 5000) }]).unwrap();
        pool.validate().unwrap();
        pool.free([part]).unwrap();
        pool.validate().unwrap();
    }
    hardware.watch(Vec::new());
    for (part, _) in stay {
        pool.free([part]).unwrap();
    }
    assert_eq!(hardware.out(), 0);
}

#[test]
fn a_change_copies_its_pages_and_those_of_the_change_before() {
    let (pool, hardware) = pool(4, 8);
    let pages = || hardware.pages_written.replace(0);
    let mut parts: Vec<_> =
        (0..4).map(|_| pool.allocate(Request::new(Kind::Code, 100).aligned(4096)).unwrap()).collect();
    pages();
    let [a, b, c, d] = &mut parts[..] else { panic!() };
    pool.write(&mut [Write { part: a, bytes: &[1] }]).unwrap();
    assert_eq!(pages(), 512, "the spare frames are new");
    pool.write(&mut [Write { part: b, bytes: &[2] }]).unwrap();
    assert_eq!(pages(), 2);
    pool.write(&mut [Write { part: c, bytes: &[3] }, Write { part: d, bytes: &[4] }]).unwrap();
    assert_eq!(pages(), 3);
    let mut other = pool.allocate(Request::new(Kind::RoData, PAGE_BYTES as u64)).unwrap();
    pool.write(&mut [Write { part: &mut other, bytes: &[5; PAGE_BYTES] }]).unwrap();
    assert_eq!(pages(), 512, "another block");
    for (part, byte) in parts.iter().zip(1..) {
        must_be(hardware, part.address(), Kind::Code, &[byte, 0xcc]);
    }
    must_be(hardware, other.address(), Kind::RoData, &[5; PAGE_BYTES]);
    pool.validate().unwrap();
    assert_eq!(pool.report().switches, 4);
    let [a, b, c, d] = <[_; 4]>::try_from(parts).unwrap();
    pool.free([a, b, c, d, other]).unwrap();
}

/// The first change copies the block; of the others, one begins a second page, and so copies the page before, too.
#[test]
fn a_hundred_small_functions_copy_one_block_and_a_page_each() {
    let (pool, hardware) = pool(4, 8);
    let mut parts: Vec<_> = (0..100).map(|_| pool.allocate(Request::new(Kind::Code, 6)).unwrap()).collect();
    for part in &mut parts {
        pool.write(&mut [Write { part, bytes: &[1; 6] }]).unwrap();
    }
    let report = pool.report();
    assert_eq!((report.switches, report.pages_written), (100, 512 + 99 + 1));
    assert_eq!((report.blocks_out_of_direct_map(), report.of(Kind::Code).used_bytes), (2, 6400));
    parts.into_iter().for_each(|part| pool.free([part]).unwrap());
    assert_eq!(hardware.out(), 0);
}

#[test]
fn several_parts_are_one_switch_for_each_block() {
    let (pool, hardware) = pool(4, 8);
    let mut parts: Vec<_> = [Kind::Code, Kind::RoData, Kind::Code, Kind::Data, Kind::RoData, Kind::Code]
        .into_iter()
        .map(|kind| pool.allocate(Request::new(kind, 5000)).unwrap())
        .collect();
    let before = hardware.flushes.get();
    let bytes: Vec<_> = (0..6).map(|seed| code(seed, 5000)).collect();
    let mut writes: Vec<_> =
        parts.iter_mut().zip(&bytes).map(|(part, bytes)| Write { part, bytes }).collect();
    pool.write(&mut writes).unwrap();
    assert_eq!(hardware.flushes.get(), before + 2);
    for (part, bytes) in parts.iter().zip(&bytes) {
        must_be(hardware, part.address(), part.kind(), bytes);
    }
    let [a, b, c, d, e, f] = <[_; 6]>::try_from(parts).unwrap();
    let before = hardware.flushes.get();
    pool.free([a, b]).unwrap();
    assert_eq!(hardware.flushes.get(), before + 2);
    pool.validate().unwrap();
    pool.free([c, d, e, f]).unwrap();
    assert_eq!(hardware.out(), 0);
}

#[test]
fn parts_that_were_never_written_are_freed_without_a_change() {
    let (pool, hardware) = pool(4, 8);
    let keeper = pool.allocate(Request::new(Kind::Code, 64)).unwrap();
    let part = pool.allocate(Request::new(Kind::Code, 64)).unwrap();
    let before = (hardware.flushes.get(), hardware.pages_written.get());
    pool.free([part]).unwrap();
    assert_eq!((hardware.flushes.get(), hardware.pages_written.get()), before);
    pool.free([keeper]).unwrap();
}

#[test]
fn data_are_zero_whatever_the_last_holder_left() {
    let (pool, hardware) = pool(4, 8);
    let keeper = pool.allocate(Request::new(Kind::Data, 64)).unwrap();
    for _ in 0..3 {
        let part = pool.allocate(Request::new(Kind::Data, 1000)).unwrap();
        must_be(hardware, part.address(), Kind::Data, &[0; 1000]);
        assert!((0..1000).all(|at| hardware.store(1, part.address().plus(at), 0x55)));
        pool.free([part]).unwrap();
    }
    pool.free([keeper]).unwrap();
}

#[test]
fn a_part_is_written_once() {
    let (pool, hardware) = pool(4, 8);
    let mut part = pool.allocate(Request::new(Kind::Code, 64)).unwrap();
    let mut other = pool.allocate(Request::new(Kind::Code, 64)).unwrap();
    pool.write(&mut [Write { part: &mut part, bytes: &[1, 2] }]).unwrap();
    let again =
        pool.write(&mut [Write { part: &mut other, bytes: &[3] }, Write { part: &mut part, bytes: &[4] }]);
    assert_eq!(again, Err(CodeError::AlreadyWritten));
    must_be(hardware, part.address(), Kind::Code, &[1, 2]);
    must_be(hardware, other.address(), Kind::Code, &[0xcc]);
    pool.free([part, other]).unwrap();
}
