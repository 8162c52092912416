//! The log.

use super::Operation;
use crate::facts::Boot;
use crate::lab::failure::Failure;

regions! {
    80: Record, "log/record", "log a line with a number in it, kept for dmesg and not shown";
}

/// One record with a number in it, kept and not shown.
struct Record {
    number: u64,
}

impl Operation for Record {
    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        Ok(Self { number: 12_345 })
    }

    #[inline(always)]
    fn run(&mut self) {
        log::debug!("count: record {}", self.number);
    }
}
