//! The log.

use rhumb_mark::RegionId;

use super::{Operation, Region, number};
use crate::facts::Boot;
use crate::lab::failure::Failure;

pub const REGIONS: &[Region] = &[Region::of::<Record>()];

/// One record with a number in it, kept and not shown.
struct Record {
    number: u64,
}

impl Operation for Record {
    const ID: RegionId = number(80);
    const NAME: &'static str = "log/record";
    const SUMMARY: &'static str = "log a line with a number in it, kept for dmesg and not shown";

    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        Ok(Self { number: 12_345 })
    }

    #[inline(always)]
    fn run(&mut self) {
        log::debug!("count: record {}", self.number);
    }
}
