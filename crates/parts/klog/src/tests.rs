//! Rings against a list, writers and readers that race, and the whole log as a kernel uses it.

extern crate std;

use ::log::Level;
use rhumb_machine::CpuId;
#[cfg(not(loom))]
use std::format;
use std::string::ToString;
use std::vec::Vec;

use crate::*;

#[cfg(loom)]
mod loom;
#[cfg(not(any(loom, shuttle)))]
mod merging;
#[cfg(not(any(loom, shuttle)))]
mod racing;
#[cfg(not(any(loom, shuttle)))]
mod writing;

/// Returns a record whose parts all say the same number, so that a torn one can be told.
fn telling(number: u64) -> Record {
    let cpu = CpuId::new((number % 7) as usize).unwrap();
    Record::new(number, cpu, Level::Info, "t", format_args!("{number}"))
}

#[track_caller]
fn assert_whole(record: &Record) {
    assert_eq!(record.text(), record.time_ns().to_string());
    assert_eq!(record.cpu().index() as u64, record.time_ns() % 7);
    assert_eq!((record.level(), record.target()), (Level::Info, "t"));
}
